//! The command line.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::builder::Styles;
use clap::builder::styling::{AnsiColor, Effects};
use clap::error::{ContextKind, ContextValue};
use clap::{ArgMatches, FromArgMatches as _, Parser, Subcommand};
use deed_domain::ports::ActionHandler;

use crate::commands::{
    actions, completions, config, dev, doctor, documents, healthcheck, keys, man, migrate, serve,
    users, version,
};
use crate::fault::Exit;
use crate::settings::LogSettings;
use crate::{environment, fault, logging, terminal};

/// How long the process waits at its end for threads that are still blocked.
const LEAVE: Duration = Duration::from_secs(1);

/// Users, API keys, durable actions and live resumable streams, from one binary on PostgreSQL
#[derive(Debug, Parser)]
#[command(name = "deed", version, propagate_version = true, styles = STYLES, after_help = after_help())]
pub(crate) struct Cli {
    #[command(flatten)]
    log: LogSettings,

    #[command(subcommand)]
    command: Command,
}

/// Colours on a terminal that wants them: headings and what is typed as it stands.
const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().effects(Effects::BOLD))
    .usage(AnsiColor::Green.on_default().effects(Effects::BOLD))
    .literal(AnsiColor::Cyan.on_default())
    .placeholder(AnsiColor::Cyan.on_default().effects(Effects::DIMMED))
    .valid(AnsiColor::Green.on_default())
    .invalid(AnsiColor::Yellow.on_default())
    .error(AnsiColor::Red.on_default().effects(Effects::BOLD));

const EXAMPLES: &str = "\
Examples:
  deed dev                                    a private PostgreSQL, a first key, a curl to paste
  DATABASE_URL=postgres://… deed migrate up   bring the schema of your own database up to date
  DATABASE_URL=postgres://… deed serve        and serve it";

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
    /// Perform, follow and manage the actions of a running server, over HTTP
    Actions(actions::Arguments),
    /// Show and check the settings
    Config(config::Arguments),
    /// Look for what is wrong with the settings, the database and the machine
    Doctor(doctor::Arguments),
    /// Ask the server on this machine whether it is well
    Healthcheck(healthcheck::Arguments),
    /// Print what a shell needs to complete the command line
    Completions(completions::Arguments),
    /// Print the manual, or write a page of it for every command
    Man(man::Arguments),
    /// Say what this binary is and what it was built with
    Version(version::Arguments),
    /// Print the OpenAPI document
    #[command(after_help = documents::OPENAPI_EXAMPLES)]
    Openapi,
    /// Print the page of every error code as Markdown
    #[command(after_help = documents::PROBLEMS_EXAMPLES)]
    Problems,
}

fn after_help() -> String {
    let codes = Exit::ALL
        .iter()
        .map(|exit| format!("  {:<3}  {}", exit.code(), exit.meaning()))
        .collect::<Vec<_>>()
        .join("\n");
    format!("{EXAMPLES}\n\nExit codes:\n  0    done\n{codes}")
}

/// The definition of the command line.
pub(crate) fn command() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}

/// Runs the process's command line to its end.
pub(crate) fn run(handlers: Vec<Arc<dyn ActionHandler>>) -> ExitCode {
    let parsed = command()
        .try_get_matches()
        .and_then(|matches| Ok((Cli::from_arg_matches(&matches)?, matches)));
    let (cli, matches) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return refuse(&error),
    };
    logging::init(&cli.log);
    // The doctor tells it among other things.
    let variables = match &cli.command {
        Command::Doctor(_) => Ok(()),
        _ => environment::refuse_unknown(&command()),
    };
    let result = variables
        .map_err(anyhow::Error::from)
        .and_then(|()| run_to_end(cli.command, &matches, handlers))
        .and_then(|()| Ok(terminal::check()?));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            terminal::note(format!("deed: {}", fault::words(&error)));
            fault::exit_of(&error).into()
        }
    }
}

/// Prints what clap has to say: help and version, or what is wrong with the arguments.
fn refuse(error: &clap::Error) -> ExitCode {
    if let Err(unsaid) = error.print() {
        terminal::remember(&unsaid);
    }
    if let Some(variable) = blamed_variable(error, &command()) {
        terminal::note(format!("\nThe value comes from the variable {variable}."));
    }
    match (u8::try_from(error.exit_code()), terminal::check()) {
        (Ok(0), Err(fault)) => {
            terminal::note(format!("deed: {fault}"));
            fault.exit.into()
        }
        (Ok(code), _) => ExitCode::from(code),
        (Err(_), _) => Exit::Usage.into(),
    }
}

/// The variable that holds the value which clap refuses: it names the flag alone.
fn blamed_variable(error: &clap::Error, definition: &clap::Command) -> Option<String> {
    let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    let flag = argument.split_whitespace().next()?.strip_prefix("--")?;
    let was_typed = std::env::args_os().any(|typed| {
        let typed = typed.to_string_lossy();
        typed
            .strip_prefix("--")
            .is_some_and(|typed| typed.split('=').next() == Some(flag))
    });
    let name = environment::of_flag(definition, flag)?;
    (!was_typed && environment::is_set(&name)).then_some(name)
}

fn run_to_end(
    command: Command,
    matches: &ArgMatches,
    handlers: Vec<Arc<dyn ActionHandler>>,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let result = runtime.block_on(dispatch(command, matches, handlers));
    // A handler that blocks its thread can't be ended, only left behind.
    runtime.shutdown_timeout(LEAVE);
    result
}

async fn dispatch(
    command: Command,
    matches: &ArgMatches,
    handlers: Vec<Arc<dyn ActionHandler>>,
) -> anyhow::Result<()> {
    match command {
        Command::Dev(arguments) => dev::run(arguments, handlers).await,
        Command::Serve(arguments) => serve::run(arguments, handlers).await,
        Command::Migrate(arguments) => migrate::run(arguments).await,
        Command::Users(arguments) => users::run(arguments).await,
        Command::Keys(arguments) => keys::run(arguments).await,
        Command::Actions(arguments) => actions::run(arguments).await,
        Command::Config(arguments) => config::run(arguments, matches),
        Command::Doctor(arguments) => doctor::run(&arguments).await,
        Command::Healthcheck(arguments) => healthcheck::run(&arguments).await,
        Command::Completions(arguments) => {
            completions::run(&arguments, self::command());
            Ok(())
        }
        Command::Man(arguments) => man::run(arguments, self::command()),
        Command::Version(arguments) => version::run(&arguments),
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
    fn help_is_as_it_was_reviewed() {
        for (path, command) in every_command() {
            let name = std::iter::once("help").chain(path).collect::<Vec<_>>();
            insta::assert_snapshot!(name.join("_"), help(command));
        }
    }

    #[test]
    fn every_command_teaches_by_example() {
        for (path, command) in every_command() {
            if command.has_subcommands() && !path.is_empty() {
                continue;
            }
            let line = format!("deed {}", path.join(" "));
            let examples = command.get_after_help().map(ToString::to_string);
            let examples = examples.unwrap_or_default();
            assert!(
                examples.starts_with("Examples:\n") && examples.contains(line.trim()),
                "the help of `{line}` has no example of it"
            );
        }
    }

    /// Every command and sub-command, with the words that lead to it.
    fn every_command() -> Vec<(Vec<&'static str>, clap::Command)> {
        fn collect(
            path: &[&'static str],
            command: &clap::Command,
            all: &mut Vec<(Vec<&'static str>, clap::Command)>,
        ) {
            all.push((path.to_vec(), command.clone()));
            for sub in command.get_subcommands() {
                let name: &'static str = sub.get_name().to_owned().leak();
                collect(&[path, &[name]].concat(), sub, all);
            }
        }
        let mut root = command().disable_help_subcommand(true);
        root.build();
        let mut all = Vec::new();
        collect(&[], &root, &mut all);
        assert!(all.len() > 20);
        all
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
