//! `cargo xtask dev`: the server with everything that it needs.

use std::os::unix::process::CommandExt as _;
use std::process::ExitCode;

use anyhow::Context as _;

use crate::cargo::cargo;
use crate::postgres::{self, Found};
use crate::terminal::say;

/// Something has to be installed first.
pub(crate) const NOT_INSTALLED: u8 = 3;

pub(crate) fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    match postgres::ensure("dev")? {
        Found::Yes(installation) => {
            say(format!(
                "PostgreSQL {} in {}",
                installation.major(),
                installation.bin().display()
            ));
        }
        Found::No => return Ok(ExitCode::from(NOT_INSTALLED)),
    }
    say("Building Deed (the first time takes some minutes) …");
    let mut command = cargo([
        "run",
        "--locked",
        "--package",
        "deed-server",
        "--bin",
        "deed",
        "--",
        "dev",
    ]);
    // This process becomes the server, so that signals and the exit code are its own.
    Err(command.args(arguments).exec()).context("cargo can't be run")
}
