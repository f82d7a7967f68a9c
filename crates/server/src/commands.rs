//! The commands, one a file.

pub(crate) mod actions;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod dev;
pub(crate) mod doctor;
pub(crate) mod documents;
pub(crate) mod healthcheck;
pub(crate) mod keys;
pub(crate) mod listing;
pub(crate) mod man;
pub(crate) mod migrate;
pub(crate) mod serve;
pub(crate) mod users;
pub(crate) mod version;

use std::path::PathBuf;

use clap::Args;

use crate::fault::{Exit, Fault};
use crate::settings::Secret;

/// Where the database is.
#[derive(Debug, Clone, Args)]
pub(crate) struct DatabaseArguments {
    /// Where the database is, as postgres://user:password@host/name
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    database_url: Option<Secret>,

    /// File that holds the database's URL; --database-url wins
    #[arg(long, env = "DATABASE_URL_FILE", value_name = "FILE")]
    database_url_file: Option<PathBuf>,
}

impl DatabaseArguments {
    /// The database's URL.
    ///
    /// # Errors
    /// When none is given, or its file can't be read.
    pub(crate) fn url(&self) -> Result<Secret, Fault> {
        match (&self.database_url, &self.database_url_file) {
            (Some(url), _) if !url.reveal().is_empty() => Ok(url.clone()),
            (_, Some(file)) => Secret::from_file(file, "DATABASE_URL_FILE"),
            _ => Err(Fault::new(
                Exit::BadDatabaseUrl,
                "DATABASE_URL is not set",
                "Set it as postgres://user:password@host:5432/name, or name a file that holds it in DATABASE_URL_FILE; \
                 `deed dev` brings a database of its own",
            )),
        }
    }
}
