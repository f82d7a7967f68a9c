//! Leases: the right to perform one action until a time.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::{ActionTypeName, Payload, Sequence};
use crate::id::{ActionId, LeaseId, UserId};
use crate::trace::TraceParent;

/// Names a lease: the action, and the grant. Every write of a performer says both; one that is not the present
/// grant changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseRef {
    /// The action.
    pub action_id: ActionId,
    /// The grant.
    pub lease_id: LeaseId,
}

/// The right to perform one action until a time. All times are the database's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Which it is.
    pub id: LeaseRef,
    /// When it ends unless it is renewed.
    pub expires_at: DateTime<Utc>,
    /// When the attempt ends, renewed or not: at the limit of one attempt, or at that of the action.
    pub deadline_at: DateTime<Utc>,
    /// The position of the next event.
    pub next_seq: Sequence,
    /// Whether somebody has asked to cancel the action.
    pub cancel_requested: bool,
}

impl Lease {
    /// The longest checkpoint, in bytes.
    pub const CHECKPOINT_MAX_BYTES: usize = 64 * 1024;
}

/// A lease that was just granted, with all that its holder needs to perform the action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The lease.
    pub lease: Lease,
    /// What to perform.
    pub action_type: ActionTypeName,
    /// For whom.
    pub user_id: UserId,
    /// What it was asked with.
    pub input: Payload,
    /// Which attempt this is: 1, 2, …
    pub attempt: u16,
    /// How many there may be.
    pub max_attempts: u16,
    /// What the attempts before have left for this one.
    pub checkpoint: Option<Payload>,
    /// How long it is from the grant until the action's time limit passes; `None` without one.
    pub time_left: Option<Duration>,
    /// In which trace it was asked for.
    pub traceparent: Option<TraceParent>,
}
