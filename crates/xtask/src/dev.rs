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
    let installation = match postgres::ensure("dev")? {
        Found::Yes(installation) => installation,
        Found::No => return Ok(ExitCode::from(NOT_INSTALLED)),
    };
    say(format!(
        "PostgreSQL {} in {}",
        installation.major(),
        installation.bin().display()
    ));
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
    // Homebrew may keep it where `deed` does not look.
    command.env("DEED_PG_BIN", installation.bin());
    // This process becomes the server, so that signals and the exit code are its own.
    Err(command.args(arguments).exec()).context("cargo can't be run")
}
