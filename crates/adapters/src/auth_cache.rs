//! Identities that were looked up a moment ago.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use deed_domain::caller::Identity;
use deed_domain::secret::SecretDigest;
use tokio::time::Instant;

/// How long an identity is trusted without a look.
const TRUSTED_FOR: Duration = Duration::from_secs(5);
/// How many are kept.
const MAX: usize = 10_000;

/// A small cache, all of which becomes void when its epoch changes.
pub(crate) struct AuthCache {
    entries: Mutex<Entries>,
}

#[derive(Default)]
struct Entries {
    epoch: u64,
    known: HashMap<[u8; 32], Entry>,
}

struct Entry {
    identity: Identity,
    until: Instant,
}

impl AuthCache {
    pub(crate) fn new() -> Self {
        Self {
            entries: Mutex::default(),
        }
    }

    /// The identity that was kept in this very epoch, if it is fresh.
    pub(crate) fn find(&self, digest: &SecretDigest, epoch: u64, now: Instant) -> Option<Identity> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.epoch != epoch {
            return None;
        }
        let entry = entries.known.get(digest.as_bytes())?;
        (now < entry.until).then(|| entry.identity.clone())
    }

    /// How many identities it holds, stale ones too.
    pub(crate) fn len(&self) -> usize {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.known.len()
    }

    /// Keeps what a look that began at `began`, in `epoch`, has found; for no longer than `valid_for`.
    pub(crate) fn keep(
        &self,
        digest: SecretDigest,
        identity: Identity,
        epoch: u64,
        began: Instant,
        valid_for: Option<Duration>,
    ) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.epoch != epoch {
            // Of two looks that overlap a change, the later epoch is the true one.
            if entries.epoch > epoch {
                return;
            }
            entries.known.clear();
            entries.epoch = epoch;
        }
        if entries.known.len() >= MAX {
            entries.known.retain(|_, entry| began < entry.until);
            if entries.known.len() >= MAX {
                entries.known.clear();
            }
        }
        let until = began + valid_for.map_or(TRUSTED_FOR, |left| left.min(TRUSTED_FOR));
        entries
            .known
            .insert(*digest.as_bytes(), Entry { identity, until });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use deed_domain::caller::Actor;
    use deed_domain::key_limits::KeyLimits;
    use deed_domain::scope::ScopeSet;

    fn digest(n: u32) -> SecretDigest {
        SecretDigest::of(&n.to_string())
    }

    fn identity() -> Identity {
        Identity {
            actor: Actor::Root,
            owner: None,
            scopes: ScopeSet::everything(),
            expires_at: None,
            limits: KeyLimits::NONE,
        }
    }

    #[test]
    fn an_identity_is_trusted_for_five_seconds() {
        let (cache, now) = (AuthCache::new(), Instant::now());
        cache.keep(digest(1), identity(), 1, now, None);
        assert_eq!(
            cache.find(&digest(1), 1, now + Duration::from_millis(4_999)),
            Some(identity())
        );
        assert_eq!(cache.find(&digest(1), 1, now + TRUSTED_FOR), None);
        assert_eq!(cache.find(&digest(2), 1, now), None);
    }

    #[test]
    fn a_key_that_expires_sooner_is_trusted_for_less() {
        let (cache, now) = (AuthCache::new(), Instant::now());
        cache.keep(digest(1), identity(), 1, now, Some(Duration::from_secs(1)));
        assert_eq!(
            cache.find(&digest(1), 1, now + Duration::from_secs(1)),
            None
        );
    }

    #[test]
    fn a_new_epoch_voids_everything() {
        let (cache, now) = (AuthCache::new(), Instant::now());
        cache.keep(digest(1), identity(), 1, now, None);
        assert_eq!(cache.find(&digest(1), 2, now), None);
        cache.keep(digest(2), identity(), 2, now, None);
        assert_eq!(cache.find(&digest(1), 2, now), None);
        assert_eq!(cache.find(&digest(2), 2, now), Some(identity()));
    }

    #[test]
    fn a_look_that_began_before_a_change_is_not_kept_after_it() {
        let (cache, now) = (AuthCache::new(), Instant::now());
        cache.keep(digest(2), identity(), 2, now, None);
        cache.keep(digest(1), identity(), 1, now, None);
        assert_eq!(cache.find(&digest(1), 1, now), None);
        assert_eq!(cache.find(&digest(1), 2, now), None);
    }

    #[test]
    fn its_size_is_bounded() {
        let (cache, now) = (AuthCache::new(), Instant::now());
        for n in 0..=10_000 {
            cache.keep(digest(n), identity(), 1, now, None);
        }
        assert!(cache.len() <= MAX);
    }
}
