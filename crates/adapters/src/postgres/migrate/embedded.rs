//! The migrations in the binary.

/// One step of the schema, and the way back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Migration {
    /// Number and name, such as `0001_identity`.
    pub(super) name: &'static str,
    pub(super) up: &'static str,
    pub(super) down: &'static str,
}

/// All of them, oldest first.
pub(super) const MIGRATIONS: &[Migration] = include!(concat!(env!("OUT_DIR"), "/migrations.rs"));

impl Migration {
    /// The number, by which the database knows it.
    pub(super) fn version(&self) -> &'static str {
        self.name
            .split_once('_')
            .map_or(self.name, |(version, _)| version)
    }

    /// The one of that version.
    pub(super) fn of_version(version: &str) -> Option<&'static Self> {
        MIGRATIONS
            .iter()
            .find(|migration| migration.version() == version)
    }

    /// The one of that name, or of that number.
    pub(super) fn of_name(name: &str) -> Option<&'static Self> {
        MIGRATIONS
            .iter()
            .find(|migration| migration.name == name)
            .or_else(|| Self::of_version(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_migration_has_a_number_of_its_own() {
        let versions: BTreeSet<_> = MIGRATIONS.iter().map(Migration::version).collect();
        assert_eq!(versions.len(), MIGRATIONS.len(), "{MIGRATIONS:?}");
        assert!(
            versions
                .iter()
                .all(|version| version.len() == 4
                    && version.bytes().all(|byte| byte.is_ascii_digit()))
        );
        assert!(MIGRATIONS.is_sorted_by_key(|migration| migration.name));
    }

    #[test]
    fn a_migration_is_found_by_name_and_by_number() {
        let first = Migration::of_version("0001").unwrap();
        assert_eq!(first.name, "0001_identity");
        assert_eq!(Migration::of_name("0001_identity"), Some(first));
        assert_eq!(Migration::of_name("0001"), Some(first));
        assert_eq!(Migration::of_name("0001_other"), None);
    }
}
