//! `cargo xtask bench`: builds server and load generator for release, and runs a scenario.

use std::process::ExitCode;

use anyhow::Context as _;

use crate::cargo::{cargo, root, run};
use crate::dev::NOT_INSTALLED;
use crate::postgres::{self, Found};

pub(crate) fn run_scenario(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let installation = match postgres::ensure("bench")? {
        Found::Yes(installation) => installation,
        Found::No => return Ok(ExitCode::from(NOT_INSTALLED)),
    };
    run(cargo([
        "build",
        "--release",
        "--locked",
        "--package",
        "deed-server",
        "--package",
        "deed-bench",
    ]))?;
    let release = root().join("target/release");
    let status = std::process::Command::new(release.join("deed-bench"))
        .arg("--server")
        .arg(release.join("deed"))
        .arg("--pg-bin")
        .arg(installation.bin())
        .args(arguments)
        .current_dir(root())
        .status()
        .context("deed-bench can't be run")?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
