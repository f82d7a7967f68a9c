use async_trait::async_trait;

use crate::caller::Attribution;
use crate::error::StoreError;
use crate::id::UserId;
use crate::idempotency::Idempotency;
use crate::page::{Page, PageRequest};
use crate::user::{NewUser, User, UserChange, UserCondition, UserFilter};

/// What came of registering a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserCreated {
    /// It is registered.
    New(User),
    /// The same request was answered before: this is the user that it made, as it is now.
    Replayed(User),
    /// The same request was answered before, and its user is gone.
    ReplayedGone,
    /// A user has this address.
    EmailTaken,
    /// A user has this external id.
    ExternalIdTaken,
    /// The idempotency key was used for another request.
    KeyReused,
    /// The first request with this idempotency key has not ended within 2 s.
    InFlight,
}

/// What came of changing a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserChanged {
    /// The user as it is now.
    Changed(User),
    /// No such user.
    NotFound,
    /// The condition does not hold for the user as it is.
    ConditionFailed,
    /// Another user has this address.
    EmailTaken,
    /// Another user has this external id.
    ExternalIdTaken,
}

/// Keeps users.
///
/// Each change commits together with its audit event. Whether an address or external id is taken is found by a
/// unique index, never by looking first.
#[cfg_attr(any(test, feature = "mocks"), mockall::automock)]
#[async_trait]
pub trait UserRepository: Send + Sync {
    /// Registers a user, with its idempotency key in the same transaction.
    async fn create(
        &self,
        user: NewUser,
        by: &Attribution,
        idempotency: Option<Idempotency>,
    ) -> Result<UserCreated, StoreError>;

    /// The user of that id.
    async fn find(&self, id: UserId) -> Result<Option<User>, StoreError>;

    /// Users, newest first.
    async fn list(
        &self,
        filter: &UserFilter,
        page: PageRequest<UserId>,
    ) -> Result<Page<User, UserId>, StoreError>;

    /// Changes a user for whose version `condition` holds. To compare the version and to raise it is one act: of two
    /// changes that depend on the same version one is made. Of all that can refuse a change of a user that exists, the
    /// condition is the first. A change that alters nothing leaves `updated_at` alone and no audit event; any other
    /// raises it by a microsecond at least, whatever the clock says. Disabling ends the validity of the user's keys.
    async fn change(
        &self,
        id: UserId,
        change: &UserChange,
        condition: &UserCondition,
        by: &Attribution,
    ) -> Result<UserChanged, StoreError>;

    /// Deletes a user: from the commit on it is found nowhere, its keys are gone, and its address and external id can
    /// be registered again. Nothing of its person is left but ids in audit events. Answers whether there was such a
    /// user.
    ///
    /// What it leaves behind, its actions above all, may be much: [`Erasure`](super::Erasure) removes that afterwards,
    /// and the same commit makes sure that it will. The idempotency key of its registration stays until it expires, so
    /// that a repeated request doesn't bring the user back.
    async fn delete(&self, id: UserId, by: &Attribution) -> Result<bool, StoreError>;
}
