//! `cargo xtask test`: all tests, on one private PostgreSQL.

use std::collections::BTreeSet;
use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;

use anyhow::{Context as _, bail};
use local_postgres::{Cluster, Options, StartError};

use crate::cargo::{cargo, root};
use crate::dev::NOT_INSTALLED;
use crate::environment;
use crate::install;
use crate::old_server::{self, Old};
use crate::postgres::{self, Found};
use crate::terminal::say;
use crate::tidy::files;

/// Tells the tests which server to use.
const URL: &str = "DEED_TEST_DATABASE_URL";
/// Tells the upgrade scenario which binary is the old one, or why there is none.
const OLD_SERVER: &str = "DEED_TEST_OLD_SERVER";
const NO_OLD_SERVER: &str = "DEED_TEST_NO_OLD_SERVER";
/// Tells the tests of the example workers why they can't be run.
const NO_INTERPRETERS: &str = "DEED_TEST_NO_INTERPRETERS";
/// The program of the scenarios, which alone needs what is named above.
const SCENARIOS: &str = "scenarios";
/// What the example workers are run by, each with the Debian package that it is in.
const INTERPRETERS: [(&str, &str); 4] = [
    ("python3", "python3"),
    ("node", "nodejs"),
    ("jq", "jq"),
    ("curl", "curl"),
];
/// Enough for [`MOST_THREADS`] tests at once, each with servers that have a pool of their own.
const MAX_CONNECTIONS: &str = "300";
/// How many tests of a test binary run at once: the slow ones wait, for a lease to expire or a drain to end, and wait
/// side by side as well as one after the other.
const LEAST_THREADS: usize = 6;
const MOST_THREADS: usize = 12;

pub(crate) fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let installation = match postgres::ensure("test")? {
        Found::Yes(installation) => installation,
        Found::No => return Ok(ExitCode::from(NOT_INSTALLED)),
    };
    let options = Options {
        user: "deed".to_owned(),
        database: "deed".to_owned(),
        settings: vec![("max_connections".to_owned(), MAX_CONNECTIONS.to_owned())],
        fresh: true,
        unreachable_base: PathBuf::from("/var/lib/deed-dev"),
        ..Options::new(root().join("target/xtask-postgres"))
    };
    let cluster = match Cluster::start(&installation, &options, &mut |progress| say(progress)) {
        Err(StartError::AlreadyRunning { .. }) => {
            bail!("another `cargo xtask test` is running in this clone; wait for it")
        }
        other => other?,
    };
    let references = root().join("target/xtask-snapshots");
    // An earlier run's references would hide a snapshot that nothing reads any more.
    drop(fs::remove_file(&references));
    let mut command = cargo(test_command(arguments));
    command
        .env(URL, cluster.url())
        .env("RUST_TEST_THREADS", threads().to_string())
        .env("INSTA_SNAPSHOT_REFERENCES_FILE", &references);
    let (old, no_interpreters) = if tests_end_to_end(arguments) {
        (Some(old_server::ensure()?), missing_interpreters())
    } else {
        (None, None)
    };
    if let Some(reason) = &no_interpreters {
        command.env(NO_INTERPRETERS, reason);
    }
    match &old {
        Some(Old::Built(binary)) => command.env(OLD_SERVER, binary),
        Some(Old::LeftOut(reason)) => command.env(NO_OLD_SERVER, reason),
        None => &mut command,
    };
    say("Building the tests (the first time takes some minutes) …");
    let status = command.status().context("cargo can't be run")?;
    drop(cluster);
    if let Some(Old::LeftOut(reason)) = &old {
        say(format!("\nThe upgrade scenario was LEFT OUT: {reason}.\n"));
    }
    if let Some(reason) = &no_interpreters {
        say(format!("\nThe example workers were LEFT OUT: {reason}.\n"));
    }
    if status.success() && arguments.is_empty() {
        let unused =
            unused_snapshots(root(), &fs::read_to_string(&references).unwrap_or_default())?;
        if !unused.is_empty() {
            bail!(
                "no test reads these snapshots; delete them:\n  {}",
                unused.join("\n  ")
            );
        }
    }
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.unwrap_or(1)))
}

/// `cargo xtask old-server`: for those who run the upgrade scenario with cargo itself.
pub(crate) fn old_server() -> anyhow::Result<ExitCode> {
    match old_server::ensure()? {
        Old::Built(binary) => {
            say(format!("export {OLD_SERVER}={}", binary.display()));
            Ok(ExitCode::SUCCESS)
        }
        Old::LeftOut(reason) => bail!("{reason}"),
    }
}

fn threads() -> usize {
    environment::test_threads().unwrap_or_else(|| {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        cores.clamp(LEAST_THREADS, MOST_THREADS)
    })
}

/// Whether the arguments choose packages.
fn chooses(arguments: &[String]) -> bool {
    let mut own = arguments.iter().take_while(|argument| *argument != "--");
    own.any(|argument| {
        let is_short = argument.starts_with("-p") && !argument.starts_with("--");
        is_short || argument == "--package" || argument.starts_with("--package=")
    })
}

/// Installs the interpreters that are missing; answers why there is one that can't be had.
fn missing_interpreters() -> Option<String> {
    INTERPRETERS.iter().find_map(|(program, package)| {
        let ensured = install::ensure_program(program, package);
        Some(format!("{:#}", ensured.err()?))
    })
}

/// Whether the end-to-end scenarios are among those that run.
fn tests_end_to_end(arguments: &[String]) -> bool {
    let is_other = arguments
        .windows(2)
        .any(|two| matches!(two, [flag, name] if flag == "--test" && name != SCENARIOS));
    if is_other {
        return false;
    }
    !chooses(arguments) || arguments.iter().any(|word| word.ends_with("deed-e2e"))
}

/// `cargo test` over the workspace, unless the arguments choose packages themselves.
fn test_command(arguments: &[String]) -> Vec<&str> {
    let mut words = vec!["test", "--locked"];
    if !chooses(arguments) {
        words.push("--workspace");
    }
    words.extend(arguments.iter().map(String::as_str));
    words
}

/// The snapshots under `crates/` that are not among the paths that the tests wrote down.
fn unused_snapshots(root: &Path, references: &str) -> anyhow::Result<Vec<String>> {
    let used: BTreeSet<PathBuf> = references
        .lines()
        .filter_map(|line| fs::canonicalize(root.join(line)).ok())
        .collect();
    let mut unused = Vec::new();
    for path in files::all(root)? {
        let file = root.join(&path);
        if path.ends_with(".snap")
            && !fs::canonicalize(&file).is_ok_and(|file| used.contains(&file))
        {
            unused.push(path);
        }
    }
    Ok(unused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_is_tested_unless_packages_are_chosen() {
        let words = |arguments: &[&str]| {
            let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
            test_command(&arguments).join(" ")
        };
        assert_eq!(words(&[]), "test --locked --workspace");
        assert_eq!(
            words(&["resume", "--", "-p"]),
            "test --locked --workspace resume -- -p"
        );
        assert_eq!(
            words(&["-p", "deed-domain"]),
            "test --locked -p deed-domain"
        );
        assert_eq!(
            words(&["--package=deed-domain"]),
            "test --locked --package=deed-domain"
        );
    }

    #[test]
    fn an_old_server_and_interpreters_are_needed_where_the_end_to_end_tests_run() {
        let needed = |arguments: &[&str]| {
            let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
            tests_end_to_end(&arguments)
        };
        assert!(needed(&[]) && needed(&["upgrade"]) && needed(&["-p", "deed-e2e"]));
        assert!(!needed(&["-p", "deed-e2e", "--test", "browser"]));
        assert!(needed(&["-p", "deed-e2e", "--test", "scenarios"]));
        assert!(needed(&["--package=deed-e2e"]) && !needed(&["-p", "deed-domain"]));
    }

    #[test]
    fn a_snapshot_that_no_test_reads_is_named() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("snapshots")).unwrap();
        for name in ["used", "unused"] {
            fs::write(root.path().join(format!("snapshots/{name}.snap")), "").unwrap();
        }
        let references = format!(
            "{}\n",
            root.path()
                .join("snapshots/../snapshots/used.snap")
                .display()
        );
        assert_eq!(
            unused_snapshots(root.path(), &references).unwrap(),
            ["snapshots/unused.snap"]
        );
    }
}
