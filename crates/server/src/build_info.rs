//! What this binary is, and what it was built with.

use deed_adapters::postgres::migrate;
use serde::Serialize;

/// What this binary is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct BuildInfo {
    pub(crate) version: &'static str,
    /// As `rustc --version` says it.
    pub(crate) compiler: &'static str,
    /// The target triple.
    pub(crate) target: &'static str,
    /// `debug` or `release`.
    pub(crate) profile: &'static str,
    /// The cargo features that are switched on, in order.
    pub(crate) features: Vec<&'static str>,
    /// The newest migration that it knows.
    pub(crate) newest_migration: &'static str,
    /// The oldest PostgreSQL that it works with.
    pub(crate) postgresql_min: u32,
}

impl BuildInfo {
    /// Of this binary.
    pub(crate) fn of_this_binary() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            compiler: env!("BUILT_COMPILER"),
            target: env!("BUILT_TARGET"),
            profile: env!("BUILT_PROFILE"),
            features: env!("BUILT_FEATURES")
                .split(',')
                .filter(|name| !name.is_empty())
                .collect(),
            newest_migration: migrate::newest(),
            postgresql_min: local_postgres::OLDEST_MAJOR,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fact_is_known() {
        let info = BuildInfo::of_this_binary();
        assert!(info.compiler.starts_with("rustc 1."), "{info:?}");
        assert!(info.target.contains('-'), "{info:?}");
        assert!(["debug", "release"].contains(&info.profile), "{info:?}");
        assert!(info.newest_migration >= "0002_actions", "{info:?}");
        assert_eq!(info.postgresql_min, 15);
    }
}
