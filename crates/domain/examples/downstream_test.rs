//! How a service that links this crate tests its own code.
//!
//! The feature `mocks` exports a mockall fake of every port. Below is a small service: a handler of its own, and a
//! use case that builds on one of Deed's. The tests at the end are what matters; they need no server and no database.
//!
//! ```toml
//! [dependencies]
//! deed-domain = "…"
//!
//! [dev-dependencies]
//! deed-domain = { version = "…", features = ["mocks"] }
//! ```
//!
//! `cargo test -p deed-domain --example downstream_test`

#![forbid(unsafe_code)]

use async_trait::async_trait;
use deed_domain::Error;
use deed_domain::action::{ActionType, ActionTypeName, Payload, PerformedBy, Priority};
use deed_domain::caller::Caller;
use deed_domain::id::ActionId;
use deed_domain::ports::{ActionHandler, Context, Failure, Task};
use deed_domain::service::{Submit, SubmitRequest};

/// Performs `invoice.total`: adds up the amounts of an invoice.
struct InvoiceTotal {
    name: ActionTypeName,
}

#[async_trait]
impl ActionHandler for InvoiceTotal {
    fn action_type(&self) -> ActionType {
        ActionType {
            max_attempts: 1,
            ..ActionType::new(self.name.clone(), PerformedBy::Handler)
        }
    }

    async fn perform(&self, task: &Task, context: &Context) -> Result<Payload, Failure> {
        let amounts: Vec<u32> = serde_json::from_str(task.input.as_str()).map_err(|_| {
            Failure::permanent("bad_amounts", "The input is not a list of amounts.")
        })?;
        let mut total: u64 = 0;
        for amount in amounts {
            total = total.saturating_add(u64::from(amount));
            let chunk = Payload::from_stored(format!("{{\"subtotal\":{total}}}"));
            context.message(chunk).await?;
        }
        Ok(Payload::from_stored(format!("{{\"total\":{total}}}")))
    }
}

/// The service's own use case: asks for the total of an invoice, urgently.
async fn ask_for_total(
    submit: &Submit,
    caller: &Caller,
    amounts: &[u32],
) -> Result<ActionId, Error> {
    let invalid = |_| Error::invalid("", "must be a list of amounts");
    let input = serde_json::to_string(amounts).map_err(|_| Error::invalid("", "not JSON"))?;
    let request = SubmitRequest {
        action_type: ActionTypeName::parse("invoice.total")
            .map_err(|_| Error::UnknownActionType)?,
        input: Payload::parse(&input).map_err(invalid)?,
        run_at: None,
        priority: Priority::new(0).unwrap_or_default(),
        traceparent: None,
    };
    Ok(submit.run(caller, request, None).await?.id)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // A service would hand the handler to the server's builder. Here it is only asked for what it performs.
    let handler = InvoiceTotal {
        name: ActionTypeName::parse("invoice.total")?,
    };
    let _ = (handler.action_type(), ask_for_total);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    use chrono::DateTime;
    use deed_domain::caller::{Actor, Identity};
    use deed_domain::id::{ApiKeyId, UserId};
    use deed_domain::key_limits::KeyLimits;
    use deed_domain::ports::{
        MockActionTypes, MockClock, MockIds, MockInputSchemas, MockPerformance, MockSubmissions,
        Stopped, Submitted,
    };
    use deed_domain::scope::ScopeSet;
    use uuid::Uuid;

    fn handler() -> InvoiceTotal {
        InvoiceTotal {
            name: ActionTypeName::parse("invoice.total").unwrap(),
        }
    }

    fn task(input: &str) -> Task {
        Task {
            action_id: ActionId::from_uuid(Uuid::from_u128(1)),
            user_id: UserId::from_uuid(Uuid::from_u128(2)),
            action_type: ActionTypeName::parse("invoice.total").unwrap(),
            input: Payload::parse(input).unwrap(),
            attempt: 1,
            max_attempts: 1,
            messages_before: 0,
            checkpoint: None,
            traceparent: None,
        }
    }

    #[tokio::test]
    async fn the_handler_emits_subtotals_and_answers_the_total() {
        let chunks = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&chunks);
        let mut performance = MockPerformance::new();
        performance.expect_emit().returning(move |event| {
            kept.lock().unwrap().push(event.data.to_string());
            Ok(())
        });
        let context = Context::new(Arc::new(performance));
        let output = handler().perform(&task("[1, 2, 39]"), &context).await;
        assert_eq!(output.unwrap().as_str(), r#"{"total":42}"#);
        assert_eq!(
            *chunks.lock().unwrap(),
            [
                r#"{"subtotal":1}"#,
                r#"{"subtotal":3}"#,
                r#"{"subtotal":42}"#
            ]
        );
    }

    #[tokio::test]
    async fn the_handler_stops_when_its_lease_is_lost() {
        let mut performance = MockPerformance::new();
        performance
            .expect_emit()
            .times(1)
            .returning(|_| Err(Stopped));
        let context = Context::new(Arc::new(performance));
        let output = handler().perform(&task("[1, 2, 39]"), &context).await;
        assert!(output.unwrap_err().is_retryable);
    }

    #[tokio::test]
    async fn an_input_that_no_attempt_would_mend_fails_for_good() {
        let context = Context::new(Arc::new(MockPerformance::new()));
        let output = handler().perform(&task(r#"{"amount":1}"#), &context).await;
        let failure = output.unwrap_err();
        assert_eq!(
            (failure.error.code.as_str(), failure.is_retryable),
            ("bad_amounts", false)
        );
    }

    /// A `Submit` whose store answers `answer`, and which takes nothing but urgent invoices.
    fn submit(answer: Submitted) -> Submit {
        let mut submissions = MockSubmissions::new();
        submissions
            .expect_submit()
            .withf(|action, _| action.priority.get() == 0 && action.input.as_str() == "[1,2]")
            .returning(move |_, _| Ok(answer));
        let mut types = MockActionTypes::new();
        types
            .expect_find()
            .returning(|name| Ok(Some(ActionType::new(name.clone(), PerformedBy::Handler))));
        let mut ids = MockIds::new();
        ids.expect_time_ordered().returning(|| Uuid::from_u128(7));
        let mut clock = MockClock::new();
        clock.expect_now().return_const(DateTime::UNIX_EPOCH);
        Submit::new(
            Arc::new(submissions),
            Arc::new(types),
            Arc::new(MockInputSchemas::new()),
            Arc::new(ids),
            Arc::new(clock),
        )
    }

    fn caller(scope: &str) -> Caller {
        Identity {
            actor: Actor::Key(ApiKeyId::from_uuid(Uuid::from_u128(9))),
            owner: Some(UserId::from_uuid(Uuid::from_u128(2))),
            scopes: ScopeSet::of([scope.parse().unwrap()]).unwrap(),
            expires_at: None,
            limits: KeyLimits::NONE,
        }
        .for_itself()
    }

    #[tokio::test]
    async fn totals_are_asked_for_urgently() {
        let asked = ask_for_total(&submit(Submitted::New), &caller("actions:write"), &[1, 2]).await;
        assert_eq!(asked, Ok(ActionId::from_uuid(Uuid::from_u128(7))));
    }

    #[tokio::test]
    async fn a_key_that_may_only_read_is_refused() {
        let asked = ask_for_total(&submit(Submitted::New), &caller("actions:read"), &[1, 2]).await;
        assert!(matches!(asked, Err(Error::InsufficientScope(_))));
    }

    #[tokio::test]
    async fn a_type_that_vanished_meanwhile_is_told() {
        let answer = submit(Submitted::UnknownType);
        let asked = ask_for_total(&answer, &caller("actions:write"), &[1, 2]).await;
        assert_eq!(asked, Err(Error::UnknownActionType));
    }
}
