//! Idempotency keys: the same request again is answered, not performed again.

use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::caller::{Actor, Caller};
use crate::text::{TextError, visible_ascii};

/// What a client sent as `Idempotency-Key`: 1–255 visible ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// The longest key, in characters.
    pub const MAX: usize = 255;

    /// Takes a key, without the quotes that a structured field would put around it.
    ///
    /// # Errors
    /// [`TextError`] when it is empty, too long or not visible ASCII.
    pub fn parse(text: &str) -> Result<Self, TextError> {
        visible_ascii(text, Self::MAX)?;
        Ok(Self(text.to_owned()))
    }

    /// The key.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Within which a key is unique: who sends it, for whom, to which path. SHA-256 of these three.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct IdempotencyScope([u8; 32]);

impl IdempotencyScope {
    /// The scope of `caller` at `path`; `None` is somebody without a key.
    #[must_use]
    pub fn of(caller: Option<&Caller>, path: &str) -> Self {
        let actor = caller.map_or(Actor::Anonymous, Caller::actor);
        let key = actor.key_id().map(|id| id.to_string()).unwrap_or_default();
        let subject = caller
            .and_then(Caller::subject)
            .map(|id| id.to_string())
            .unwrap_or_default();
        let mut hash = Sha256::new();
        // None of the parts can contain the separator.
        for part in [actor.kind(), &key, &subject, path] {
            hash.update(part.as_bytes());
            hash.update([0]);
        }
        Self(hash.finalize().into())
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for IdempotencyScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdempotencyScope")
    }
}

/// A request that may be sent again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// Within which the key is unique.
    pub scope: IdempotencyScope,
    /// The client's key.
    pub key: IdempotencyKey,
    /// Tells one request from another: a keyed hash of the body, because bodies may hold passwords.
    pub request_hash: [u8; 32],
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caller::Identity;
    use crate::id::{ApiKeyId, UserId};
    use crate::key_limits::KeyLimits;
    use crate::scope::ScopeSet;
    use uuid::Uuid;

    #[track_caller]
    fn check(text: &str, ok: bool) {
        assert_eq!(IdempotencyKey::parse(text).is_ok(), ok, "{text:?}");
    }

    #[test]
    fn keys_are_visible_ascii_up_to_255() {
        check("", false);
        check("a", true);
        check(&"k".repeat(255), true);
        check(&"k".repeat(256), false);
        check("a b", false);
        check("é", false);
        check("a\0", false);
    }

    #[test]
    fn the_scope_tells_callers_subjects_and_paths_apart() {
        let identity = |actor, owner: u128| Identity {
            actor,
            owner: Some(UserId::from_uuid(Uuid::from_u128(owner))),
            scopes: ScopeSet::everything(),
            expires_at: None,
            limits: KeyLimits::NONE,
        };
        let key = |n| Actor::Key(ApiKeyId::from_uuid(Uuid::from_u128(n)));
        let scopes = [
            IdempotencyScope::of(None, "/users"),
            IdempotencyScope::of(Some(&identity(key(1), 1).for_itself()), "/users"),
            IdempotencyScope::of(Some(&identity(key(2), 1).for_itself()), "/users"),
            IdempotencyScope::of(Some(&identity(key(1), 2).for_itself()), "/users"),
            IdempotencyScope::of(Some(&identity(key(1), 1).for_itself()), "/actions"),
            IdempotencyScope::of(Some(&identity(Actor::Root, 1).for_itself()), "/users"),
        ];
        let distinct: std::collections::HashSet<_> = scopes.iter().collect();
        assert_eq!(distinct.len(), scopes.len());
    }
}
