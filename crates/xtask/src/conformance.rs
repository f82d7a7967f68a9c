//! `cargo xtask conformance`: what strict judges that others wrote say of the HTTP interface: linters of the document,
//! Schemathesis on a running server, clients of server-sent events; and whether users can tell each other's objects from
//! objects that do not exist.

mod accounts;
mod bounded;
mod lint;
mod report;
mod schemathesis;
mod script;
pub(crate) mod server;
mod streams;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use local_postgres::{Cluster, Options};

use crate::cargo::{cargo, root, run as run_cargo};
use crate::dev::NOT_INSTALLED;
use crate::http::Request;
use crate::node::Packages;
use crate::postgres::{self, Found};
use crate::python::Environment;
use crate::terminal::{answer, say};
use accounts::{ALL_SCOPES, Account, OWN_SCOPES};
use report::{Row, failures, table};
use server::{ROOT_KEY, Server};

/// Where the judges' scripts, configuration and lock files are, from the root.
const SOURCES: &str = "crates/xtask/conformance";

const HELP: &str = "\
What strict judges say of the HTTP interface.

Usage: cargo xtask conformance [--minutes N] [--seed S]

  --minutes N   How long the judges may take together, 1 to 240; 3 unless told otherwise, 10 before a release. The time
                to build the server, and to install the judges the first time, comes on top
  --seed S      Make up the same requests as the run that printed this seed; otherwise a new one is chosen

The judges, on a server of this source with a private PostgreSQL:

  linters          openapi-spec-validator, redocly (recommended-strict) and spectral (spectral:oas; hints fail too) on the
                   document that the server serves
  two users        every operation on an object of Alice's with Bob's key is answered as for one that does not exist, and
                   changes nothing; driven by the document, so that a new operation is tried as soon as it is in it
  streams          npm's `eventsource` and PyPI's `httpx-sse` follow an action while the server is stopped and started
                   again, and see every event once, in order, then 204
  schemathesis     requests made up from the document, in all phases (examples, coverage, fuzzing, stateful), with every
                   check and with NUL bytes; has all the time that the others leave

What they write lies in target/conformance: a log for each judge, the server's log, the served document. A failure of
Schemathesis comes with a curl command, and with the same --seed and --minutes it comes again.

Python packages and npm packages are installed under target/tools from the pinned lists in crates/xtask/conformance.

Exit codes: 0 nothing was found, 1 something was, 2 wrong arguments, 3 something has to be installed first.
";

/// What the linters and the others may take before Schemathesis has its turn, at the least for it.
const LEAST_FOR_SCHEMATHESIS: Duration = Duration::from_secs(20);
/// What Schemathesis takes beyond its time to come to its end.
const ENDING: Duration = Duration::from_secs(10);
const TWO_USERS: Duration = Duration::from_secs(60);

/// No call waits long, so that there are many: the judges know nothing of waiting, and their time is short.
const HURRIED: [(&str, &str); 3] = [
    ("DEED_WAIT", "1s"),
    ("DEED_MAX_WAIT", "1s"),
    ("DEED_STREAM_MAX_AGE", "1s"),
];

/// What the judges run with.
struct Tools {
    python: Environment,
    node: Packages,
}

#[derive(Debug, PartialEq, Eq)]
struct Arguments {
    minutes: u64,
    seed: Option<u64>,
}

pub(crate) fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    if arguments
        .iter()
        .any(|word| word == "--help" || word == "-h")
    {
        answer(HELP);
        return Ok(ExitCode::SUCCESS);
    }
    let arguments = match Arguments::read(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            say(format!("{error}; see `cargo xtask conformance --help`"));
            return Ok(ExitCode::from(2));
        }
    };
    let installation = match postgres::ensure("conformance")? {
        Found::Yes(installation) => installation,
        Found::No => return Ok(ExitCode::from(NOT_INSTALLED)),
    };
    let tools = Tools {
        python: Environment::ensure("conformance", &format!("{SOURCES}/requirements.txt"))?,
        node: Packages::ensure("conformance", SOURCES)?,
    };
    run_cargo(cargo([
        "build",
        "--locked",
        "--package",
        "deed-server",
        "--bin",
        "deed",
    ]))?;
    let directory = root().join("target/conformance");
    fs::create_dir_all(&directory)
        .with_context(|| format!("{} can't be made", directory.display()))?;
    let options = Options {
        user: "deed".to_owned(),
        database: "deed".to_owned(),
        fresh: true,
        unreachable_base: PathBuf::from("/var/lib/deed-dev"),
        ..Options::new(directory.join("postgres"))
    };
    let cluster = Cluster::start(&installation, &options, &mut |progress| say(progress))?;
    let seed = match arguments.seed {
        Some(seed) => seed,
        None => chosen_seed()?,
    };
    say(format!(
        "Seed {seed}; `--minutes {} --seed {seed}` makes up the same requests again.",
        arguments.minutes
    ));
    let rows = judge(
        &tools,
        &cluster.url(),
        seed,
        Duration::from_secs(arguments.minutes * 60),
        &directory,
    )?;
    let found = failures(&rows);
    answer(&format!("\n{}\nseed {seed}\n", table(&rows)));
    if found > 0 {
        bail!(
            "{found} failures; what was said of them stands above, and in {}",
            directory.display()
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Lets the judges come one after the other, all within `time`.
fn judge(
    tools: &Tools,
    url: &str,
    seed: u64,
    time: Duration,
    directory: &Path,
) -> anyhow::Result<Vec<Row>> {
    let deadline = Instant::now() + time;
    let mut rows = streams::follow(tools, url, directory)?;
    let server = Server::start(url, "127.0.0.1:0", &HURRIED, &directory.join("server.log"))?;
    let document = directory.join("openapi.json");
    let served = Request::get("/openapi.json").send(server.address)?;
    fs::write(&document, &served.body)?;
    rows.extend(lint::lint(tools, &document, directory)?);
    rows.push(two_users(tools, &server, directory)?);
    let left = deadline.saturating_duration_since(Instant::now());
    let left = left.saturating_sub(ENDING).max(LEAST_FOR_SCHEMATHESIS);
    say(format!("Schemathesis has {} s.", left.as_secs()));
    rows.extend(schemathesis::run(tools, &server, seed, left, directory)?);
    let errors = server.errors()?;
    for error in &errors {
        say(error);
    }
    rows.push(Row {
        what: "errors in the server's log".to_owned(),
        cases: 0,
        failures: u64::try_from(errors.len())?,
        took: None,
    });
    server.stop()?;
    Ok(rows)
}

fn two_users(tools: &Tools, server: &Server, directory: &Path) -> anyhow::Result<Row> {
    let alice = Account::create(server.address, "alice", &ALL_SCOPES)?;
    let bob = Account::create(server.address, "bob", &OWN_SCOPES)?;
    let mut command = Command::new(tools.python.program("python"));
    command
        .arg(root().join(SOURCES).join("two_users.py"))
        .env("DEED_BASE", server.base())
        .env("DEED_ROOT_KEY", ROOT_KEY)
        .env("DEED_ALICE", alice.user)
        .env("DEED_ALICE_SECRET", alice.secret)
        .env("DEED_BOB", bob.user)
        .env("DEED_BOB_SECRET", bob.secret);
    let log = directory.join("two-users.log");
    script::run("two users", command, TWO_USERS, &log)
}

/// A seed that nobody has thought of.
fn chosen_seed() -> anyhow::Result<u64> {
    let random = fs::read_to_string("/proc/sys/kernel/random/uuid");
    let random = random.unwrap_or_else(|_| std::process::id().to_string());
    let digits: String = random
        .chars()
        .filter(char::is_ascii_digit)
        .take(9)
        .collect();
    Ok(digits.parse()?)
}

impl Arguments {
    fn read(arguments: &[String]) -> anyhow::Result<Self> {
        let mut read = Self {
            minutes: 3,
            seed: None,
        };
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            let mut number = || {
                let number = words.next().and_then(|word| word.parse::<u64>().ok());
                number.with_context(|| format!("{word} takes a number"))
            };
            match word.as_str() {
                "--minutes" => read.minutes = number()?,
                "--seed" => read.seed = Some(number()?),
                other => bail!("`cargo xtask conformance` takes no argument `{other}`"),
            }
        }
        if !(1..=240).contains(&read.minutes) {
            bail!("--minutes is 1 to 240");
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str]) -> Result<Arguments, String> {
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        Arguments::read(&arguments).map_err(|error| error.to_string())
    }

    #[test]
    fn three_minutes_and_any_seed_unless_told_otherwise() {
        let expected = Arguments {
            minutes: 3,
            seed: None,
        };
        assert_eq!(read(&[]).unwrap(), expected);
        let asked = read(&["--seed", "7", "--minutes", "10"]).unwrap();
        assert_eq!((asked.minutes, asked.seed), (10, Some(7)));
    }

    #[test]
    fn what_is_no_argument_is_refused() {
        for wrong in [
            &["--minute", "3"][..],
            &["--minutes"],
            &["--minutes", "0"],
            &["--minutes", "many"],
            &["--seed", "-1"],
            &["more"],
        ] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn every_requirement_has_one_version() {
        let requirements =
            fs::read_to_string(root().join(SOURCES).join("requirements.txt")).unwrap();
        for line in requirements.lines().filter(|line| !line.starts_with('#')) {
            let (name, version) = line.split_once("==").unwrap_or_default();
            assert!(!name.is_empty() && !version.is_empty(), "{line}");
        }
    }
}
