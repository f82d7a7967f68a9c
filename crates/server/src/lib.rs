//! Deed as a library with a builder, and the binary `deed`.
//!
//! A service with handlers of its own is the same binary with a few lines more:
//!
//! ```no_run
//! # use deed_domain::ports::ActionHandler;
//! # fn my_handler() -> impl ActionHandler + 'static { deed_adapters::handlers::Echo::default() }
//! fn main() -> std::process::ExitCode {
//!     deed_server::Deed::builder().handler(my_handler()).run()
//! }
//! ```
//!
//! It has every command of `deed`: `dev`, `serve`, `migrate`, `users`, `keys`, `openapi`. A program that has a runtime
//! and settings of its own calls [`Builder::start`] instead.

#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::sync::Arc;

use deed_domain::ports::ActionHandler;

mod build_info;
mod cli;
mod commands;
mod confirm;
mod environment;
mod fault;
mod limits;
mod logging;
mod metrics;
mod output;
#[cfg(test)]
mod packaging;
mod preflight;
mod probe;
mod progress;
mod remote;
mod serve;
mod settings;
mod shutdown;
mod spans;
mod supervision;
mod terminal;
mod wire;

pub use serve::Running;
pub use settings::{LogFormat, MetricsListen, Settings};

/// The server.
pub struct Deed;

impl Deed {
    /// Begins with the built-in handlers, `echo` and `wait`.
    #[must_use]
    pub fn builder() -> Builder {
        Builder {
            handlers: wire::built_in_handlers(),
        }
    }
}

/// Puts a server together.
pub struct Builder {
    handlers: Vec<Arc<dyn ActionHandler>>,
}

impl Builder {
    /// Performs the actions of one more type inside the server. A handler of a type that is there already takes its
    /// place.
    #[must_use]
    pub fn handler(mut self, handler: impl ActionHandler + 'static) -> Self {
        let name = handler.action_type().name;
        self.handlers
            .retain(|other| other.action_type().name != name);
        self.handlers.push(Arc::new(handler));
        self
    }

    /// Runs the command line of this process to its end.
    #[must_use]
    pub fn run(self) -> ExitCode {
        cli::run(self.handlers)
    }

    /// Starts serving on `settings.listen` with the database at `database_url`, which has to be migrated. Must be
    /// called on a multi-thread tokio runtime, which then owns all work with the database.
    ///
    /// # Errors
    /// When the database can't be reached or lacks a migration, or the address can't be bound.
    pub async fn start(self, database_url: &str, settings: &Settings) -> anyhow::Result<Running> {
        serve::start(self.handlers, database_url, settings).await
    }
}
