use std::sync::Arc;

use crate::caller::{Attribution, Caller};
use crate::error::Error;
use crate::id::UserId;
use crate::ports::{UserChanged, UserRepository};
use crate::scope::Permission;
use crate::user::{User, UserChange, UserCondition};

/// Changes users.
#[derive(Clone)]
pub struct ChangeUser {
    users: Arc<dyn UserRepository>,
}

impl ChangeUser {
    /// The use case over this port.
    #[must_use]
    pub fn new(users: Arc<dyn UserRepository>) -> Self {
        Self { users }
    }

    /// Changes a user for `caller`, if `condition` holds for it as it is.
    ///
    /// # Errors
    /// [`Error::InsufficientScope`] without `users:write`, for the address without `users:credentials`;
    /// [`Error::UserNotFound`], [`Error::PreconditionFailed`], [`Error::UserAlreadyExists`],
    /// [`Error::ExternalIdTaken`].
    pub async fn run(
        &self,
        caller: &Caller,
        id: UserId,
        change: &UserChange,
        condition: &UserCondition,
        by: &Attribution,
    ) -> Result<User, Error> {
        caller.require(Permission::UsersWrite)?;
        if change.email.is_some() {
            caller.require(Permission::UsersCredentials)?;
        }
        match self.users.change(id, change, condition, by).await? {
            UserChanged::Changed(user) => Ok(user),
            UserChanged::NotFound => Err(Error::UserNotFound),
            UserChanged::ConditionFailed => Err(Error::PreconditionFailed),
            UserChanged::EmailTaken => Err(Error::UserAlreadyExists),
            UserChanged::ExternalIdTaken => Err(Error::ExternalIdTaken),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caller::{Actor, Identity};
    use crate::email::Email;
    use crate::key_limits::KeyLimits;
    use crate::ports::MockUserRepository;
    use crate::scope::{Scope, ScopeSet};
    use uuid::Uuid;

    async fn run(
        scopes: &[Permission],
        change: UserChange,
        answer: UserChanged,
    ) -> Result<User, Error> {
        let caller = Identity {
            actor: Actor::Root,
            owner: None,
            scopes: ScopeSet::of(scopes.iter().copied().map(Scope::all)).unwrap(),
            expires_at: None,
            limits: KeyLimits::NONE,
        }
        .for_itself();
        let mut users = MockUserRepository::new();
        users
            .expect_change()
            .returning(move |_, _, _, _| Ok(answer.clone()));
        let id = UserId::from_uuid(Uuid::from_u128(1));
        ChangeUser::new(Arc::new(users))
            .run(
                &caller,
                id,
                &change,
                &UserCondition::default(),
                &caller.attribution(None),
            )
            .await
    }

    fn of_email() -> UserChange {
        UserChange {
            email: Some(Email::parse("a@b.co").unwrap()),
            ..UserChange::default()
        }
    }

    #[tokio::test]
    async fn the_address_takes_a_scope_of_its_own() {
        assert_eq!(
            run(&[Permission::UsersWrite], of_email(), UserChanged::NotFound).await,
            Err(Error::InsufficientScope(Scope::all(
                Permission::UsersCredentials
            )))
        );
        let both = [Permission::UsersWrite, Permission::UsersCredentials];
        assert_eq!(
            run(&both, of_email(), UserChanged::EmailTaken).await,
            Err(Error::UserAlreadyExists)
        );
    }

    #[tokio::test]
    async fn refusals_have_names() {
        let change = UserChange::default;
        let write = [Permission::UsersWrite];
        assert_eq!(
            run(&write, change(), UserChanged::NotFound).await,
            Err(Error::UserNotFound)
        );
        assert_eq!(
            run(&write, change(), UserChanged::ExternalIdTaken).await,
            Err(Error::ExternalIdTaken)
        );
        assert_eq!(
            run(&write, change(), UserChanged::ConditionFailed).await,
            Err(Error::PreconditionFailed)
        );
        assert_eq!(
            run(&[Permission::UsersRead], change(), UserChanged::NotFound).await,
            Err(Error::InsufficientScope(Scope::all(Permission::UsersWrite)))
        );
    }
}
