//! Ids and random bytes.

use deed_domain::ports::Ids;
use uuid::Uuid;

/// UUIDv7 by the system's clock, in order within the process, and random bytes from the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemIds;

impl Ids for SystemIds {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the adapter through which everybody else gets ids"
    )]
    fn time_ordered(&self) -> Uuid {
        // The crate keeps one counter for the process: ids of one millisecond sort in the order they were made.
        Uuid::now_v7()
    }

    fn random_bytes(&self) -> [u8; 64] {
        let mut bytes = [0; 64];
        #[expect(
            clippy::expect_used,
            reason = "without a source of randomness no secret may be made"
        )]
        getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn ids_are_version_7_and_sort_as_they_were_made() {
        let ids: Vec<Uuid> = (0..10_000).map(|_| SystemIds.time_ordered()).collect();
        assert!(ids.is_sorted());
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len());
        assert!(ids.iter().all(|id| id.get_version_num() == 7));
    }

    #[test]
    fn random_bytes_differ() {
        assert_ne!(SystemIds.random_bytes(), SystemIds.random_bytes());
    }
}
