//! The repository's own tasks, so that a fresh machine needs nothing but cargo.

#![forbid(unsafe_code)]

mod bench;
mod browser;
mod cargo;
mod chaos;
mod checks;
mod clients;
mod conformance;
mod deny;
mod dev;
mod documents;
mod environment;
mod http;
mod install;
mod node;
mod old_server;
mod package;
mod package_test;
mod postgres;
mod python;
mod shells;
mod telemetry;
mod terminal;
mod test;
mod tidy;
mod tools;

use std::process::ExitCode;

use anyhow::bail;

use crate::terminal::say;

const HELP: &str = "\
The repository's own tasks.

Usage: cargo xtask TASK [ARGUMENTS]

Running:
  dev [ARGUMENTS]    Run the server with a private PostgreSQL in ./.deed; the arguments are those of `deed dev`
  test [ARGUMENTS]   Run all tests on a private PostgreSQL; the arguments are those of `cargo test` (the example workers need
                     python3, node and jq, which are installed with apt where they are missing)

Checking:
  check              Everything of the following that takes no long build: fmt --check, lint, tidy
  fmt [--check]      Format the code, or only say where it isn't
  lint               Clippy over everything; warnings are errors
  tidy               Crate edges, generated documents, migrations, file sizes, and what the documents name
  docs               Build the documentation of the crates; warnings are errors
  deny               Licences, sources, bans and known vulnerabilities of the dependencies (installs cargo-deny in target/)
  telemetry          What promtool says of the metrics and the documents about them (Debian package prometheus, which is
                     installed with apt where it is missing), and what a collector receives with OpenTelemetry built in
  shells             Load the completions in bash, zsh and fish, and render the manual with groff (installs what is
                     missing with apt)
  chaos              Kill servers, workers and connections at random while an oracle watches (--kills NUMBER, 20 unless
                     told otherwise; --seed NUMBER; --keep the history); the same with servers that are broken on
                     purpose, which it has to notice (--mutants, or --mutant NAME). See docs/reliability.md
  conformance        What linters, Schemathesis and clients of server-sent events say of the HTTP interface (--minutes N, 3
                     unless told otherwise; --seed S; `conformance --help` says more; installs Python and npm packages in
                     target/, and python3, nodejs and npm with apt where they are missing)
  clients            Clients in TypeScript and Python that others' generators make from docs/openapi.json compile, and get along
                     with the server (installs npm and Python packages in target/tools)
  browser            The example page and Swagger UI in Chromium, and streams behind nginx and HAProxy (Debian packages chromium,
                     nginx and haproxy, which are installed with apt where they are missing: where systemd runs, that
                     starts the two proxies' services)
  package-test       Install, run, upgrade, remove and purge the .deb in a chroot, and run the image's files; needs root
                     (--profile NAME, --image-binary FILE)

Measuring:
  bench [SCENARIO]   Load on a release build with a PostgreSQL of its own; `bench --help` lists the scenarios

Writing:
  old-server         Build the server of the first working day from the history, for the upgrade test (`test` does it too)
  openapi            Write docs/openapi.json, docs/PROBLEMS.md and docs/CONFIG.md anew (--release: docs/openapi.released.json
                     too, which later documents must not break)
  package            Build what is released, in target/package: .deb, archive, bill of materials, checksums
                     (--profile NAME, --target TRIPLE; installs cargo-deb and cargo-cyclonedx in target/)

`dev`, `test`, `chaos`, `conformance` and `bench` use the PostgreSQL server (15 or newer) that is installed, and install one with apt
or Homebrew where none is.
DEED_PG_BIN names the directory of its programs, should it not be found.

Exit codes: 0 done, 1 failed, 2 wrong arguments, 3 something has to be installed first (the lines to do so are printed);
`dev`, `test`, `chaos` and `bench` answer with the code of what they run (`chaos`: 4 if a promise was broken).
";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let task = arguments.next().unwrap_or_else(|| "--help".to_owned());
    let rest: Vec<String> = arguments.collect();
    match run(&task, &rest) {
        Ok(code) => code,
        Err(error) => {
            say(format!("xtask {task}: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(task: &str, arguments: &[String]) -> anyhow::Result<ExitCode> {
    if matches!(task, "--help" | "-h" | "help") {
        terminal::answer(HELP);
        return Ok(ExitCode::SUCCESS);
    }
    let takes_arguments = matches!(
        task,
        "bench"
            | "chaos"
            | "conformance"
            | "dev"
            | "test"
            | "fmt"
            | "openapi"
            | "package"
            | "package-test"
    );
    if let Some(unexpected) = arguments.first()
        && !takes_arguments
    {
        if matches!(unexpected.as_str(), "--help" | "-h") {
            terminal::answer(HELP);
            return Ok(ExitCode::SUCCESS);
        }
        say(format!(
            "`cargo xtask {task}` takes no argument `{unexpected}`; see `cargo xtask --help`"
        ));
        return Ok(ExitCode::from(2));
    }
    match task {
        "dev" => return dev::run(arguments),
        "test" => return test::run(arguments),
        "chaos" => return chaos::run(arguments),
        "conformance" => return conformance::run(arguments),
        "bench" => return bench::run_scenario(arguments),
        "package" => return package::run(arguments),
        "package-test" => return package_test::run(arguments),
        "browser" => return browser::run(),
        "telemetry" => return telemetry::run(),
        "clients" => return clients::run(),
        "old-server" => return test::old_server(),
        "check" => checks::check()?,
        "fmt" => match arguments {
            [] => checks::fmt(checks::Fmt::Write)?,
            [check] if check == "--check" => checks::fmt(checks::Fmt::Check)?,
            _ => bail!("`fmt` takes nothing but --check"),
        },
        "lint" => checks::lint()?,
        "tidy" => tidy::run()?,
        "docs" => checks::docs()?,
        "deny" => deny::run()?,
        "shells" => shells::check()?,
        "openapi" => match arguments {
            [] => documents::write()?,
            [release] if release == "--release" => documents::release()?,
            _ => bail!("`openapi` takes nothing but --release"),
        },
        unknown => {
            say(format!(
                "there is no task `{unknown}`; see `cargo xtask --help`"
            ));
            return Ok(ExitCode::from(2));
        }
    }
    Ok(ExitCode::SUCCESS)
}
