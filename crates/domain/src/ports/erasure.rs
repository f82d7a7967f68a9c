use async_trait::async_trait;

use crate::error::StoreError;
use crate::id::UserId;

/// What belongs to a user beside the account itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Belongings {
    /// How many API keys, revoked and expired ones too.
    pub api_keys: u64,
    /// How many actions; counted up to [`Belongings::MOST`].
    pub actions: u64,
}

impl Belongings {
    /// Where counting ends.
    pub const MOST: u64 = 1_000_000;
}

/// What one step of erasing came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Erased {
    /// How many actions it removed.
    pub actions: u64,
    /// Whether nothing is left.
    pub is_over: bool,
}

/// Removes what deleted users have left behind: their actions, with queue entries, leases, results, events and
/// idempotency keys.
///
/// It goes on in small steps, each a commit of its own: who stops in between, by a crash too, has lost nothing, and
/// anybody may go on. Several may do so at once. An action vanishes whole: nobody ever reads one that lacks a part.
/// What was still to be done is cancelled, so the lease of a running action is lost and its performer writes nothing
/// more.
#[cfg_attr(any(test, feature = "mocks"), mockall::automock)]
#[async_trait]
pub trait Erasure: Send + Sync {
    /// What belongs to a user, deleted or not.
    async fn belongings(&self, user: UserId) -> Result<Belongings, StoreError>;

    /// At most `limit` deleted users who may have left something behind, in the order of their ids, from the one behind
    /// `after` on. A user stays among them for some minutes: a request that was under way when it was deleted may still
    /// bring something.
    async fn pending(&self, after: Option<UserId>, limit: usize)
    -> Result<Vec<UserId>, StoreError>;

    /// Removes some of what a deleted user has left behind. Does nothing to a user that isn't deleted.
    async fn erase(&self, user: UserId) -> Result<Erased, StoreError>;
}
