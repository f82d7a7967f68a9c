//! Leases: the right to perform one action until a time.

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
    /// When the attempt ends, renewed or not.
    pub deadline_at: DateTime<Utc>,
    /// The position of the next event.
    pub next_seq: Sequence,
    /// Whether somebody has asked to cancel the action.
    pub cancel_requested: bool,
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
    /// In which trace it was asked for.
    pub traceparent: Option<TraceParent>,
}
