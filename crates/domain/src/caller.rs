//! Who makes a request, and what they may do.

use chrono::{DateTime, Utc};

use crate::error::Error;
use crate::id::{ApiKeyId, UserId};
use crate::key_limits::KeyLimits;
use crate::scope::{Permission, Scope, ScopeSet, TypeReach};
use crate::user::UserStatus;

/// Who acts, as it is recorded on everything that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Actor {
    /// Somebody without a key, where that is allowed: open registration.
    Anonymous,
    /// The operator, at the command line beside the database.
    Operator,
    /// The root key.
    Root,
    /// An API key.
    Key(ApiKeyId),
}

impl Actor {
    /// The key, if it is one.
    #[must_use]
    pub const fn key_id(self) -> Option<ApiKeyId> {
        match self {
            Self::Key(id) => Some(id),
            Self::Anonymous | Self::Operator | Self::Root => None,
        }
    }

    /// The kind of actor, as audit events name it.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous",
            Self::Operator => "operator",
            Self::Root => "root",
            Self::Key(_) => "key",
        }
    }
}

/// What a valid secret says of its bearer, before it is known for whom they act.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The root key or an API key.
    pub actor: Actor,
    /// Whose key it is; the root key is nobody's.
    pub owner: Option<UserId>,
    /// What it permits.
    pub scopes: ScopeSet,
    /// From when on the secret is refused.
    pub expires_at: Option<DateTime<Utc>>,
    /// How much it may use.
    pub limits: KeyLimits,
}

/// Who makes this request: the key, and the user acted for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    identity: Identity,
    subject: Option<UserId>,
}

/// Which objects a caller reaches. It stands in the `WHERE` of every look-up, so that a foreign object looks
/// like one that doesn't exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    /// Only this user's objects; everybody's where it is `None`.
    pub owner: Option<UserId>,
    /// Only actions of these types.
    pub types: TypeReach,
}

impl Reach {
    /// Everybody's objects of every type: for the server's own look-ups.
    pub const EVERYTHING: Self = Self {
        owner: None,
        types: TypeReach::All,
    };
}

/// For whom an identity acts, as far as the request alone can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActsFor {
    /// For its own user.
    Itself(UserId),
    /// For nobody: the root key, unless it names a user.
    Nobody,
    /// For another user, who has to be looked up.
    Another(UserId),
}

impl Identity {
    /// Decides for whom it acts when the request names `named`. There is no way from a named user to nobody.
    ///
    /// # Errors
    /// [`Error::ActAsNotAllowed`] when another user is named without `users:act_as`.
    pub fn acts_for(&self, named: Option<UserId>) -> Result<ActsFor, Error> {
        match (self.owner, named) {
            (Some(owner), None) => Ok(ActsFor::Itself(owner)),
            (Some(owner), Some(named)) if owner == named => Ok(ActsFor::Itself(owner)),
            (None, None) => Ok(ActsFor::Nobody),
            (_, Some(named)) if self.scopes.gives(Permission::UsersActAs) => {
                Ok(ActsFor::Another(named))
            }
            (_, Some(_)) => Err(Error::ActAsNotAllowed),
        }
    }

    /// The caller that acts for its own user, or for nobody.
    #[must_use]
    pub fn for_itself(self) -> Caller {
        let subject = self.owner;
        Caller {
            identity: self,
            subject,
        }
    }

    /// The caller that acts for `subject`, whose status was just read.
    ///
    /// # Errors
    /// [`Error::UserNotFound`] when there is no such user, [`Error::UserDisabled`] when it is disabled.
    pub fn for_user(self, subject: UserId, status: Option<UserStatus>) -> Result<Caller, Error> {
        match status {
            Some(UserStatus::Active) => Ok(Caller {
                identity: self,
                subject: Some(subject),
            }),
            Some(UserStatus::Disabled) => Err(Error::UserDisabled),
            None => Err(Error::UserNotFound),
        }
    }
}

impl Caller {
    /// What its secret says of it.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// How much its key may use.
    #[must_use]
    pub const fn limits(&self) -> KeyLimits {
        self.identity.limits
    }

    /// Who acts.
    #[must_use]
    pub fn actor(&self) -> Actor {
        self.identity.actor
    }

    /// For whom, if for anyone.
    #[must_use]
    pub fn subject(&self) -> Option<UserId> {
        self.subject
    }

    /// What the key permits.
    #[must_use]
    pub fn scopes(&self) -> &ScopeSet {
        &self.identity.scopes
    }

    /// For whom, where the operation needs a user.
    ///
    /// # Errors
    /// [`Error::UserRequired`] for the root key without a named user.
    pub fn require_subject(&self) -> Result<UserId, Error> {
        self.subject.ok_or(Error::UserRequired)
    }

    /// Checks that it may do what needs `permission`, be it for some action types only.
    ///
    /// # Errors
    /// [`Error::InsufficientScope`], naming the scope.
    pub fn require(&self, permission: Permission) -> Result<(), Error> {
        if self.identity.scopes.gives(permission) {
            Ok(())
        } else {
            Err(Error::InsufficientScope(Scope::all(permission)))
        }
    }

    /// What it reaches by `permission`: everybody's objects where the permission is of that kind, else its subject's.
    #[must_use]
    pub fn reach(&self, permission: Permission) -> Reach {
        let owner = if permission.reaches_everybody() {
            None
        } else {
            self.subject
        };
        let types = if permission.is_narrowable() {
            self.identity.scopes.types_for(permission)
        } else {
            TypeReach::All
        };
        Reach { owner, types }
    }

    /// Who did it, for the audit events of a change.
    #[must_use]
    pub fn attribution(&self, request_id: Option<String>) -> Attribution {
        Attribution {
            actor: self.actor(),
            subject: self.subject,
            request_id,
        }
    }
}

/// Who made a change: recorded in the same transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribution {
    /// Who acted.
    pub actor: Actor,
    /// For whom.
    pub subject: Option<UserId>,
    /// In which request.
    pub request_id: Option<String>,
}

impl Attribution {
    /// A change that the operator makes at the command line.
    pub const OPERATOR: Self = Self {
        actor: Actor::Operator,
        subject: None,
        request_id: None,
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn user(n: u128) -> UserId {
        UserId::from_uuid(Uuid::from_u128(n))
    }

    fn key(scopes: &[&str]) -> Identity {
        Identity {
            actor: Actor::Key(ApiKeyId::from_uuid(Uuid::from_u128(9))),
            owner: Some(user(1)),
            scopes: ScopeSet::of(scopes.iter().map(|s| s.parse().unwrap())).unwrap(),
            expires_at: None,
            limits: KeyLimits::NONE,
        }
    }

    fn root() -> Identity {
        Identity {
            actor: Actor::Root,
            owner: None,
            scopes: ScopeSet::everything(),
            expires_at: None,
            limits: KeyLimits::NONE,
        }
    }

    #[test]
    fn a_key_acts_for_its_owner() {
        assert_eq!(
            key(&["users:read"]).acts_for(None),
            Ok(ActsFor::Itself(user(1)))
        );
        assert_eq!(
            key(&["users:read"]).acts_for(Some(user(1))),
            Ok(ActsFor::Itself(user(1)))
        );
        assert_eq!(key(&["users:read"]).for_itself().subject(), Some(user(1)));
    }

    #[test]
    fn acting_for_another_takes_the_scope() {
        assert_eq!(
            key(&["users:write"]).acts_for(Some(user(2))),
            Err(Error::ActAsNotAllowed)
        );
        assert_eq!(
            key(&["users:act_as"]).acts_for(Some(user(2))),
            Ok(ActsFor::Another(user(2)))
        );
    }

    #[test]
    fn a_named_user_never_becomes_nobody() {
        assert_eq!(
            root().acts_for(Some(user(2))),
            Ok(ActsFor::Another(user(2)))
        );
        assert_eq!(root().for_user(user(2), None), Err(Error::UserNotFound));
        assert_eq!(
            root().for_user(user(2), Some(UserStatus::Disabled)),
            Err(Error::UserDisabled)
        );
        assert_eq!(
            root()
                .for_user(user(2), Some(UserStatus::Active))
                .unwrap()
                .subject(),
            Some(user(2))
        );
    }

    #[test]
    fn the_root_key_has_no_user_of_its_own() {
        let root = root().for_itself();
        assert_eq!(root.require_subject(), Err(Error::UserRequired));
        assert_eq!(root.reach(Permission::ActionsRead), Reach::EVERYTHING);
    }

    #[test]
    fn scopes_reach_the_subject_or_everybody() {
        let caller = key(&["actions:read:report.*", "users:read"]).for_itself();
        let reach = caller.reach(Permission::ActionsRead);
        assert_eq!(reach.owner, Some(user(1)));
        assert_eq!(reach.types.patterns(), Some(vec!["report.*".to_owned()]));
        assert_eq!(caller.reach(Permission::UsersRead), Reach::EVERYTHING);
        assert_eq!(
            caller.require(Permission::KeysWrite),
            Err(Error::InsufficientScope(Scope::all(Permission::KeysWrite)))
        );
    }
}
