//! Requests for leases that are known again.

use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::caller::Caller;
use crate::text::{TextError, visible_ascii};

/// The id that a worker gave its request: 1–64 visible ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LeaseRequestId(String);

impl LeaseRequestId {
    /// The longest id, in characters.
    pub const MAX: usize = 64;

    /// Takes an id.
    ///
    /// # Errors
    /// [`TextError`] when it is empty, too long or not visible ASCII.
    pub fn parse(text: &str) -> Result<Self, TextError> {
        visible_ascii(text, Self::MAX)?;
        Ok(Self(text.to_owned()))
    }
}

/// A request for leases, told from every other: SHA-256 of the key that made it and of its id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseRequest([u8; 32]);

impl LeaseRequest {
    /// The request `id` of `caller`'s key, whoever it acts for.
    #[must_use]
    pub fn of(caller: &Caller, id: &LeaseRequestId) -> Self {
        let actor = caller.actor();
        let key = actor.key_id().map(|id| id.to_string()).unwrap_or_default();
        let mut hash = Sha256::new();
        // None of the parts can contain the separator.
        for part in [actor.kind(), &key, &id.0] {
            hash.update(part.as_bytes());
            hash.update([0]);
        }
        Self(hash.finalize().into())
    }

    /// The request with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for LeaseRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LeaseRequest")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caller::{Actor, Identity};
    use crate::id::{ApiKeyId, UserId};
    use crate::key_limits::KeyLimits;
    use crate::scope::ScopeSet;
    use uuid::Uuid;

    #[test]
    fn ids_are_visible_ascii_up_to_64() {
        for (text, is_one) in [
            ("", false),
            ("a", true),
            (&"k".repeat(64), true),
            (&"k".repeat(65), false),
            ("a b", false),
            ("é", false),
            ("a\0", false),
        ] {
            assert_eq!(LeaseRequestId::parse(text).is_ok(), is_one, "{text:?}");
        }
    }

    #[test]
    fn requests_are_told_apart_by_key_and_id_alone() {
        let caller = |actor, owner: u128| {
            let owner = Some(UserId::from_uuid(Uuid::from_u128(owner)));
            let identity = Identity {
                actor,
                owner,
                scopes: ScopeSet::everything(),
                expires_at: None,
                limits: KeyLimits::NONE,
            };
            identity.for_itself()
        };
        let key = |n| Actor::Key(ApiKeyId::from_uuid(Uuid::from_u128(n)));
        let id = |text| LeaseRequestId::parse(text).unwrap();
        let one = LeaseRequest::of(&caller(key(1), 1), &id("a"));
        assert_eq!(one, LeaseRequest::of(&caller(key(1), 2), &id("a")));
        for other in [
            LeaseRequest::of(&caller(key(1), 1), &id("b")),
            LeaseRequest::of(&caller(key(2), 1), &id("a")),
            LeaseRequest::of(&caller(Actor::Root, 1), &id("a")),
        ] {
            assert_ne!(one, other);
        }
    }
}
