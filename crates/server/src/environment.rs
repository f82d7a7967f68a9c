//! The variables whose names begin with `DEED_`: one that no setting has is a mistake, and is said.

use std::ffi::OsString;

use clap::Command;

use crate::fault::{Exit, Fault};

/// What all settings' names begin with, but for those that have a conventional name.
const PREFIX: &str = "DEED_";
/// What the names of the tests' own settings begin with.
const TESTS: &str = "DEED_TEST_";
/// How alike two names must be for one to be suggested for the other, from 0 to 1 (Jaro-Winkler), without the prefix
/// that would make all of them alike.
const ALIKE: f64 = 0.8;

/// Refuses a variable that begins with `DEED_` and belongs to no argument of `definition`: what was meant would not
/// come to pass, and nobody would be told.
///
/// # Errors
/// A [`Fault`] that names it, and the setting that was probably meant.
pub(crate) fn refuse_unknown(definition: &Command) -> Result<(), Fault> {
    let known = names(definition);
    let mistakes = variables().filter_map(|(name, value)| {
        let name = name.into_string().ok()?;
        let is_mistake = name.starts_with(PREFIX)
            && !name.starts_with(TESTS)
            && !known.contains(&name)
            && !is_injected(&name, &value.to_string_lossy());
        is_mistake.then_some(name)
    });
    // The same one each time.
    match mistakes.min() {
        Some(name) => Err(unknown(&name, &known)),
        None => Ok(()),
    }
}

/// Whether Kubernetes sets the variable by itself: it tells every container of the services around it, and a service that
/// is called `deed` or `deed-something` is likely.
/// (<https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables>)
fn is_injected(name: &str, value: &str) -> bool {
    let is_numbered = name
        .split_once("_PORT_")
        .is_some_and(|(_, rest)| rest.starts_with(|first: char| first.is_ascii_digit()));
    let is_address = ["tcp://", "udp://", "sctp://"]
        .iter()
        .any(|scheme| value.starts_with(scheme));
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || is_numbered
        || (name.ends_with("_PORT") && is_address)
}

/// The variables of all arguments of `definition` and its sub-commands, in order of their names.
pub(crate) fn names(definition: &Command) -> Vec<String> {
    let mut names = Vec::new();
    collect(definition, &mut names);
    names.sort();
    names.dedup();
    names
}

fn collect(command: &Command, names: &mut Vec<String>) {
    let own = command.get_arguments().filter_map(clap::Arg::get_env);
    names.extend(own.map(|name| name.to_string_lossy().into_owned()));
    for sub in command.get_subcommands() {
        collect(sub, names);
    }
}

/// The variable of the argument with that long flag, in `definition` or a sub-command.
pub(crate) fn of_flag(definition: &Command, flag: &str) -> Option<String> {
    let own = definition
        .get_arguments()
        .find(|argument| argument.get_long() == Some(flag))
        .and_then(clap::Arg::get_env);
    match own {
        Some(name) => Some(name.to_string_lossy().into_owned()),
        None => definition
            .get_subcommands()
            .find_map(|sub| of_flag(sub, flag)),
    }
}

/// Whether the variable of that name is set.
pub(crate) fn is_set(name: &str) -> bool {
    variables().any(|(set, _)| set == name)
}

/// What tells a name from others.
fn own(name: &str) -> &str {
    name.strip_prefix(PREFIX).unwrap_or(name)
}

fn unknown(name: &str, known: &[String]) -> Fault {
    let nearest = known
        .iter()
        .map(|known| (strsim::jaro_winkler(own(name), own(known)), known))
        .filter(|(alike, _)| *alike >= ALIKE)
        .max_by(|(one, _), (other, _)| one.total_cmp(other));
    let mend = match nearest {
        Some((_, known)) => format!("Did you mean {known}? Unset {name} otherwise"),
        None => format!(
            "Unset it; `deed config show` lists the settings that there are, and {PREFIX} is kept for them"
        ),
    };
    Fault::new(
        Exit::Configuration,
        format!("The variable {name} is set, and there is no such setting"),
        mend,
    )
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place that looks at all variables, to refuse those that are mistakes"
)]
fn variables() -> impl Iterator<Item = (OsString, OsString)> {
    std::env::vars_os()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mend(name: &str) -> String {
        let known = names(&crate::cli::command());
        unknown(name, &known).mend().to_owned()
    }

    #[test]
    fn the_setting_that_was_meant_is_named() {
        for (name, meant) in [
            ("DEED_LISTN", "DEED_LISTEN"),
            ("DEED_POOLSIZE", "DEED_POOL_SIZE"),
            ("DEED_ROOT_KEYFILE", "DEED_ROOT_KEY_FILE"),
            ("DEED_CORS_ORIGIN", "DEED_CORS_ORIGINS"),
            ("DEED_DATABASE_URL", "DATABASE_URL"),
        ] {
            let mend = mend(name);
            assert!(mend.contains(&format!("mean {meant}?")), "{name}: {mend}");
        }
    }

    #[test]
    fn what_is_like_no_setting_gets_no_wild_guess() {
        let known = ["DATABASE_URL".to_owned(), "RUST_LOG".to_owned()];
        let mend = unknown("DEED_XYZZY", &known).mend().to_owned();
        assert!(mend.contains("deed config show"), "{mend}");
        // The prefix alone makes no two names alike.
        for name in ["DEED_PORT", "DEED_HOST", "DEED_XYZZY"] {
            let mend = self::mend(name);
            assert!(mend.contains("deed config show"), "{name}: {mend}");
        }
    }

    #[test]
    fn what_kubernetes_says_of_a_service_is_no_mistake() {
        for (name, value) in [
            ("DEED_SERVICE_HOST", "10.0.0.11"),
            ("DEED_SERVICE_PORT", "8080"),
            ("DEED_SERVICE_PORT_HTTP", "8080"),
            ("DEED_PORT", "tcp://10.0.0.11:8080"),
            ("DEED_PORT_8080_TCP", "tcp://10.0.0.11:8080"),
            ("DEED_PORT_8080_TCP_ADDR", "10.0.0.11"),
            ("DEED_METRICS_SERVICE_HOST", "10.0.0.12"),
        ] {
            assert!(is_injected(name, value), "{name}");
        }
        for (name, value) in [("DEED_PORT", "8080"), ("DEED_LISTN", "tcp://x")] {
            assert!(!is_injected(name, value), "{name}");
        }
    }

    #[test]
    fn the_settings_of_all_commands_are_known() {
        let known = names(&crate::cli::command());
        for name in ["DEED_LISTEN", "DEED_PG_BIN", "DATABASE_URL", "RUST_LOG"] {
            assert!(known.iter().any(|known| known == name), "{name}");
        }
    }
}
