use std::sync::Arc;

use crate::api_key::ApiKey;
use crate::caller::{Attribution, Caller};
use crate::error::Error;
use crate::id::ApiKeyId;
use crate::page::{Page, PageRequest};
use crate::ports::ApiKeyRepository;
use crate::scope::Permission;

/// Reads and revokes API keys.
#[derive(Clone)]
pub struct ManageKeys {
    keys: Arc<dyn ApiKeyRepository>,
}

impl ManageKeys {
    /// The use case over this port.
    #[must_use]
    pub fn new(keys: Arc<dyn ApiKeyRepository>) -> Self {
        Self { keys }
    }

    /// The key that the caller uses.
    ///
    /// # Errors
    /// [`Error::UserRequired`] for the root key, which is no key of a user.
    pub async fn current(&self, caller: &Caller) -> Result<ApiKey, Error> {
        let id = caller.actor().key_id().ok_or(Error::UserRequired)?;
        // Not the subject's but the key's own: whoever acts for another still uses its own key.
        let found = self.keys.find(id, caller.identity().owner).await?;
        found.ok_or(Error::InvalidApiKey)
    }

    /// The key of that id, of the caller's subject.
    ///
    /// # Errors
    /// [`Error::InsufficientScope`] without `keys:read`, [`Error::ApiKeyNotFound`].
    pub async fn find(&self, caller: &Caller, id: ApiKeyId) -> Result<ApiKey, Error> {
        caller.require(Permission::KeysRead)?;
        let owner = caller.reach(Permission::KeysRead).owner;
        self.keys
            .find(id, owner)
            .await?
            .ok_or(Error::ApiKeyNotFound)
    }

    /// The keys of the caller's subject, newest first.
    ///
    /// # Errors
    /// [`Error::InsufficientScope`] without `keys:read`.
    pub async fn list(
        &self,
        caller: &Caller,
        page: PageRequest<ApiKeyId>,
    ) -> Result<Page<ApiKey, ApiKeyId>, Error> {
        caller.require(Permission::KeysRead)?;
        let owner = caller.reach(Permission::KeysRead).owner;
        Ok(self.keys.list(owner, page).await?)
    }

    /// Revokes a key of the caller's subject; its own, too.
    ///
    /// # Errors
    /// [`Error::InsufficientScope`] without `keys:write`, [`Error::ApiKeyNotFound`].
    pub async fn revoke(
        &self,
        caller: &Caller,
        id: ApiKeyId,
        by: &Attribution,
    ) -> Result<(), Error> {
        caller.require(Permission::KeysWrite)?;
        let owner = caller.reach(Permission::KeysWrite).owner;
        if self.keys.revoke(id, owner, by).await? {
            Ok(())
        } else {
            Err(Error::ApiKeyNotFound)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caller::{Actor, Identity};
    use crate::id::UserId;
    use crate::key_limits::KeyLimits;
    use crate::ports::MockApiKeyRepository;
    use crate::scope::{Scope, ScopeSet};
    use uuid::Uuid;

    fn caller(permission: Permission) -> Caller {
        Identity {
            actor: Actor::Key(ApiKeyId::from_uuid(Uuid::from_u128(9))),
            owner: Some(UserId::from_uuid(Uuid::from_u128(1))),
            scopes: ScopeSet::of([Scope::all(permission)]).unwrap(),
            expires_at: None,
            limits: KeyLimits::NONE,
        }
        .for_itself()
    }

    #[tokio::test]
    async fn revoking_reaches_the_subjects_keys_only() {
        let mut keys = MockApiKeyRepository::new();
        keys.expect_revoke()
            .withf(|_, owner, _| *owner == Some(UserId::from_uuid(Uuid::from_u128(1))))
            .returning(|_, _, _| Ok(false));
        let caller = caller(Permission::KeysWrite);
        let id = ApiKeyId::from_uuid(Uuid::from_u128(5));
        let result = ManageKeys::new(Arc::new(keys))
            .revoke(&caller, id, &caller.attribution(None))
            .await;
        assert_eq!(result, Err(Error::ApiKeyNotFound));
    }

    #[tokio::test]
    async fn revoking_takes_the_scope() {
        let mut keys = MockApiKeyRepository::new();
        keys.expect_revoke().never();
        let caller = caller(Permission::KeysRead);
        let id = ApiKeyId::from_uuid(Uuid::from_u128(5));
        let result = ManageKeys::new(Arc::new(keys))
            .revoke(&caller, id, &caller.attribution(None))
            .await;
        assert_eq!(
            result,
            Err(Error::InsufficientScope(Scope::all(Permission::KeysWrite)))
        );
    }

    #[tokio::test]
    async fn the_root_key_is_no_key_of_a_user() {
        let root = Identity {
            actor: Actor::Root,
            owner: None,
            scopes: ScopeSet::everything(),
            expires_at: None,
            limits: KeyLimits::NONE,
        };
        let keys = ManageKeys::new(Arc::new(MockApiKeyRepository::new()));
        assert_eq!(
            keys.current(&root.for_itself()).await,
            Err(Error::UserRequired)
        );
    }
}
