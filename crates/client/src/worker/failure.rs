//! Why an attempt fails.

use std::time::Duration;

use deed_api::lease::{FailLease, FailureError};

use crate::error::Error;

/// The most characters that an error's code and its message may have.
const LENGTHS: (usize, usize) = (100, 4_000);

/// Why a handler could not perform an action. Who asked for the action sees the code and the message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({code})")]
pub struct Failure {
    code: String,
    message: String,
    is_retryable: bool,
    retry_after: Option<Duration>,
}

impl Failure {
    /// A failure that may pass: another attempt follows, if one is left.
    pub fn retryable(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
            is_retryable: true,
            retry_after: None,
        }
    }

    /// A failure that no other attempt would mend.
    pub fn permanent(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            is_retryable: false,
            ..Self::retryable(code, message)
        }
    }

    /// Waits so long before the next attempt, instead of as long as the type's policy says.
    #[must_use]
    pub fn after(mut self, pause: Duration) -> Self {
        self.retry_after = Some(pause);
        self
    }

    pub(super) fn no_json(error: serde_json::Error) -> Self {
        Self::permanent(
            "no_json",
            format!("The worker said what has no form in JSON: {error}."),
        )
    }

    pub(super) fn stopped() -> Self {
        Self::retryable("stopped", "The performance was stopped.")
    }

    pub(super) fn panicked() -> Self {
        Self::retryable("handler_panicked", "The handler panicked.")
    }

    /// Of what the server would not take.
    pub(super) fn refused(error: &Error) -> Self {
        match error.refusal() {
            Some(refusal) => Self::permanent(
                refusal.code().unwrap_or("refused"),
                format!("The server refused what the worker said: {refusal}."),
            ),
            None => Self::retryable("worker_failed", error.to_string()),
        }
    }

    /// What is to be cancelled ends so by a failure that may be retried.
    pub(super) fn in_answer_to_cancel(self) -> Self {
        Self {
            is_retryable: true,
            ..self
        }
    }

    pub(super) fn into_body(self) -> FailLease {
        FailLease {
            error: FailureError {
                code: cut(self.code, LENGTHS.0),
                message: cut(self.message, LENGTHS.1),
            },
            retryable: self.is_retryable,
            retry_after_seconds: self.retry_after.map(|pause| pause.as_secs_f64()),
        }
    }
}

/// A failure must get through: one that says too much says less.
fn cut(text: String, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => text.get(..end).unwrap_or_default().to_owned(),
        None => text,
    }
}
