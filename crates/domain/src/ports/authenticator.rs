use async_trait::async_trait;

use crate::caller::{Caller, Identity};
use crate::error::StoreError;

/// Tells who bears a secret.
#[cfg_attr(any(test, feature = "mocks"), mockall::automock)]
#[async_trait]
pub trait Authenticator: Send + Sync {
    /// Who bears `secret`; `None` when it is malformed, unknown, expired or revoked, or its user is disabled or
    /// deleted. A caller can't tell these apart.
    async fn authenticate(&self, secret: &str) -> Result<Option<Identity>, StoreError>;

    /// Whether a caller who was let in is still to be served: its key is valid, its user and the one it acts for
    /// are active. For long streams; reads what is committed, not a cache.
    async fn is_still_valid(&self, caller: &Caller) -> Result<bool, StoreError>;
}
