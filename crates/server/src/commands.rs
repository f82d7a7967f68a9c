//! The commands, one a file.

pub(crate) mod dev;
pub(crate) mod documents;
pub(crate) mod keys;
pub(crate) mod migrate;
pub(crate) mod serve;
pub(crate) mod users;

use clap::Args;

/// Where the database is.
#[derive(Debug, Clone, Args)]
pub(crate) struct DatabaseArguments {
    /// Where the database is, as postgres://user:password@host/name
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub(crate) database_url: crate::settings::Secret,
}
