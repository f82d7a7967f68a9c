use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::caller::{Caller, Reach};
use crate::error::StoreError;
use crate::id::ActionId;
use crate::secret::SecretDigest;
use crate::ticket::NewTicket;

/// What came of keeping a ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TicketKept {
    /// It is good until then, by the store's clock.
    Until(DateTime<Utc>),
    /// As many as there may be for one user's actions are good already.
    TooMany,
    /// No such action within reach.
    NoAction,
}

/// Keeps tickets for streams: of their secrets the digests. It may forget them all at any time, never one use of one.
#[cfg_attr(any(test, feature = "mocks"), mockall::automock)]
#[async_trait]
pub trait StreamTickets: Send + Sync {
    /// Keeps a ticket for an action within `reach`, for [`LIFE`](crate::ticket::LIFE), and no longer than the key is
    /// taken that asked for it. Of several at once for one user, a few more than
    /// [`MOST_PER_USER`](crate::ticket::MOST_PER_USER) may be kept.
    async fn keep(&self, ticket: NewTicket, reach: &Reach) -> Result<TicketKept, StoreError>;

    /// Takes the ticket of this digest for this action: whoever asks for it next gets nothing. Answers whom it stands
    /// for, as the scopes are now; `None` when there is none, when its time is over, and when its caller would be
    /// refused by now. A ticket for another action stays where it is.
    async fn take(
        &self,
        digest: &SecretDigest,
        action: ActionId,
    ) -> Result<Option<Caller>, StoreError>;
}
