//! The table of errors: each code with its status and its words. Pages, documents and answers are made from it.

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName, HeaderValue};

/// What the table says of one code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The stable code, as in `error`.
    pub code: &'static str,
    /// The HTTP status.
    pub status: StatusCode,
    /// A short name, the same for each occurrence.
    pub title: &'static str,
    /// The sentence of an answer that has nothing more exact to say.
    pub message: &'static str,
    /// What it means, for the code's page.
    pub meaning: &'static str,
    /// What the caller can do, for the code's page.
    pub remedy: &'static str,
}

impl Entry {
    /// The headers that every answer with this status has.
    pub(crate) fn headers(&self) -> Vec<(HeaderName, HeaderValue)> {
        match self.status {
            StatusCode::UNAUTHORIZED => {
                vec![(
                    header::WWW_AUTHENTICATE,
                    HeaderValue::from_static("Bearer realm=\"deed\""),
                )]
            }
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
                vec![(header::RETRY_AFTER, HeaderValue::from_static("1"))]
            }
            _ => Vec::new(),
        }
    }
}

/// Makes the enum, the list of all codes and the table out of one text, so that none can lack a row.
macro_rules! errors {
    ($($variant:ident = $status:ident $code:literal $title:literal
        $message:literal
        means $meaning:literal
        so $remedy:literal;)*) => {
        /// Every error that the interface can answer.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ErrorCode {
            $(#[doc = $meaning] $variant,)*
        }

        impl ErrorCode {
            /// All codes, in the order of the table.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$variant,)*];

            /// The table's row.
            pub const fn entry(self) -> Entry {
                match self {
                    $(ErrorCode::$variant => Entry {
                        code: $code,
                        status: StatusCode::$status,
                        title: $title,
                        message: $message,
                        meaning: $meaning,
                        remedy: $remedy,
                    },)*
                }
            }
        }
    };
}

errors! {
    BadRequest = BAD_REQUEST "bad_request" "Bad request"
        "The request could not be read."
        means "The request's body ended early, or could not be decoded; or a browser's preflight asked for an origin, method or header that is not on the allow-list."
        so "Send the request again, whole; or have the operator allow the origin.";
    MalformedJson = BAD_REQUEST "malformed_json" "Malformed JSON"
        "The body is not JSON."
        means "The body is not one JSON value: a syntax error, text after the value, or bytes that are not UTF-8."
        so "Check the body with a JSON parser. `message` says the line and column.";
    ValidationFailed = BAD_REQUEST "validation_failed" "Invalid request"
        "The request is not valid."
        means "A field, parameter or header is missing, unknown, of the wrong type, or out of its limits. `errors` names each place: `pointer` into the body, `parameter` of the query or path, or `header`."
        so "Correct what `errors` lists. An error of shape (type, missing or unknown field) stands alone. All limits that the body alone can tell are listed together; those that need the clock, the action type's schema or the database come after them: an action's `run_at` and `input`, a key's `expires_at`.";
    InvalidCursor = BAD_REQUEST "invalid_cursor" "Invalid cursor"
        "The cursor does not fit this list."
        means "A list's `cursor` was changed, or belongs to another list, other filters or another caller; or the cursor of a stream is no decimal number between 0 and the last stored sequence."
        so "Take the cursor from `next_cursor` or the `Link` header unchanged, with the same filters; or begin without one.";
    UnknownActionType = BAD_REQUEST "unknown_action_type" "Unknown action type"
        "There is no action type of this name."
        means "The `type` of a new action is not registered."
        so "List the types with GET /action-types.";
    UserRequired = BAD_REQUEST "user_required" "A user is required"
        "This request needs a user to act for."
        means "The root key has no user of its own, and this operation is done for a user."
        so "Name the user in the header `X-User-ID`, or use a user's key.";
    InvalidApiKey = UNAUTHORIZED "invalid_api_key" "Invalid API key"
        "Invalid API key."
        means "No key was sent, or the key is malformed, unknown, expired or revoked, or its user is disabled or deleted; or `X-API-Key` and `Authorization` carry different keys. The same of a stream's `ticket`, which is also refused when it was used before, is another action's, stands beside a key, or is to open anything but an event stream. The answer is the same for all of these."
        so "Send a valid key in `X-API-Key`, or as `Authorization: Bearer`.";
    InsufficientScope = FORBIDDEN "insufficient_scope" "Insufficient scope"
        "The key lacks a scope that this request needs."
        means "The key is valid and has not the scope that the operation needs, or that it would hand on; `message` names it."
        so "Use a key with this scope.";
    ActAsNotAllowed = FORBIDDEN "act_as_not_allowed" "Acting for another user is not allowed"
        "The key may not act for another user."
        means "`X-User-ID` names another user than the key's own, and the key has not the scope `users:act_as`."
        so "Leave the header out, or use a key with the scope `users:act_as`.";
    UserDisabled = FORBIDDEN "user_disabled" "User disabled"
        "The user is disabled."
        means "`X-User-ID` names a user that is disabled."
        so "Enable the user with PATCH /users/{id}, or act for another.";
    NotFound = NOT_FOUND "not_found" "Not found"
        "There is nothing at this path."
        means "No route has this path."
        so "Compare the path with /docs. Paths have no trailing slash.";
    UserNotFound = NOT_FOUND "user_not_found" "User not found"
        "There is no such user."
        means "The user does not exist, or the caller may not see it."
        so "Check the id.";
    ApiKeyNotFound = NOT_FOUND "api_key_not_found" "API key not found"
        "There is no such API key."
        means "The key does not exist, or belongs to somebody else."
        so "Check the id; GET /api-keys lists yours.";
    ActionNotFound = NOT_FOUND "action_not_found" "Action not found"
        "There is no such action."
        means "The action does not exist, or belongs to somebody else."
        so "Check the id; GET /actions lists yours.";
    ActionTypeNotFound = NOT_FOUND "action_type_not_found" "Action type not found"
        "There is no such action type."
        means "No action type of this name is registered."
        so "List the types with GET /action-types.";
    MethodNotAllowed = METHOD_NOT_ALLOWED "method_not_allowed" "Method not allowed"
        "The path exists, but not with this method."
        means "The path does not know this method; the header `Allow` lists those that it knows."
        so "Use one of the methods in `Allow`.";
    NotAcceptable = NOT_ACCEPTABLE "not_acceptable" "Not acceptable"
        "None of the media types in Accept can be answered."
        means "`Accept` admits none of the media types that the operation answers; `message` names them. Most answer `application/json`."
        so "Send an `Accept` header that admits one of them, or none.";
    RequestTimeout = REQUEST_TIMEOUT "request_timeout" "Request timeout"
        "The body did not arrive in time."
        means "Nothing of the request's body arrived for 10 seconds, or the whole did not arrive within a minute."
        so "Send the request again over a better connection.";
    UserAlreadyExists = CONFLICT "user_already_exists" "User already exists"
        "A user with this e-mail address exists already."
        means "E-mail addresses are unique, whatever the case of their letters."
        so "Use another address, or find the user with GET /users?email=….";
    ExternalIdTaken = CONFLICT "external_id_taken" "External id taken"
        "A user with this external_id exists already."
        means "`external_id` is unique among users."
        so "Find the user with GET /users?external_id=….";
    TypeHasHandler = CONFLICT "type_has_handler" "Action type has a handler"
        "A handler within the server performs this action type."
        means "Types that a handler performs are defined by the server's program, not over HTTP."
        so "Choose another name for the type that your workers perform.";
    TypeHasActions = CONFLICT "type_has_actions" "Action type has unfinished actions"
        "Actions of this type are not over yet."
        means "An action type is removed only when none of its actions waits or runs."
        so "Wait until its actions are over, or cancel them: GET /actions?type=… lists them.";
    LeaseLost = CONFLICT "lease_lost" "Lease lost"
        "The lease is lost."
        means "The lease has run out or its action is over, or no lease has this id. Nothing was written."
        so "Stop this attempt: somebody else performs the action, or has. Ask for other work with POST /leases.";
    SequenceConflict = CONFLICT "sequence_conflict" "Sequence conflict"
        "The events do not stand at the end of the log."
        means "`from_seq` is not the position of the next event, and the events are not those that stand there. `message` says the position."
        so "Send each batch from the `next_seq` that the answer before it told, one batch after the other.";
    ActionNotRetryable = CONFLICT "action_not_retryable" "Action not retryable"
        "The action can't be retried."
        means "Only actions that failed or were cancelled are tried again, and only while their type still takes their input. `message` says which of these does not hold."
        so "Wait until the action is over, or ask for a new one with POST /actions.";
    IdempotencyInFlight = CONFLICT "idempotency_in_flight" "First request still in flight"
        "The first request with this Idempotency-Key has not ended yet."
        means "Another request with the same `Idempotency-Key` is being committed."
        so "Send the same request again in a moment.";
    ActionGone = GONE "action_gone" "Action gone"
        "The action is older than what is kept."
        means "There is no such action, and one of this id would be older than the server keeps actions. Whether there ever was one can't be told."
        so "Read outcomes and events in time. The operator sets how long they are kept with DEED_RETENTION.";
    PreconditionFailed = PRECONDITION_FAILED "precondition_failed" "Precondition failed"
        "The object is not as the request expects it."
        means "The object's `ETag` is none of those in `If-Match`, or one of those in `If-None-Match`: somebody has changed it since it was read. Nothing was changed. Weak tags (`W/…`) and tags without quotation marks never match in `If-Match`."
        so "Read the object again, look at what has changed, and send the change with the new `ETag`.";
    BodyTooLarge = PAYLOAD_TOO_LARGE "body_too_large" "Body too large"
        "The body is larger than this operation takes."
        means "The body passes the limit: 1 MiB for actions, 64 KiB for users and keys."
        so "Send less; keep large data elsewhere and send a reference to it.";
    TargetTooLong = URI_TOO_LONG "target_too_long" "Target too long"
        "The request's target is longer than 8 KiB."
        means "Path and query together are longer than 8 KiB."
        so "Send a shorter query.";
    UnsupportedMediaType = UNSUPPORTED_MEDIA_TYPE "unsupported_media_type" "Unsupported media type"
        "The body's media type is not taken here."
        means "The operation takes `application/json` (PATCH also `application/merge-patch+json`), not compressed. The header `Accept` lists the media types that it takes."
        so "Send the header `Content-Type: application/json` once, and no `Content-Encoding`.";
    IdempotencyKeyReused = UNPROCESSABLE_ENTITY "idempotency_key_reused" "Idempotency key reused"
        "This Idempotency-Key belongs to a different request."
        means "The same `Idempotency-Key` came with another body before."
        so "Use a new key for each new request; repeat a request with its body unchanged.";
    TooManyTickets = TOO_MANY_REQUESTS "too_many_tickets" "Too many tickets"
        "Too many tickets for streams of this user's actions are good at the moment."
        means "For the actions of one user 1,000 tickets are good at a time. A ticket that was used, or is older than a minute, doesn't count."
        so "Ask for a ticket right before the stream is opened. Repeat the request after the time in `Retry-After`.";
    RateLimited = TOO_MANY_REQUESTS "rate_limited" "Rate limited"
        "The key makes too many requests."
        means "The key has made more requests within a second than it may. Each server counts what it serves. Nothing was done."
        so "Repeat the request after the time in `Retry-After`. `RateLimit` on each answer says how many more may follow at once.";
    TooManyStreams = TOO_MANY_REQUESTS "too_many_streams" "Too many streams"
        "The key has as many streams open as it may."
        means "The key has as many event streams open at this server as it may. Nothing was done: no action was accepted."
        so "Close a stream, or repeat the request after the time in `Retry-After`. A stream whose client has gone is closed at once where the connection was ended, else within a minute.";
    TooManyQueued = TOO_MANY_REQUESTS "too_many_queued" "Too many actions waiting"
        "As many actions of the key wait as may."
        means "With this request more actions of the key would wait, queued, scheduled or backing off, than may. Nothing was accepted. A batch counts whole: one that is larger than the limit is never accepted."
        so "Repeat the request after the time in `Retry-After`, once some of the key's actions have begun; or cancel some that wait.";
    InternalError = INTERNAL_SERVER_ERROR "internal_error" "Internal error"
        "Something went wrong on the server's side."
        means "A bug. The server has logged it under the answer's `request_id`."
        so "Report the `request_id`. Repeating a request with its `Idempotency-Key` is safe.";
    Unavailable = SERVICE_UNAVAILABLE "unavailable" "Service unavailable"
        "The service can't serve this request now."
        means "The database is away, or this replica is shutting down. It is not known whether a write took place only when no `Idempotency-Key` was sent."
        so "Repeat the request after the time in `Retry-After`, with the same `Idempotency-Key`.";
    Overloaded = SERVICE_UNAVAILABLE "overloaded" "Overloaded"
        "The service is at its limit."
        means "A bounded queue is full, for example that of password hashing."
        so "Repeat the request after the time in `Retry-After`.";
}

impl ErrorCode {
    /// The code with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|code| code.entry().code == name)
    }

    /// The code for an answer that came from the framework, told from its status.
    pub(crate) fn of_status(status: StatusCode) -> Self {
        match status {
            StatusCode::UNAUTHORIZED => Self::InvalidApiKey,
            StatusCode::FORBIDDEN => Self::InsufficientScope,
            StatusCode::NOT_FOUND => Self::NotFound,
            StatusCode::METHOD_NOT_ALLOWED => Self::MethodNotAllowed,
            StatusCode::NOT_ACCEPTABLE => Self::NotAcceptable,
            StatusCode::REQUEST_TIMEOUT => Self::RequestTimeout,
            StatusCode::PRECONDITION_FAILED => Self::PreconditionFailed,
            StatusCode::PAYLOAD_TOO_LARGE => Self::BodyTooLarge,
            StatusCode::URI_TOO_LONG => Self::TargetTooLong,
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Self::UnsupportedMediaType,
            StatusCode::TOO_MANY_REQUESTS => Self::RateLimited,
            StatusCode::SERVICE_UNAVAILABLE => Self::Unavailable,
            status if status.is_client_error() => Self::BadRequest,
            _ => Self::InternalError,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn codes_are_unique_and_snake_case() {
        let mut seen = HashSet::new();
        for code in ErrorCode::ALL {
            let name = code.entry().code;
            assert!(seen.insert(name), "{name} stands twice");
            assert!(
                name.chars().all(|c| c.is_ascii_lowercase() || c == '_'),
                "{name}"
            );
            assert_eq!(ErrorCode::named(name), Some(*code));
        }
        assert_eq!(ErrorCode::named("nothing"), None);
    }

    #[test]
    fn each_row_has_words_and_an_error_status() {
        for code in ErrorCode::ALL {
            let entry = code.entry();
            assert!(entry.status.is_client_error() || entry.status.is_server_error());
            assert!(
                !entry.title.is_empty() && !entry.title.ends_with('.'),
                "{entry:?}"
            );
            for sentence in [entry.message, entry.meaning, entry.remedy] {
                assert!(sentence.ends_with('.'), "{sentence}");
            }
        }
    }

    #[test]
    fn a_frameworks_status_keeps_its_number() {
        for status in [
            400, 401, 403, 404, 405, 406, 412, 413, 414, 415, 429, 500, 503,
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(ErrorCode::of_status(status).entry().status, status);
        }
    }
}
