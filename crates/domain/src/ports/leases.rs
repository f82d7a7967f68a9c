use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::action::state::RetryReason;
use crate::action::{
    ActionError, ActionTypeName, Attempts, Cancel, Grant, LeaseRef, LeaseRequest, NewEvent,
    Outcome, Payload, RetryPolicy, Sequence,
};
use crate::error::StoreError;
use crate::id::ActionId;
use crate::scope::TypeReach;

/// Which actions a performer can take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimRequest {
    /// Of these types.
    pub types: Vec<ActionTypeName>,
    /// At most so many.
    pub max: usize,
    /// Who takes them, for people who look.
    pub worker: String,
    /// For how long, unless renewed; `None` is what the type says.
    pub lease: Option<Duration>,
}

/// A place for one lease: for whom it would be granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// Who takes it, for people who look.
    pub worker: String,
    /// For how long, unless renewed; `None` is what the type says.
    pub lease: Option<Duration>,
    /// The request that it answers, if that is to be known again.
    pub request: Option<LeaseRequest>,
}

/// A lease that was granted to a [`Slot`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filled {
    /// Which, counted from 0.
    pub slot: usize,
    /// The lease.
    pub grant: Grant,
    /// Whether it was granted before, to the same request.
    pub is_repeat: bool,
}

/// A lease that stands, as it is at the moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Held {
    /// What is performed under it.
    pub action_type: ActionTypeName,
    /// Which attempt it is, of how many.
    pub attempts: Attempts,
    /// Whether somebody has asked to cancel the action.
    pub cancel: Cancel,
    /// The position of the next event.
    pub next_seq: Sequence,
    /// The type's retry policy.
    pub retry: RetryPolicy,
}

/// Output or progress that a performer reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Append {
    /// By which right.
    pub lease: LeaseRef,
    /// The position of the first event: the same position twice is written once.
    pub from_seq: Sequence,
    /// What to write; may be empty where there is a checkpoint.
    pub events: Vec<NewEvent>,
    /// What the next attempt is to get, in place of what was left for it before; `None` leaves that as it is. Kept with
    /// the events, or not at all. Of two without events from one position the later one counts.
    pub checkpoint: Option<Payload>,
}

/// A sign of life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beat {
    /// By which right.
    pub lease: LeaseRef,
    /// The types within whose reach the lease has to be; else it looks lost.
    pub reach: TypeReach,
}

/// What came of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// Written now, or when it was sent before.
    Written {
        /// The position of the next event.
        next_seq: Sequence,
        /// Whether somebody has asked to cancel the action.
        cancel_requested: bool,
    },
    /// `from_seq` is not where the log goes on. Nothing was written.
    OutOfOrder {
        /// The position of the next event.
        next_seq: Sequence,
    },
    /// The lease is lost. Nothing was written.
    Lost,
}

/// The end of an action, with the last events before `done`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finish {
    /// By which right.
    pub lease: LeaseRef,
    /// The position of the first event, where the performer counts; else after whatever is stored.
    pub from_seq: Option<Sequence>,
    /// What comes before `done`; may be empty. `done` itself is added.
    pub events: Vec<NewEvent>,
    /// How it ended.
    pub outcome: Outcome,
}

/// What came of a finish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finished {
    /// It is over now; the position of `done`.
    Finished(Sequence),
    /// The same holder had finished it before. Nothing was written.
    Repeated,
    /// The lease is lost, or `from_seq` was wrong. Nothing was written.
    Lost,
}

/// An attempt that failed, and may be followed by another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requeue {
    /// By which right.
    pub lease: LeaseRef,
    /// How long to wait before the next attempt.
    pub pause: Duration,
    /// Why.
    pub reason: RetryReason,
    /// What went wrong.
    pub error: Option<ActionError>,
}

/// What came of a requeue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requeued {
    /// It waits for its next attempt.
    Requeued,
    /// No attempt is left, the next one would begin after the action's time limit, or somebody has asked to cancel it:
    /// the holder is to finish it. Nothing was written.
    MustFinish {
        /// Whether somebody has asked to cancel it.
        cancel_requested: bool,
    },
    /// The lease is lost. Nothing was written.
    Lost,
}

/// What came of a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Released {
    /// It is back in the queue, its attempt unused; or it is cancelled, if that was asked for.
    Released,
    /// The lease is lost. Nothing was written.
    Lost,
}

/// What came of a heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeartbeatVerdict {
    /// Renewed.
    Held {
        /// Until when.
        expires_at: DateTime<Utc>,
        /// Whether somebody has asked to cancel the action.
        cancel_requested: bool,
    },
    /// The lease is over, for its holder has ended the action by it.
    Finished,
    /// The lease is lost.
    Lost,
}

/// An action that was taken from a performer that is silent or too slow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rescued {
    /// Which.
    pub action_id: ActionId,
    /// What it performs.
    pub action_type: ActionTypeName,
    /// What became of it.
    pub verdict: RescueVerdict,
}

/// What became of a rescued action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RescueVerdict {
    /// It is in the queue again.
    Requeued,
    /// No attempt was left, or the action's time is up.
    Failed,
    /// Somebody had asked to cancel it.
    Cancelled,
}

/// A waiting action that is over because its time limit has passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenUp {
    /// Which.
    pub action_id: ActionId,
    /// What it would have performed.
    pub action_type: ActionTypeName,
}

/// What came of looking for actions whose time has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promoted {
    /// How many are queued now.
    pub count: usize,
    /// In what time the next one is due, by the database's clock.
    pub next_due_in: Option<Duration>,
}

/// Keeps the right to perform: the performer's side of the action log.
///
/// Every write says its lease in its `WHERE` and hits one row, or changes nothing; each commits together with the
/// event that records it. Methods that take several answer one verdict each, in the order asked, and one bad item
/// does not fail its neighbours. No two items of one call are for the same action; of heartbeats, for the same lease. Times
/// are the database's.
#[cfg_attr(any(test, feature = "mocks"), mockall::automock)]
#[async_trait]
pub trait Leases: Send + Sync {
    /// Grants leases on waiting actions, the first in line first, each with its `started` event. No action is ever
    /// granted to two at a time, and none whose time limit has passed.
    async fn claim(&self, request: &ClaimRequest) -> Result<Vec<Grant>, StoreError>;

    /// The same for several performers together: a lease for each slot, the first slot first, as far as actions of
    /// `types` wait. A request that somebody else has granted leases in the same moment gets those, and no new one.
    async fn fill(
        &self,
        types: &[ActionTypeName],
        slots: &[Slot],
    ) -> Result<Vec<Filled>, StoreError>;

    /// Those of `types` of which actions wait that could be claimed now. A hint: the claim decides. Changes nothing.
    async fn ready(&self, types: &[ActionTypeName]) -> Result<Vec<ActionTypeName>, StoreError>;

    /// What was granted to `requests` and is held still, as it is now. Changes nothing.
    async fn granted(
        &self,
        requests: &[LeaseRequest],
    ) -> Result<Vec<(LeaseRequest, Grant)>, StoreError>;

    /// The leases as they stand; `None` for one that is lost. Changes nothing.
    async fn held(&self, leases: &[LeaseRef]) -> Result<Vec<Option<Held>>, StoreError>;

    /// Renews leases, each by the length that it was granted for, from now. May wait up to a second, to renew together
    /// with what others ask for meanwhile; the times that it answers are those that are stored.
    async fn heartbeat(&self, beats: &[Beat]) -> Result<Vec<HeartbeatVerdict>, StoreError>;

    /// Writes output, progress and checkpoints, and renews the leases, each by the length that it was granted for, from
    /// now. A lease whose action's type is beyond `reach` looks lost.
    async fn append(
        &self,
        appends: &[Append],
        reach: &TypeReach,
    ) -> Result<Vec<Appended>, StoreError>;

    /// How many chunks of output (`message` events) the log of `action` holds before the position `before`: with the
    /// position at which a grant goes on, what the attempts before it have left.
    async fn messages(&self, action: ActionId, before: Sequence) -> Result<u32, StoreError>;

    /// Ends actions: last events, `done`, result.
    async fn finish(&self, finishes: &[Finish]) -> Result<Vec<Finished>, StoreError>;

    /// Ends attempts that are to be followed by others, with a `retry` event.
    async fn requeue(&self, requeues: &[Requeue]) -> Result<Vec<Requeued>, StoreError>;

    /// Gives actions back unharmed, with a `retry` event.
    async fn release(&self, leases: &[LeaseRef]) -> Result<Vec<Released>, StoreError>;

    /// Takes actions from performers whose lease has expired or whose attempt has passed its deadline, at most
    /// `limit`. Expired leases are requeued without back-off; what has no time left has failed.
    async fn rescue(&self, limit: usize) -> Result<Vec<Rescued>, StoreError>;

    /// Ends waiting actions whose time limit has passed, at most `limit`.
    async fn give_up(&self, limit: usize) -> Result<Vec<GivenUp>, StoreError>;

    /// Lets in what limits of concurrency hold, as far as they allow, and holds what is beyond one that was lowered;
    /// answers how many became claimable. Whatever makes room, or brings what there is room for, lets it in by itself:
    /// this is for what nobody was there to let in.
    async fn admit(&self) -> Result<usize, StoreError>;

    /// Queues scheduled actions whose time has come, at most `limit`.
    async fn promote(&self, limit: usize) -> Result<Promoted, StoreError>;
}
