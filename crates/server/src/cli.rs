//! The command line.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Parser, Subcommand};
use deed_domain::ports::ActionHandler;

use crate::commands::{dev, documents, keys, migrate, serve, users};
use crate::settings::LogSettings;
use crate::{logging, terminal};

/// Exit code for a fault in the set-up: something outside has to be mended.
const FAULT: u8 = 1;
/// How long the process waits at its end for threads that are still blocked.
const LEAVE: Duration = Duration::from_secs(1);

/// Users, API keys, durable actions and live resumable streams, from one binary on PostgreSQL
#[derive(Debug, Parser)]
#[command(name = "deed", version, propagate_version = true, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    #[command(flatten)]
    log: LogSettings,

    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Examples:
  deed dev                                    a private PostgreSQL, a first key, a curl to paste
  DATABASE_URL=postgres://… deed migrate up   bring the schema of your own database up to date
  DATABASE_URL=postgres://… deed serve        and serve it

Exit codes: 0 done, 1 something outside has to be mended, 2 wrong arguments,
143 ended by a second signal.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve from a private PostgreSQL in ./.deed, with a first user and key, for development
    Dev(dev::Arguments),
    /// Serve a database of your own
    Serve(serve::Arguments),
    /// Bring the database's schema up to date, or take steps back
    Migrate(migrate::Arguments),
    /// Users, straight in the database
    Users(users::Arguments),
    /// API keys, straight in the database
    Keys(keys::Arguments),
    /// Print the OpenAPI document
    Openapi,
    /// Print the page of every error code as Markdown
    Problems,
}

/// Runs the process's command line to its end.
pub(crate) fn run(handlers: Vec<Arc<dyn ActionHandler>>) -> ExitCode {
    let cli = Cli::parse();
    logging::init(&cli.log);
    let result = run_to_end(cli.command, handlers);
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // `{:#}` prints the chain of causes on one line.
            terminal::note(format!("deed: {error:#}"));
            ExitCode::from(FAULT)
        }
    }
}

fn run_to_end(command: Command, handlers: Vec<Arc<dyn ActionHandler>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let result = runtime.block_on(dispatch(command, handlers));
    // A handler that blocks its thread can't be ended, only left behind.
    runtime.shutdown_timeout(LEAVE);
    result
}

async fn dispatch(command: Command, handlers: Vec<Arc<dyn ActionHandler>>) -> anyhow::Result<()> {
    match command {
        Command::Dev(arguments) => dev::run(arguments, handlers).await,
        Command::Serve(arguments) => serve::run(arguments, handlers).await,
        Command::Migrate(arguments) => migrate::run(arguments).await,
        Command::Users(arguments) => users::run(arguments).await,
        Command::Keys(arguments) => keys::run(arguments).await,
        Command::Openapi => documents::openapi(),
        Command::Problems => {
            documents::problems();
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_teaches() {
        insta::assert_snapshot!("help", help(Cli::command()));
        for name in ["dev", "serve", "migrate", "users", "keys"] {
            let mut command = Cli::command();
            command.build();
            let sub = command.find_subcommand(name).unwrap().clone();
            insta::assert_snapshot!(format!("help_{name}"), help(sub));
        }
    }

    /// Without the values that variables have where the test runs.
    fn help(command: clap::Command) -> String {
        let command = command.mut_args(|argument| argument.hide_env_values(true));
        command.term_width(100).render_long_help().to_string()
    }

    #[test]
    fn serve_help_names_every_variable() {
        let mut command = Cli::command();
        let serve = command.find_subcommand_mut("serve").unwrap();
        for argument in serve
            .get_arguments()
            .filter(|argument| !argument.is_global_set())
        {
            let id = argument.get_id().as_str();
            if !["help", "version", "migrate"].contains(&id) {
                assert!(argument.get_env().is_some(), "{id} has no variable");
            }
        }
    }

    #[test]
    fn there_are_at_most_30_settings() {
        let mut command = Cli::command();
        let serve = command.find_subcommand_mut("serve").unwrap();
        let count = serve
            .get_arguments()
            .filter(|argument| argument.get_env().is_some())
            .count();
        assert!((10..=30).contains(&count), "{count}");
    }
}
