use std::sync::Arc;

use crate::caller::Caller;
use crate::error::Error;
use crate::id::UserId;
use crate::page::{Page, PageRequest};
use crate::ports::UserRepository;
use crate::scope::Permission;
use crate::user::{User, UserFilter};

/// Reads users.
#[derive(Clone)]
pub struct ReadUsers {
    users: Arc<dyn UserRepository>,
}

impl ReadUsers {
    /// The use case over this port.
    #[must_use]
    pub fn new(users: Arc<dyn UserRepository>) -> Self {
        Self { users }
    }

    /// The user that the caller acts for.
    ///
    /// # Errors
    /// [`Error::UserRequired`] for the root key without a named user.
    pub async fn me(&self, caller: &Caller) -> Result<User, Error> {
        let id = caller.require_subject()?;
        self.users.find(id).await?.ok_or(Error::UserNotFound)
    }

    /// The user of that id: with `users:read` any, without it the caller's own.
    ///
    /// # Errors
    /// [`Error::InsufficientScope`], alike for users that exist and that don't; [`Error::UserNotFound`].
    pub async fn find(&self, caller: &Caller, id: UserId) -> Result<User, Error> {
        if caller.subject() != Some(id) {
            caller.require(Permission::UsersRead)?;
        }
        self.users.find(id).await?.ok_or(Error::UserNotFound)
    }

    /// Users, newest first.
    ///
    /// # Errors
    /// [`Error::InsufficientScope`] without `users:read`.
    pub async fn list(
        &self,
        caller: &Caller,
        filter: &UserFilter,
        page: PageRequest<UserId>,
    ) -> Result<Page<User, UserId>, Error> {
        caller.require(Permission::UsersRead)?;
        Ok(self.users.list(filter, page).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caller::{Actor, Identity};
    use crate::id::ApiKeyId;
    use crate::key_limits::KeyLimits;
    use crate::ports::MockUserRepository;
    use crate::scope::{Scope, ScopeSet};
    use uuid::Uuid;

    fn user(n: u128) -> UserId {
        UserId::from_uuid(Uuid::from_u128(n))
    }

    fn caller(permission: Permission) -> Caller {
        Identity {
            actor: Actor::Key(ApiKeyId::from_uuid(Uuid::from_u128(9))),
            owner: Some(user(1)),
            scopes: ScopeSet::of([Scope::all(permission)]).unwrap(),
            expires_at: None,
            limits: KeyLimits::NONE,
        }
        .for_itself()
    }

    async fn find(permission: Permission, id: UserId) -> Error {
        let mut users = MockUserRepository::new();
        users.expect_find().returning(|_| Ok(None));
        ReadUsers::new(Arc::new(users))
            .find(&caller(permission), id)
            .await
            .unwrap_err()
    }

    #[tokio::test]
    async fn only_oneself_is_seen_without_the_scope() {
        let refused = Error::InsufficientScope(Scope::all(Permission::UsersRead));
        assert_eq!(find(Permission::ActionsRead, user(2)).await, refused);
        // Let in, and not found, because the fake knows nobody.
        assert_eq!(
            find(Permission::ActionsRead, user(1)).await,
            Error::UserNotFound
        );
        assert_eq!(
            find(Permission::UsersRead, user(2)).await,
            Error::UserNotFound
        );
    }

    #[tokio::test]
    async fn listing_takes_the_scope() {
        let mut users = MockUserRepository::new();
        users.expect_list().never();
        let page = PageRequest {
            limit: crate::page::Limit::default(),
            after: None,
        };
        let result = ReadUsers::new(Arc::new(users))
            .list(
                &caller(Permission::UsersWrite),
                &UserFilter::default(),
                page,
            )
            .await;
        assert_eq!(
            result,
            Err(Error::InsufficientScope(Scope::all(Permission::UsersRead)))
        );
    }
}
