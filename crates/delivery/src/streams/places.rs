//! How many streams each key has open at this replica.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};

use deed_domain::caller::Caller;
use deed_domain::id::ApiKeyId;

use crate::problem::{ErrorCode, Refusal};

/// The open streams of keys that have a limit of them. Nothing is kept of a key without one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Places(Arc<Mutex<HashMap<ApiKeyId, u32>>>);

/// Room for one stream. It is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Place(Option<(Places, ApiKeyId)>);

impl Places {
    /// Room for one more stream of the caller's key.
    ///
    /// # Errors
    /// `too_many_streams` where it has as many as it may.
    pub(crate) fn take(&self, caller: &Caller) -> Result<Place, Refusal> {
        let (Some(key), Some(most)) = (caller.actor().key_id(), caller.limits().streams) else {
            return Ok(Place::UNCOUNTED);
        };
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(key).or_default();
        if *count >= most.get() {
            let message = format!("The key may have {most} streams open at each server.");
            return Err(Refusal::new(ErrorCode::TooManyStreams).message(message));
        }
        *count += 1;
        Ok(Place(Some((self.clone(), key))))
    }

    fn leave(&self, key: ApiKeyId) {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut count) = open.entry(key) {
            *count.get_mut() = count.get().saturating_sub(1);
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

impl Place {
    /// Of what is no stream, or of a key without a limit.
    pub(crate) const UNCOUNTED: Self = Self(None);
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some((places, key)) = &self.0 {
            places.leave(*key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use deed_domain::caller::{Actor, Identity};
    use deed_domain::key_limits::KeyLimits;
    use deed_domain::scope::ScopeSet;
    use std::num::NonZeroU32;
    use uuid::Uuid;

    fn caller(actor: Actor, streams: u32) -> Caller {
        Identity {
            actor,
            owner: None,
            scopes: ScopeSet::everything(),
            expires_at: None,
            limits: KeyLimits {
                streams: NonZeroU32::new(streams),
                ..KeyLimits::NONE
            },
        }
        .for_itself()
    }

    fn key(n: u128) -> Actor {
        Actor::Key(ApiKeyId::from_uuid(Uuid::from_u128(n)))
    }

    #[test]
    fn each_key_has_its_own_places_and_they_come_back() {
        let places = Places::default();
        let (ada, bob) = (caller(key(1), 2), caller(key(2), 2));
        let first = places.take(&ada).unwrap();
        let second = places.take(&ada).unwrap();
        let refused = places.take(&ada).unwrap_err();
        assert_eq!(refused.code(), ErrorCode::TooManyStreams);
        let other = places.take(&bob).unwrap();
        drop(first);
        let third = places.take(&ada).unwrap();
        assert!(places.take(&ada).is_err());
        drop((second, third, other));
        assert!(places.0.lock().unwrap().is_empty());
    }

    #[test]
    fn without_a_limit_nothing_is_kept() {
        let places = Places::default();
        for caller in [caller(key(1), 0), caller(Actor::Root, 1)] {
            let taken: Vec<_> = (0..9).map(|_| places.take(&caller)).collect();
            assert!(taken.iter().all(Result::is_ok));
            assert!(places.0.lock().unwrap().is_empty());
        }
    }
}
