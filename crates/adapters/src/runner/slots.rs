//! How many actions of each type a runner performs just now.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use deed_domain::action::{ActionType, ActionTypeName};

/// The actions under way, by type.
#[derive(Debug, Default, Clone)]
pub(super) struct Slots(Arc<Mutex<HashMap<ActionTypeName, usize>>>);

/// One of them, until it is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    slots: Slots,
    name: ActionTypeName,
}

/// Types to claim for together, and how many of them at the most.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) types: Vec<ActionTypeName>,
    pub(super) max: usize,
}

impl Slots {
    /// Takes a slot for an action of that type.
    pub(super) fn take(&self, name: ActionTypeName) -> Slot {
        *self.lock().entry(name.clone()).or_default() += 1;
        Slot {
            slots: self.clone(),
            name,
        }
    }

    /// What to claim for `free` slots: all types that may have any of them in one claim, and each type with a limit of
    /// its own on this replica in another. Which comes first changes with `turn`, so that none takes all slots each
    /// time. A type at its limit is left out; whether there is one is the second answer.
    pub(super) fn wanted<'a>(
        &self,
        types: impl Iterator<Item = &'a ActionType>,
        free: usize,
        turn: usize,
    ) -> (Vec<Wanted>, bool) {
        let taken = self.lock();
        let (mut wanted, mut is_full) = (Vec::new(), false);
        if free == 0 {
            return (wanted, is_full);
        }
        let mut anything = Vec::new();
        for one in types {
            let Some(limit) = one.concurrency.per_replica else {
                anything.push(one.name.clone());
                continue;
            };
            let running = taken.get(&one.name).copied().unwrap_or(0);
            let left = usize::from(limit).saturating_sub(running);
            is_full |= left == 0;
            if left > 0 {
                wanted.push(Wanted {
                    types: vec![one.name.clone()],
                    max: left.min(free),
                });
            }
        }
        if !anything.is_empty() {
            wanted.push(Wanted {
                types: anything,
                max: free,
            });
        }
        if !wanted.is_empty() {
            let turn = turn % wanted.len();
            wanted.rotate_left(turn);
        }
        (wanted, is_full)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ActionTypeName, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.slots.lock();
        if let Some(count) = taken.get_mut(&self.name) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                taken.remove(&self.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use deed_domain::action::{Concurrency, PerformedBy};

    fn name(name: &str) -> ActionTypeName {
        ActionTypeName::parse(name).unwrap()
    }

    fn limited(one: &str, per_replica: Option<u16>) -> ActionType {
        ActionType {
            concurrency: Concurrency {
                per_replica,
                ..Concurrency::default()
            },
            ..ActionType::new(name(one), PerformedBy::Handler)
        }
    }

    fn wanted(types: &[&str], max: usize) -> Wanted {
        Wanted {
            types: types.iter().map(|one| name(one)).collect(),
            max,
        }
    }

    #[test]
    fn types_without_a_limit_are_claimed_together() {
        let types = [limited("a", None), limited("b", None)];
        let found = Slots::default().wanted(types.iter(), 4, 0);
        assert_eq!(found, (vec![wanted(&["a", "b"], 4)], false));
    }

    #[test]
    fn a_limit_leaves_room_for_what_is_not_under_way() {
        let slots = Slots::default();
        let types = [limited("a", Some(3)), limited("b", None)];
        let first = slots.take(name("a"));
        let found = slots.wanted(types.iter(), 8, 0);
        assert_eq!(found, (vec![wanted(&["a"], 2), wanted(&["b"], 8)], false));
        let more = [slots.take(name("a")), slots.take(name("a"))];
        let found = slots.wanted(types.iter(), 8, 0);
        assert_eq!(found, (vec![wanted(&["b"], 8)], true));
        drop(more);
        drop(first);
        assert_eq!(slots.wanted(types.iter(), 8, 1).0.last().unwrap().max, 3);
    }

    #[test]
    fn no_claim_is_for_more_than_what_is_free() {
        let types = [limited("a", Some(30))];
        let found = Slots::default().wanted(types.iter(), 2, 0);
        assert_eq!(found, (vec![wanted(&["a"], 2)], false));
    }

    #[test]
    fn each_has_its_turn_to_be_first() {
        let types = [
            limited("a", Some(1)),
            limited("b", Some(1)),
            limited("c", None),
        ];
        let slots = Slots::default();
        let first = |turn| slots.wanted(types.iter(), 1, turn).0[0].types[0].clone();
        assert_eq!([0, 1, 2, 3].map(first), ["a", "b", "c", "a"].map(name));
    }
}
