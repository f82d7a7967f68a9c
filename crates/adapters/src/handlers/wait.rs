//! `wait`: does nothing for a while.

use std::time::Duration;

use async_trait::async_trait;
use deed_domain::action::{ActionType, Payload, PerformedBy};
use deed_domain::ports::{ActionHandler, Context, Failure, Task};
use serde::Deserialize;

/// The form of its input.
const SCHEMA: &str = r#"{"type":"object","required":["seconds"],"properties":{"seconds":{"type":"number","minimum":0,"maximum":86400,"description":"How long to wait."}}}"#;

/// Waits for `seconds`, stops when it is cancelled, and answers its input. For demonstrations of cancelling and
/// of time-outs: an attempt longer than its type allows is ended.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wait;

/// The member that is of use; others may be as deep and as large as any payload.
#[derive(Deserialize)]
struct Wire {
    seconds: f64,
}

#[async_trait]
impl ActionHandler for Wait {
    fn action_type(&self) -> ActionType {
        ActionType {
            input_schema: Some(Payload::from_stored(SCHEMA)),
            ..ActionType::new(super::type_name("wait"), PerformedBy::Handler)
        }
    }

    async fn perform(&self, task: &Task, context: &Context) -> Result<Payload, Failure> {
        let duration = serde_json::from_str::<Wire>(task.input.as_str())
            .ok()
            .and_then(|wire| Duration::try_from_secs_f64(wire.seconds).ok())
            .ok_or_else(|| {
                Failure::permanent("invalid_input", "The input is not of the type's form.")
            })?;
        tokio::select! {
            () = tokio::time::sleep(duration) => Ok(task.input.clone()),
            () = context.cancelled() => Err(Failure::retryable("stopped", "The wait was stopped.")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handlers::testing::{perform, schema_takes};

    #[tokio::test(start_paused = true)]
    async fn it_waits_and_answers_its_input() {
        let before = tokio::time::Instant::now();
        let (emitted, answer) = perform(&Wait, r#"{"seconds":1.5}"#).await;
        assert_eq!(
            (before.elapsed(), emitted.len()),
            (Duration::from_millis(1_500), 0)
        );
        assert_eq!(answer.unwrap().as_str(), r#"{"seconds":1.5}"#);
    }

    #[test]
    fn its_schema_takes_times_up_to_a_day() {
        for (input, ok) in [
            (r#"{"seconds":0}"#, true),
            (r#"{"seconds":86400}"#, true),
            (r#"{"seconds":86401}"#, false),
            (r#"{"seconds":-1}"#, false),
            (r#"{"seconds":"1"}"#, false),
            ("{}", false),
        ] {
            assert_eq!(schema_takes(&Wait, input), ok, "{input}");
        }
    }
}
