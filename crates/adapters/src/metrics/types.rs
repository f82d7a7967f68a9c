//! Metrics of each action type.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

/// How many types have metrics of their own. Each adds some 50 series, and who may write types could add any number.
pub(super) const TYPES_MAX: usize = 200;

/// The label of all types beyond those.
pub(super) const OTHER: &str = "other";

/// The handles of each type, made when it is first seen and found by its name without a copy of it.
pub(super) struct ByType<H> {
    known: RwLock<HashMap<Box<str>, Arc<H>>>,
}

impl<H> Default for ByType<H> {
    fn default() -> Self {
        Self {
            known: RwLock::default(),
        }
    }
}

impl<H> fmt::Debug for ByType<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByType").finish_non_exhaustive()
    }
}

impl<H> ByType<H> {
    /// The handles of the type `name`, made by `make` from its label.
    pub(super) fn of(&self, name: &str, make: impl FnOnce(&str) -> H) -> Arc<H> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(handles) = known.get(name) {
            return Arc::clone(handles);
        }
        let is_full = known.len() >= TYPES_MAX;
        if is_full && let Some(handles) = known.get(OTHER) {
            return Arc::clone(handles);
        }
        drop(known);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let label = match known.len() < TYPES_MAX || known.contains_key(name) {
            true => name,
            false => OTHER,
        };
        if let Some(handles) = known.get(label) {
            return Arc::clone(handles);
        }
        let handles = Arc::new(make(label));
        known.insert(label.into(), Arc::clone(&handles));
        handles
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_keeps_its_handles() {
        let types = ByType::default();
        let first = types.of("echo", str::to_owned);
        let second = types.of("echo", |_| unreachable!("made twice"));
        assert!(Arc::ptr_eq(&first, &second));
    }

    #[test]
    fn the_number_of_labels_is_bounded() {
        let types = ByType::default();
        for n in 0..TYPES_MAX {
            let name = format!("type-{n}");
            assert_eq!(*types.of(&name, str::to_owned), name);
        }
        for n in 0..10_000 {
            assert_eq!(*types.of(&format!("more-{n}"), str::to_owned), OTHER);
        }
        assert_eq!(types.known.read().unwrap().len(), TYPES_MAX + 1);
        assert_eq!(
            *types.of("type-7", |_| unreachable!("known before")),
            "type-7"
        );
    }
}
