//! The domain's errors in the words of the interface. No `_ =>`: a new error asks for its row.

use deed_api::problem::Fault;
use deed_domain::error::Violation;
use deed_domain::ticket;
use deed_domain::{Error, StoreError};

use super::{ErrorCode, Refusal};

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        match error {
            Error::InvalidApiKey => Self::new(ErrorCode::InvalidApiKey),
            Error::InsufficientScope(scope) => Self::new(ErrorCode::InsufficientScope)
                .message(format!("The key lacks the scope {scope}.")),
            Error::ActAsNotAllowed => Self::new(ErrorCode::ActAsNotAllowed),
            Error::UserRequired => Self::new(ErrorCode::UserRequired),
            Error::UserNotFound => Self::new(ErrorCode::UserNotFound),
            Error::UserDisabled => Self::new(ErrorCode::UserDisabled),
            Error::UserAlreadyExists => Self::new(ErrorCode::UserAlreadyExists),
            Error::ExternalIdTaken => Self::new(ErrorCode::ExternalIdTaken),
            Error::PreconditionFailed => Self::new(ErrorCode::PreconditionFailed),
            Error::ApiKeyNotFound => Self::new(ErrorCode::ApiKeyNotFound),
            Error::ActionNotFound => Self::new(ErrorCode::ActionNotFound),
            Error::ActionGone => Self::new(ErrorCode::ActionGone),
            Error::ActionTypeNotFound => Self::new(ErrorCode::ActionTypeNotFound),
            Error::UnknownActionType => Self::new(ErrorCode::UnknownActionType),
            Error::UnknownActionTypes(places) => {
                Self::new(ErrorCode::UnknownActionType).faults(pointed_at(places))
            }
            Error::TypeHasHandler => Self::new(ErrorCode::TypeHasHandler),
            Error::TypeHasActions => Self::new(ErrorCode::TypeHasActions),
            Error::LeaseLost => Self::new(ErrorCode::LeaseLost),
            Error::SequenceConflict { next_seq } => Self::new(ErrorCode::SequenceConflict)
                .message(format!("The next event stands at {next_seq}.")),
            Error::ActionNotRetryable(why) => Self::new(ErrorCode::ActionNotRetryable)
                .message(format!("The action can't be retried: {why}.")),
            Error::Invalid(violations) => {
                Self::new(ErrorCode::ValidationFailed).faults(pointed_at(violations))
            }
            Error::CursorBeyondEnd => Self::new(ErrorCode::InvalidCursor),
            Error::IdempotencyKeyReused => Self::new(ErrorCode::IdempotencyKeyReused),
            Error::IdempotencyInFlight => Self::new(ErrorCode::IdempotencyInFlight),
            Error::TooManyTickets => Self::new(ErrorCode::TooManyTickets).retry_after(ticket::LIFE),
            Error::TooManyQueued => Self::new(ErrorCode::TooManyQueued),
            Error::Overloaded { retry_after } => {
                Self::new(ErrorCode::Overloaded).retry_after(retry_after)
            }
            Error::Store(error) => error.into(),
        }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        let code = match &error {
            StoreError::Unavailable(_) | StoreError::OutcomeUnknown(_) => ErrorCode::Unavailable,
            StoreError::BadRow { .. } | StoreError::Bug(_) => ErrorCode::InternalError,
        };
        Self::new(code).because(error)
    }
}

fn pointed_at(violations: Vec<Violation>) -> Vec<Fault> {
    violations
        .into_iter()
        .map(|violation| Fault::at_pointer(format!("#{}", violation.pointer), violation.message))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::ResponseError;
    use deed_domain::action::Sequence;
    use deed_domain::error::NotRetryable;
    use std::sync::Arc;
    use std::time::Duration;

    /// One test per code that the domain can cause.
    #[test]
    fn every_error_has_its_code_and_status() {
        let cause = || Arc::new(std::io::Error::other("x"));
        let scope = "users:read".parse().unwrap();
        let row = StoreError::BadRow {
            table: "users",
            column: "email",
            id: "1".to_owned(),
        };
        let cases: Vec<(Error, &str, u16)> = vec![
            (Error::InvalidApiKey, "invalid_api_key", 401),
            (Error::InsufficientScope(scope), "insufficient_scope", 403),
            (Error::ActAsNotAllowed, "act_as_not_allowed", 403),
            (Error::UserRequired, "user_required", 400),
            (Error::UserNotFound, "user_not_found", 404),
            (Error::UserDisabled, "user_disabled", 403),
            (Error::UserAlreadyExists, "user_already_exists", 409),
            (Error::ExternalIdTaken, "external_id_taken", 409),
            (Error::PreconditionFailed, "precondition_failed", 412),
            (Error::ApiKeyNotFound, "api_key_not_found", 404),
            (Error::ActionNotFound, "action_not_found", 404),
            (Error::ActionGone, "action_gone", 410),
            (Error::ActionTypeNotFound, "action_type_not_found", 404),
            (Error::UnknownActionType, "unknown_action_type", 400),
            (
                Error::UnknownActionTypes(Vec::new()),
                "unknown_action_type",
                400,
            ),
            (Error::TypeHasHandler, "type_has_handler", 409),
            (Error::TypeHasActions, "type_has_actions", 409),
            (Error::LeaseLost, "lease_lost", 409),
            (
                Error::SequenceConflict {
                    next_seq: Sequence::START,
                },
                "sequence_conflict",
                409,
            ),
            (NotRetryable::Succeeded.into(), "action_not_retryable", 409),
            (Error::invalid("/a", "b"), "validation_failed", 400),
            (Error::CursorBeyondEnd, "invalid_cursor", 400),
            (Error::IdempotencyKeyReused, "idempotency_key_reused", 422),
            (Error::IdempotencyInFlight, "idempotency_in_flight", 409),
            (Error::TooManyTickets, "too_many_tickets", 429),
            (Error::TooManyQueued, "too_many_queued", 429),
            (
                Error::Overloaded {
                    retry_after: Duration::from_millis(1),
                },
                "overloaded",
                503,
            ),
            (
                Error::Store(StoreError::Unavailable(cause())),
                "unavailable",
                503,
            ),
            (
                Error::Store(StoreError::OutcomeUnknown(cause())),
                "unavailable",
                503,
            ),
            (
                Error::Store(StoreError::Bug(cause())),
                "internal_error",
                500,
            ),
            (Error::Store(row), "internal_error", 500),
        ];
        for (error, code, status) in cases {
            let said = error.to_string();
            let refusal = Refusal::from(error);
            assert_eq!(refusal.code().entry().code, code, "{said}");
            assert_eq!(refusal.status_code().as_u16(), status, "{said}");
        }
    }

    #[test]
    fn violations_become_pointers() {
        let refusal = Refusal::from(Error::invalid("/input/text", "is required"));
        assert_eq!(
            refusal.named_faults(),
            [Fault::at_pointer("#/input/text", "is required")]
        );
    }
}
