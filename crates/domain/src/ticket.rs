//! Tickets: each opens one stream once, for who can't send a key.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::caller::Caller;
use crate::id::ActionId;
use crate::secret::{PlainSecret, SecretDigest};

/// How long a ticket is good.
pub const LIFE: Duration = Duration::from_secs(60);

/// How many tickets for one user's actions are good at a time.
pub const MOST_PER_USER: u16 = 1_000;

/// A ticket that is to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTicket {
    /// What is kept of its secret.
    pub digest: SecretDigest,
    /// Whose events it shows.
    pub action: ActionId,
    /// Whom it stands for: it is good while this caller is valid.
    pub caller: Caller,
}

/// A ticket with its secret, for this one time.
#[derive(Debug, Clone)]
pub struct IssuedTicket {
    /// Its secret.
    pub secret: PlainSecret,
    /// From when on it is refused.
    pub expires_at: DateTime<Utc>,
}
