//! `cargo xtask clients`: clients that others' generators make from the OpenAPI document compile, and get along with the
//! server.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::Context as _;
use local_postgres::{Cluster, Options};

use crate::cargo::{cargo, output, root, run as run_command};
use crate::conformance::server::{ROOT_KEY, Server};
use crate::dev::NOT_INSTALLED;
use crate::node::Packages;
use crate::postgres::{self, Found};
use crate::python::Environment;
use crate::terminal::say;

/// Where the clients' scripts, configuration and lock files are, from the root.
const SOURCES: &str = "crates/xtask/clients";
/// What the clients are made from.
const DOCUMENT: &str = "docs/openapi.json";

pub(crate) fn run() -> anyhow::Result<ExitCode> {
    let installation = match postgres::ensure("clients")? {
        Found::Yes(installation) => installation,
        Found::No => return Ok(ExitCode::from(NOT_INSTALLED)),
    };
    let directory = root().join("target/clients");
    // What an earlier run has left.
    drop(fs::remove_dir_all(&directory));
    fs::create_dir_all(&directory)
        .with_context(|| format!("{} can't be made", directory.display()))?;
    let clients = [typescript()?, python(&directory)?];
    run_command(cargo([
        "build",
        "--locked",
        "--package",
        "deed-server",
        "--bin",
        "deed",
    ]))?;
    let options = Options {
        user: "deed".to_owned(),
        database: "deed".to_owned(),
        fresh: true,
        unreachable_base: PathBuf::from("/var/lib/deed-dev"),
        ..Options::new(directory.join("postgres"))
    };
    let cluster = Cluster::start(&installation, &options, &mut |progress| say(progress))?;
    let log = directory.join("server.log");
    let server = Server::start(&cluster.url(), "127.0.0.1:0", &[], &log)?;
    for mut client in clients {
        client
            .env("DEED_BASE", server.base())
            .env("DEED_ROOT_KEY", ROOT_KEY);
        run_command(client)?;
    }
    server.stop()?;
    Ok(ExitCode::SUCCESS)
}

/// Makes the TypeScript client and compiles its smoke test; answers how that is run.
fn typescript() -> anyhow::Result<Command> {
    let packages = Packages::ensure("clients", SOURCES)?;
    // Where its packages lie, Node finds them.
    let directory = packages.directory();
    copy("smoke.ts", directory)?;
    copy("tsconfig.json", directory)?;
    let mut make = Command::new(packages.program("openapi-typescript"));
    make.arg(root().join(DOCUMENT))
        .arg("--output")
        .arg(directory.join("schema.d.ts"));
    run_command(make)?;
    let mut compile = Command::new(packages.program("tsc"));
    compile.current_dir(directory);
    run_command(compile)?;
    let mut smoke = Command::new("node");
    smoke.arg(directory.join("out/smoke.js"));
    Ok(smoke)
}

/// Makes the Python client; answers how its smoke test is run.
fn python(directory: &Path) -> anyhow::Result<Command> {
    let environment = Environment::ensure("clients", &format!("{SOURCES}/requirements.txt"))?;
    let sources = root().join(SOURCES);
    let mut make = Command::new(environment.program("openapi-python-client"));
    make.args(["generate", "--fail-on-warning", "--meta", "none", "--path"])
        .arg(root().join(DOCUMENT))
        .arg("--config")
        .arg(sources.join("python.yaml"))
        .arg("--output-path")
        .arg(directory.join("python/deed_api"))
        .current_dir(directory);
    // It tells what it could not make of the document.
    let said = output(make)?;
    if !said.trim().is_empty() {
        say(said.trim());
    }
    let mut smoke = Command::new(environment.program("python"));
    smoke
        .args(["-W", "error"])
        .arg(sources.join("smoke.py"))
        .env("PYTHONPATH", directory.join("python"))
        .env("PYTHONDONTWRITEBYTECODE", "1");
    Ok(smoke)
}

fn copy(name: &str, directory: &Path) -> anyhow::Result<()> {
    let source = root().join(SOURCES).join(name);
    fs::copy(&source, directory.join(name))
        .with_context(|| format!("{} can't be copied", source.display()))?;
    Ok(())
}
