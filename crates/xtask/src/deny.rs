//! cargo-deny: licences, sources, bans and known vulnerabilities of the dependencies.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::cargo::{self, program, root};
use crate::terminal::say;

/// The version that is installed where there is none.
const VERSION: &str = "0.20.2";
const ADVISORIES: &str = "https://github.com/RustSec/advisory-db";
/// How long to try to reach the advisories.
const PATIENCE: Duration = Duration::from_secs(20);

/// Checks bans, licences and sources, and the advisories where their database can be reached.
pub(crate) fn run() -> anyhow::Result<()> {
    let deny = installed()?;
    let check = |what: &[&str]| {
        let mut command = Command::new(&deny);
        command
            .args(["--locked", "--config", ".deny.toml", "check"])
            .args(what)
            .current_dir(root());
        cargo::run(command)
    };
    check(&["bans", "licenses", "sources"])?;
    if can_reach_advisories() {
        check(&["advisories"])
    } else {
        say(format!(
            "The advisories were NOT checked: {ADVISORIES} can't be reached from here."
        ));
        Ok(())
    }
}

/// cargo-deny from `PATH`, else one in `target/tools`, which is built the first time.
fn installed() -> anyhow::Result<PathBuf> {
    if let Some(found) = program("cargo-deny") {
        return Ok(found);
    }
    let tools = root().join("target/tools");
    let deny = tools.join("bin/cargo-deny");
    if !deny.is_file() {
        say(format!(
            "Installing cargo-deny {VERSION} in target/tools (some minutes, once) …"
        ));
        fs::create_dir_all(&tools)?;
        // Not optimised: it builds in a third of the time and takes seconds to run either way.
        let mut command = cargo::cargo([
            "install",
            "cargo-deny",
            "--version",
            VERSION,
            "--locked",
            "--debug",
            "--root",
        ]);
        command
            .arg(&tools)
            .env("CARGO_TARGET_DIR", tools.join("build"));
        cargo::run(command)?;
        drop(fs::remove_dir_all(tools.join("build")));
    }
    Ok(deny)
}

fn can_reach_advisories() -> bool {
    let mut command = Command::new("git");
    command
        .args(["ls-remote", "--exit-code", ADVISORIES, "HEAD"])
        .env("GIT_TERMINAL_PROMPT", "0");
    let Ok(mut child) = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
    else {
        return false;
    };
    let deadline = Instant::now() + PATIENCE;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return status.success(),
            Ok(None) if Instant::now() < deadline => thread::sleep(Duration::from_millis(50)),
            _ => {
                drop(child.kill());
                drop(child.wait());
                return false;
            }
        }
    }
}
