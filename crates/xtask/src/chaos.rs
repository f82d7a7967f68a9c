//! `cargo xtask chaos`: servers, workers and connections are killed while an oracle watches; and the same with servers
//! that are broken on purpose, which it has to notice.

mod mutants;

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, bail};

use crate::cargo::{cargo, root, run as run_cargo};
use crate::dev::NOT_INSTALLED;
use crate::postgres::{self, Found};
use crate::terminal::say;
use mutants::{MUTANTS, Mutant};

/// The code by which the program says that a promise was broken.
const VIOLATED: i32 = 4;

/// How everything is built: with the features that the tests of the whole workspace are built with, so that what they
/// depend on is built once. An example is what brings the features of the tests in.
const BUILD: [&str; 5] = ["build", "--locked", "--workspace", "--example", "use_cases"];

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
struct Arguments {
    kills: String,
    seed: Option<String>,
    is_kept: bool,
    server: Server,
}

/// Which server is tried out.
#[derive(Debug, PartialEq, Eq)]
enum Server {
    /// That of the source as it is.
    Right,
    /// Those that are broken on purpose.
    Mutants(Vec<&'static Mutant>),
}

pub(crate) fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let arguments = match Arguments::read(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            say(format!("{error}; see `cargo xtask --help`"));
            return Ok(ExitCode::from(2));
        }
    };
    if matches!(postgres::ensure("chaos")?, Found::No) {
        return Ok(ExitCode::from(NOT_INSTALLED));
    }
    let programs = match &arguments.server {
        Server::Right => &["--bin", "chaos", "--bin", "deed-under-test"][..],
        Server::Mutants(_) => &["--bin", "chaos"],
    };
    run_cargo(cargo(BUILD.iter().chain(programs)))?;
    let built = root().join("target/debug");
    let program = built.join("chaos");
    match &arguments.server {
        Server::Right => {
            let status = arguments
                .command(&program, &built.join("deed-under-test"))
                .status();
            let code = status.context("the program can't be run")?.code();
            let code = code.and_then(|code| u8::try_from(code).ok());
            Ok(ExitCode::from(code.unwrap_or(1)))
        }
        Server::Mutants(mutants) => {
            let mut missed = Vec::new();
            for mutant in mutants {
                let server = mutants::build(mutant)?;
                say(format!("\nThe server with {}:", mutant.what));
                let status = arguments.command(&program, &server).status()?;
                match status.code() {
                    Some(VIOLATED) => say(format!("The mutant `{}` was caught.", mutant.name)),
                    Some(0) => missed.push(mutant.name),
                    _ => bail!("the mutant `{}` could not be tried out", mutant.name),
                }
            }
            if !missed.is_empty() {
                bail!("nothing was noticed of: {}", missed.join(", "));
            }
            say(format!("All {} mutants were caught.", mutants.len()));
            Ok(ExitCode::SUCCESS)
        }
    }
}

impl Arguments {
    fn read(arguments: &[String]) -> anyhow::Result<Self> {
        let mut read = Self {
            kills: "20".to_owned(),
            seed: None,
            is_kept: false,
            server: Server::Right,
        };
        let mut words = arguments.iter();
        let number = |word: Option<&String>| {
            let number = word.filter(|word| word.parse::<u64>().is_ok());
            number.cloned().context("--kills and --seed take a number")
        };
        while let Some(word) = words.next() {
            match word.as_str() {
                "--kills" => read.kills = number(words.next())?,
                "--seed" => read.seed = Some(number(words.next())?),
                "--keep" => read.is_kept = true,
                "--mutants" => read.server = Server::Mutants(MUTANTS.iter().collect()),
                "--mutant" => {
                    let name = words.next().context("--mutant takes a name")?;
                    let mutant = MUTANTS.iter().find(|mutant| mutant.name == name);
                    let names = MUTANTS.map(|mutant| mutant.name).join(", ");
                    let mutant = mutant.with_context(|| format!("the mutants are {names}"))?;
                    read.server = Server::Mutants(vec![mutant]);
                }
                other => bail!("`cargo xtask chaos` takes no argument `{other}`"),
            }
        }
        Ok(read)
    }

    fn command(&self, program: &Path, server: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .args(["run", "--kills", &self.kills, "--server"])
            .arg(server)
            .args([
                OsStr::new("--directory"),
                root().join("target/chaos").as_os_str(),
            ])
            .current_dir(root());
        if let Some(seed) = &self.seed {
            command.args(["--seed", seed]);
        }
        if self.is_kept {
            command.arg("--keep");
        }
        command
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
    fn a_run_has_twenty_kills_unless_told_otherwise() {
        assert_eq!(read(&[]).unwrap().kills, "20");
        let asked = read(&["--kills", "200", "--seed", "7", "--keep"]).unwrap();
        let expected = Arguments {
            kills: "200".to_owned(),
            seed: Some("7".to_owned()),
            is_kept: true,
            server: Server::Right,
        };
        assert_eq!(asked, expected);
    }

    #[test]
    fn mutants_are_chosen_by_name_or_all() {
        assert_eq!(
            read(&["--mutants"]).unwrap().server,
            Server::Mutants(MUTANTS.iter().collect())
        );
        let one = read(&["--mutant", "fencing"]).unwrap().server;
        assert!(
            matches!(&one, Server::Mutants(names) if names.len() == 1),
            "{one:?}"
        );
        assert!(
            read(&["--mutant", "x"])
                .unwrap_err()
                .contains("fencing, events-apart")
        );
    }

    #[test]
    fn what_is_no_argument_is_refused() {
        for wrong in [
            &["--kill"][..],
            &["--kills"],
            &["--kills", "many"],
            &["--mutant"],
        ] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }
}
