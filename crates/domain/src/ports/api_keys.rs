use async_trait::async_trait;

use crate::api_key::{ApiKey, NewApiKey};
use crate::caller::Attribution;
use crate::error::StoreError;
use crate::id::{ApiKeyId, UserId};
use crate::page::{Page, PageRequest};

/// Keeps API keys, and of their secrets the digests.
///
/// Each change commits together with its audit event. `owner` stands in the `WHERE`: `None` reaches everybody's keys.
#[cfg_attr(any(test, feature = "mocks"), mockall::automock)]
#[async_trait]
pub trait ApiKeyRepository: Send + Sync {
    /// Issues a key; `None` when its user doesn't exist.
    async fn create(&self, key: NewApiKey, by: &Attribution) -> Result<Option<ApiKey>, StoreError>;

    /// The key of that id, revoked and expired ones too.
    async fn find(&self, id: ApiKeyId, owner: Option<UserId>)
    -> Result<Option<ApiKey>, StoreError>;

    /// Keys, newest first, revoked and expired ones too.
    async fn list(
        &self,
        owner: Option<UserId>,
        page: PageRequest<ApiKeyId>,
    ) -> Result<Page<ApiKey, ApiKeyId>, StoreError>;

    /// Revokes a key: from the commit on, no look-up finds it valid. Answers whether there is such a key; one that
    /// was revoked before stays as it is.
    async fn revoke(
        &self,
        id: ApiKeyId,
        owner: Option<UserId>,
        by: &Attribution,
    ) -> Result<bool, StoreError>;
}
