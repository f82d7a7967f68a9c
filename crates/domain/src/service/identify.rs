use std::sync::Arc;

use crate::caller::{ActsFor, Caller, Identity};
use crate::error::Error;
use crate::id::UserId;
use crate::ports::{Authenticator, UserRepository};

/// Finds out who makes a request, and for whom.
#[derive(Clone)]
pub struct Identify {
    authenticator: Arc<dyn Authenticator>,
    users: Arc<dyn UserRepository>,
}

impl Identify {
    /// The use case over these ports.
    #[must_use]
    pub fn new(authenticator: Arc<dyn Authenticator>, users: Arc<dyn UserRepository>) -> Self {
        Self {
            authenticator,
            users,
        }
    }

    /// The caller that bears `secret` and acts for the user that it `named`, if any.
    ///
    /// # Errors
    /// [`Error::InvalidApiKey`]; of a named user [`Error::ActAsNotAllowed`], [`Error::UserNotFound`],
    /// [`Error::UserDisabled`]. A named user is never ignored.
    pub async fn run(&self, secret: &str, named: Option<UserId>) -> Result<Caller, Error> {
        self.caller(self.identity(secret).await?, named).await
    }

    /// Whose secret it is: the first half of [`Self::run`].
    ///
    /// # Errors
    /// [`Error::InvalidApiKey`].
    pub async fn identity(&self, secret: &str) -> Result<Identity, Error> {
        let identity = self.authenticator.authenticate(secret).await?;
        identity.ok_or(Error::InvalidApiKey)
    }

    /// The caller who acts for the user that was `named`, if any: the second half of [`Self::run`].
    ///
    /// # Errors
    /// [`Error::ActAsNotAllowed`], [`Error::UserNotFound`], [`Error::UserDisabled`].
    pub async fn caller(&self, identity: Identity, named: Option<UserId>) -> Result<Caller, Error> {
        match identity.acts_for(named)? {
            // Whose account can't be used has no valid key, so there is nothing left to check.
            ActsFor::Itself(_) | ActsFor::Nobody => Ok(identity.for_itself()),
            ActsFor::Another(user) => {
                let status = self.users.find(user).await?.map(|user| user.status);
                identity.for_user(user, status)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caller::Actor;
    use crate::key_limits::KeyLimits;
    use crate::ports::{MockAuthenticator, MockUserRepository};
    use crate::scope::ScopeSet;
    use uuid::Uuid;

    fn named() -> UserId {
        UserId::from_uuid(Uuid::from_u128(1))
    }

    async fn run(
        identity: Option<Identity>,
        named: Option<UserId>,
        look_ups: usize,
    ) -> Result<Caller, Error> {
        let mut authenticator = MockAuthenticator::new();
        authenticator
            .expect_authenticate()
            .returning(move |_| Ok(identity.clone()));
        let mut users = MockUserRepository::new();
        users.expect_find().times(look_ups).returning(|_| Ok(None));
        Identify::new(Arc::new(authenticator), Arc::new(users))
            .run("secret", named)
            .await
    }

    fn root() -> Option<Identity> {
        Some(Identity {
            actor: Actor::Root,
            owner: None,
            scopes: ScopeSet::everything(),
            expires_at: None,
            limits: KeyLimits::NONE,
        })
    }

    #[tokio::test]
    async fn an_unknown_secret_is_nobody() {
        assert_eq!(run(None, None, 0).await, Err(Error::InvalidApiKey));
        assert_eq!(run(None, Some(named()), 0).await, Err(Error::InvalidApiKey));
    }

    #[tokio::test]
    async fn a_named_user_is_looked_up_and_never_ignored() {
        assert_eq!(
            run(root(), Some(named()), 1).await,
            Err(Error::UserNotFound)
        );
        assert_eq!(run(root(), None, 0).await.unwrap().subject(), None);
    }

    #[tokio::test]
    async fn without_the_scope_nobody_is_looked_up() {
        let own = Identity {
            owner: Some(UserId::from_uuid(Uuid::from_u128(2))),
            scopes: ScopeSet::of(["users:read".parse().unwrap()]).unwrap(),
            expires_at: None,
            actor: Actor::Root,
            limits: KeyLimits::NONE,
        };
        assert_eq!(
            run(Some(own), Some(named()), 0).await,
            Err(Error::ActAsNotAllowed)
        );
    }
}
