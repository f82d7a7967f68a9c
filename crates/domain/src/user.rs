//! Users: accounts with an e-mail address, a name and a password hash.

use chrono::{DateTime, Utc};

use crate::email::Email;
use crate::id::UserId;
use crate::password::PasswordHash;
use crate::text::text_type;

mod condition;

pub use condition::{UserCondition, UserVersion, UserVersions};

text_type! {
    /// What a user is called, by themselves.
    DisplayName, 1, 100
}

text_type! {
    /// The name that the application itself gave to a user. Unique among users.
    ExternalId, 1, 255
}

/// Whether an account may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UserStatus {
    /// May act.
    Active,
    /// Its keys answer as unknown ones, and nobody may act for it.
    Disabled,
}

impl UserStatus {
    /// Every status.
    pub const ALL: [Self; 2] = [Self::Active, Self::Disabled];

    /// The name on the wire and in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Disabled => "disabled",
        }
    }

    /// The status of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == name)
    }
}

/// An account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its id.
    pub id: UserId,
    /// Where to write to; unique by its key.
    pub email: Email,
    /// What it is called.
    pub name: DisplayName,
    /// Whether it may be used.
    pub status: UserStatus,
    /// The application's own name for it.
    pub external_id: Option<ExternalId>,
    /// When it was registered.
    pub created_at: DateTime<Utc>,
    /// When it was last changed: by every change at least a microsecond later than before.
    pub updated_at: DateTime<Utc>,
}

/// An account that is about to be registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewUser {
    /// Its id.
    pub id: UserId,
    /// Where to write to.
    pub email: Email,
    /// What it is called.
    pub name: DisplayName,
    /// The hash of its password.
    pub password_hash: PasswordHash,
    /// The application's own name for it.
    pub external_id: Option<ExternalId>,
}

/// A change of an account: what is `None` stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UserChange {
    /// The new address.
    pub email: Option<Email>,
    /// The new name.
    pub name: Option<DisplayName>,
    /// The new status.
    pub status: Option<UserStatus>,
    /// The new external id; `Some(None)` takes it away.
    pub external_id: Option<Option<ExternalId>>,
}

impl UserChange {
    /// Whether nothing at all would change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Which users to list. All filters are exact and must all hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UserFilter {
    /// The user with this address, compared by its key.
    pub email: Option<Email>,
    /// The user with this external id.
    pub external_id: Option<ExternalId>,
    /// Users of this status.
    pub status: Option<UserStatus>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_found_by_its_name() {
        for status in UserStatus::ALL {
            assert_eq!(UserStatus::from_name(status.as_str()), Some(status));
        }
        assert_eq!(UserStatus::from_name("Active"), None);
    }

    #[test]
    fn names_have_1_to_100_characters() {
        assert!(DisplayName::parse("").is_err());
        assert!(DisplayName::parse("é".repeat(100)).is_ok());
        assert!(DisplayName::parse("é".repeat(101)).is_err());
    }

    #[test]
    fn an_empty_change_says_so() {
        assert!(UserChange::default().is_empty());
        let taken_away = UserChange {
            external_id: Some(None),
            ..UserChange::default()
        };
        assert!(!taken_away.is_empty());
    }
}
