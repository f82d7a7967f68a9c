use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::action::event::Progress;
use crate::action::{ActionError, ActionType, ActionTypeName, NewEvent, Payload};
use crate::id::{ActionId, UserId};
use crate::trace::TraceParent;

/// Performs the actions of one type inside the server.
///
/// An action is performed at least once: after a crash or a lost lease it is performed again, so what a handler
/// does to the outside should be safe to repeat (the action's id is a good idempotency key). What an earlier attempt
/// has emitted stays in the log; [`Task::messages_before`] says how much that is.
#[cfg_attr(any(test, feature = "mocks"), mockall::automock)]
#[async_trait]
pub trait ActionHandler: Send + Sync {
    /// The type that it performs, with its input schema and limits.
    fn action_type(&self) -> ActionType;

    /// Performs one action and answers its output.
    ///
    /// When the context tells of cancellation, return soon: after 5 s of grace the future is dropped. It is also
    /// dropped when the attempt takes longer than its type allows. CPU work of more than a few milliseconds belongs
    /// on a blocking thread.
    ///
    /// # Errors
    /// [`Failure`], which says whether another attempt may help.
    async fn perform(&self, task: &Task, context: &Context) -> Result<Payload, Failure>;
}

/// What a handler is to perform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// The action.
    pub action_id: ActionId,
    /// For whom it is performed.
    pub user_id: UserId,
    /// What is performed.
    pub action_type: ActionTypeName,
    /// What it was asked with; valid under the type's input schema when it was accepted.
    pub input: Payload,
    /// Which attempt this is: 1, 2, …
    pub attempt: u16,
    /// How many there may be.
    pub max_attempts: u16,
    /// How many chunks of output earlier attempts have left in the log. A handler that emits the same chunks in every
    /// attempt can go on after them, and its followers see each once.
    pub messages_before: u32,
    /// What an earlier attempt has left by [`Context::checkpoint`]. Everything that it had emitted before is in the log,
    /// and maybe more: [`Self::messages_before`] says how much.
    pub checkpoint: Option<Payload>,
    /// The trace that it belongs to: what to send as `traceparent` to whom the handler calls.
    pub traceparent: Option<TraceParent>,
}

/// Why a handler could not perform an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What went wrong; its user sees this.
    pub error: ActionError,
    /// Whether another attempt may help.
    pub is_retryable: bool,
    /// How long to wait before it; `None` leaves that to the type's retry policy.
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// A failure that may pass.
    pub fn retryable(code: impl AsRef<str>, message: impl AsRef<str>) -> Self {
        Self {
            error: ActionError::new(code, message),
            is_retryable: true,
            retry_after: None,
        }
    }

    /// A failure that no other attempt would mend.
    pub fn permanent(code: impl AsRef<str>, message: impl AsRef<str>) -> Self {
        Self {
            is_retryable: false,
            ..Self::retryable(code, message)
        }
    }

    /// Waits so long before the next attempt.
    #[must_use]
    pub fn after(mut self, pause: Duration) -> Self {
        self.retry_after = Some(pause);
        self
    }
}

/// The performance is over for the handler: its lease is lost, or the server is about to stop. Return soon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the performance was stopped")]
pub struct Stopped;

impl From<Stopped> for Failure {
    fn from(_: Stopped) -> Self {
        Self::retryable("stopped", "The performance was stopped.")
    }
}

/// What a running performance can tell and hear. Implemented by the runner; a handler uses it through [`Context`].
#[cfg_attr(any(test, feature = "mocks"), mockall::automock)]
#[async_trait]
pub trait Performance: Send + Sync {
    /// Takes an event in; returns when the bounded buffer has room, not when it is stored.
    async fn emit(&self, event: NewEvent) -> Result<(), Stopped>;

    /// Takes in what the next attempt is to get, in place of what it was to get before. It is stored with the next
    /// events, or by itself, and never before what was emitted before.
    async fn checkpoint(&self, state: Payload) -> Result<(), Stopped>;

    /// Whether the handler is to stop.
    fn is_cancelled(&self) -> bool;

    /// Returns when the handler is to stop.
    async fn cancelled(&self);
}

/// A handler's view of the action that it performs.
#[derive(Clone)]
pub struct Context {
    performance: Arc<dyn Performance>,
}

impl Context {
    /// A context over `performance`.
    #[must_use]
    pub fn new(performance: Arc<dyn Performance>) -> Self {
        Self { performance }
    }

    /// Emits one chunk of output: subscribers see it at once, and it is kept in the action's log. Waits while the
    /// buffer is full; never for a reader.
    ///
    /// # Errors
    /// [`Stopped`] when nobody would take it any more.
    pub async fn message(&self, chunk: Payload) -> Result<(), Stopped> {
        self.performance.emit(NewEvent::message(chunk)).await
    }

    /// Tells how far it is: `percent` of 0–100, and a word for people.
    ///
    /// # Errors
    /// [`Stopped`] when nobody would take it any more.
    pub async fn progress(&self, percent: Option<u8>, note: Option<&str>) -> Result<(), Stopped> {
        let progress = Progress {
            percent: percent.map(|percent| percent.min(100)),
            note: note.map(str::to_owned),
        };
        self.performance.emit(NewEvent::progress(&progress)).await
    }

    /// Leaves a small state for the next attempt, which finds it in [`Task::checkpoint`]: at most
    /// [`Lease::CHECKPOINT_MAX_BYTES`](crate::action::Lease::CHECKPOINT_MAX_BYTES) of JSON. The latest counts. It is never stored before what was emitted before it, so
    /// that nothing is missing from the log for who goes on from there.
    ///
    /// # Errors
    /// [`Stopped`] when nobody would take it any more.
    pub async fn checkpoint(&self, state: Payload) -> Result<(), Stopped> {
        self.performance.checkpoint(state).await
    }

    /// Whether the handler is to stop: somebody cancelled the action, the lease is lost, or the server stops.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.performance.is_cancelled()
    }

    /// Returns when the handler is to stop; for `select!`.
    pub async fn cancelled(&self) {
        self.performance.cancelled().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_context_emits_chunks_and_progress() {
        let mut performance = MockPerformance::new();
        let expected = [
            NewEvent::message(Payload::parse("\"a\"").unwrap()),
            NewEvent::progress(&Progress {
                percent: Some(100),
                note: None,
            }),
        ];
        let mut left = expected.into_iter();
        performance.expect_emit().times(2).returning(move |event| {
            assert_eq!(Some(event), left.next());
            Ok(())
        });
        let context = Context::new(Arc::new(performance));
        context
            .message(Payload::parse("\"a\"").unwrap())
            .await
            .unwrap();
        context.progress(Some(250), None).await.unwrap();
    }

    #[test]
    fn a_failure_says_whether_to_try_again() {
        assert!(Failure::retryable("a", "b").is_retryable);
        assert!(!Failure::permanent("a", "b").is_retryable);
        let after = Failure::retryable("a", "b").after(Duration::from_secs(7));
        assert_eq!(after.retry_after, Some(Duration::from_secs(7)));
        assert!(Failure::from(Stopped).is_retryable);
    }
}
