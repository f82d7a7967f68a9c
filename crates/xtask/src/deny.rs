//! cargo-deny: licences, sources, bans and known vulnerabilities of the dependencies.

use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::cargo::{self, root};
use crate::terminal::say;
use crate::tools::Tool;

const DENY: Tool = Tool {
    name: "cargo-deny",
    version: "0.20.2",
    is_bare: false,
};
const ADVISORIES: &str = "https://github.com/RustSec/advisory-db";
/// How long to try to reach the advisories.
const PATIENCE: Duration = Duration::from_secs(20);

/// Checks bans, licences and sources, and the advisories where their database can be reached.
pub(crate) fn run() -> anyhow::Result<()> {
    let deny = DENY.ensure()?;
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
