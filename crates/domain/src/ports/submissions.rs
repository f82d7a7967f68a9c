use async_trait::async_trait;

use crate::action::NewAction;
use crate::caller::Reach;
use crate::error::StoreError;
use crate::id::ActionId;
use crate::idempotency::Idempotency;

/// What came of submitting an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Submitted {
    /// It is accepted, and durable.
    New,
    /// The same request was accepted before, as this action.
    Replayed(ActionId),
    /// The idempotency key was used for another request.
    KeyReused,
    /// The first request with this idempotency key has not ended within 2 s.
    InFlight,
    /// Its type is not registered.
    UnknownType,
    /// As many actions of its key wait as may. Nothing was written.
    TooManyQueued,
}

/// What came of submitting a batch of actions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BatchSubmitted {
    /// All are accepted, and durable.
    New,
    /// The same request was accepted before, as these actions, in the order asked.
    Replayed(Vec<ActionId>),
    /// The idempotency key was used for another request.
    KeyReused,
    /// The first request with this idempotency key has not ended within 2 s.
    InFlight,
    /// The types of the actions in these places are not registered. Nothing was written.
    UnknownTypes(Vec<usize>),
    /// With these, more actions of their key would wait than may. Nothing was written.
    TooManyQueued,
}

/// What came of asking to cancel an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelVerdict {
    /// It was waiting, and is cancelled.
    Cancelled,
    /// It is running, and its performer is told.
    Asked,
    /// It was over.
    Over,
    /// No such action within reach.
    NotFound,
}

/// Takes actions in: the submitter's side of the action log.
#[cfg_attr(any(test, feature = "mocks"), mockall::automock)]
#[async_trait]
pub trait Submissions: Send + Sync {
    /// Accepts an action: it, its place in the queue, its `created` event and its idempotency key commit together.
    /// An action whose time is to come is scheduled, any other queued, by the database's clock.
    ///
    /// Where the action says how many of its key may wait, one that would be too many is refused, unless its request
    /// was accepted before. Requests that arrive at the same moment don't see each other: by as many it can be passed.
    /// Only actions that were accepted under such a limit are counted.
    async fn submit(
        &self,
        action: NewAction,
        idempotency: Option<Idempotency>,
    ) -> Result<Submitted, StoreError>;

    /// Accepts all the actions or none, and their one idempotency key, together. They belong to one user and are
    /// asked for with one key, which sets one limit for all.
    async fn submit_batch(
        &self,
        actions: &[NewAction],
        idempotency: Option<Idempotency>,
    ) -> Result<BatchSubmitted, StoreError>;

    /// Cancels a waiting action, with its `done` event and its result; tells the performer of a running one.
    async fn cancel(&self, id: ActionId, reach: &Reach) -> Result<CancelVerdict, StoreError>;
}
