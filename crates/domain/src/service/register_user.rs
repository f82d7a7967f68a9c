use std::sync::Arc;

use crate::StoreError;
use crate::caller::Attribution;
use crate::email::Email;
use crate::error::Error;
use crate::id::UserId;
use crate::idempotency::Idempotency;
use crate::password::Password;
use crate::ports::{HashingError, Ids, PasswordHasher, UserCreated, UserRepository};
use crate::user::{DisplayName, ExternalId, NewUser, User};

/// Registers users.
#[derive(Clone)]
pub struct RegisterUser {
    users: Arc<dyn UserRepository>,
    hasher: Arc<dyn PasswordHasher>,
    ids: Arc<dyn Ids>,
}

/// What a user is registered with.
#[derive(Debug, Clone)]
pub struct Registration {
    /// Where to write to.
    pub email: Email,
    /// What it is called.
    pub name: DisplayName,
    /// What it will sign in with.
    pub password: Password,
    /// The application's own name for it.
    pub external_id: Option<ExternalId>,
}

/// A registered user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    /// The user as it is now.
    pub user: User,
    /// Whether the same request had registered it before.
    pub is_replay: bool,
}

impl RegisterUser {
    /// The use case over these ports.
    #[must_use]
    pub fn new(
        users: Arc<dyn UserRepository>,
        hasher: Arc<dyn PasswordHasher>,
        ids: Arc<dyn Ids>,
    ) -> Self {
        Self { users, hasher, ids }
    }

    /// Registers a user. Who may is decided before: the scope `users:write`, or open registration.
    ///
    /// # Errors
    /// [`Error::UserAlreadyExists`], [`Error::ExternalIdTaken`], [`Error::IdempotencyKeyReused`],
    /// [`Error::IdempotencyInFlight`], [`Error::UserNotFound`] when the request is a repeated one whose user is gone,
    /// [`Error::Overloaded`] when too many passwords are being hashed.
    pub async fn run(
        &self,
        registration: Registration,
        by: &Attribution,
        idempotency: Option<Idempotency>,
    ) -> Result<Registered, Error> {
        let password_hash = self
            .hasher
            .hash(&registration.password)
            .await
            .map_err(hashing)?;
        let user = NewUser {
            id: UserId::from_uuid(self.ids.time_ordered()),
            email: registration.email,
            name: registration.name,
            password_hash,
            external_id: registration.external_id,
        };
        match self.users.create(user, by, idempotency).await? {
            UserCreated::New(user) => Ok(Registered {
                user,
                is_replay: false,
            }),
            UserCreated::Replayed(user) => Ok(Registered {
                user,
                is_replay: true,
            }),
            UserCreated::ReplayedGone => Err(Error::UserNotFound),
            UserCreated::EmailTaken => Err(Error::UserAlreadyExists),
            UserCreated::ExternalIdTaken => Err(Error::ExternalIdTaken),
            UserCreated::KeyReused => Err(Error::IdempotencyKeyReused),
            UserCreated::InFlight => Err(Error::IdempotencyInFlight),
        }
    }
}

fn hashing(error: HashingError) -> Error {
    match error {
        HashingError::Overloaded { retry_after } => Error::Overloaded { retry_after },
        HashingError::Failed(cause) => Error::Store(StoreError::Bug(cause)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::password::{PasswordHash, PasswordPolicy};
    use crate::ports::{MockIds, MockPasswordHasher, MockUserRepository};
    use chrono::DateTime;
    use std::time::Duration;
    use uuid::Uuid;

    fn registration() -> Registration {
        Registration {
            email: Email::parse("ada@example.com").unwrap(),
            name: DisplayName::parse("Ada").unwrap(),
            password: Password::parse("correct horse", PasswordPolicy::default()).unwrap(),
            external_id: None,
        }
    }

    fn stored(user: NewUser) -> User {
        User {
            id: user.id,
            email: user.email,
            name: user.name,
            status: crate::user::UserStatus::Active,
            external_id: user.external_id,
            created_at: DateTime::UNIX_EPOCH,
            updated_at: DateTime::UNIX_EPOCH,
        }
    }

    fn hasher() -> MockPasswordHasher {
        let mut hasher = MockPasswordHasher::new();
        hasher.expect_hash().returning(|password| {
            Ok(PasswordHash::from_phc(format!(
                "hash of {}",
                password.reveal()
            )))
        });
        hasher
    }

    fn use_case(users: MockUserRepository, hasher: MockPasswordHasher) -> RegisterUser {
        let mut ids = MockIds::new();
        ids.expect_time_ordered().returning(|| Uuid::from_u128(7));
        RegisterUser::new(Arc::new(users), Arc::new(hasher), Arc::new(ids))
    }

    #[tokio::test]
    async fn keeps_the_hash_and_never_the_password() {
        let mut users = MockUserRepository::new();
        users
            .expect_create()
            .withf(|user, by, _| {
                user.password_hash.as_phc() == "hash of correct horse"
                    && *by == Attribution::OPERATOR
            })
            .returning(|user, _, _| Ok(UserCreated::New(stored(user))));
        let registered = use_case(users, hasher())
            .run(registration(), &Attribution::OPERATOR, None)
            .await
            .unwrap();
        assert_eq!(registered.user.id, UserId::from_uuid(Uuid::from_u128(7)));
        assert!(!registered.is_replay);
    }

    #[track_caller]
    fn check(answer: UserCreated, expected: Error) {
        let mut users = MockUserRepository::new();
        users
            .expect_create()
            .returning(move |_, _, _| Ok(answer.clone()));
        let use_case = use_case(users, hasher());
        let result = futures_util::FutureExt::now_or_never(use_case.run(
            registration(),
            &Attribution::OPERATOR,
            None,
        ));
        assert_eq!(result.unwrap(), Err(expected));
    }

    #[test]
    fn refusals_have_names() {
        check(UserCreated::EmailTaken, Error::UserAlreadyExists);
        check(UserCreated::ExternalIdTaken, Error::ExternalIdTaken);
        check(UserCreated::KeyReused, Error::IdempotencyKeyReused);
        check(UserCreated::InFlight, Error::IdempotencyInFlight);
        check(UserCreated::ReplayedGone, Error::UserNotFound);
    }

    #[tokio::test]
    async fn nothing_is_stored_when_hashing_is_overloaded() {
        let mut hasher = MockPasswordHasher::new();
        let retry_after = Duration::from_secs(2);
        hasher
            .expect_hash()
            .returning(move |_| Err(HashingError::Overloaded { retry_after }));
        let mut users = MockUserRepository::new();
        users.expect_create().never();
        let result = use_case(users, hasher)
            .run(registration(), &Attribution::OPERATOR, None)
            .await;
        assert_eq!(result, Err(Error::Overloaded { retry_after }));
    }
}
