//! What CI and a person before a commit run alike.

use crate::cargo::{cargo, run};
use crate::tidy;

/// What to do with code that isn't formatted.
pub(crate) enum Fmt {
    /// Format it.
    Write,
    /// Fail, and show it.
    Check,
}

pub(crate) fn check() -> anyhow::Result<()> {
    fmt(Fmt::Check)?;
    lint()?;
    tidy::run()
}

pub(crate) fn fmt(how: Fmt) -> anyhow::Result<()> {
    let mut command = cargo(["fmt", "--all"]);
    if matches!(how, Fmt::Check) {
        command.arg("--check");
    }
    run(command)
}

pub(crate) fn lint() -> anyhow::Result<()> {
    let all = ["--workspace", "--all-targets"].as_slice();
    // Not among the usual tests, and so none of all targets.
    let browser = ["--package", "deed-e2e", "--test", "browser"].as_slice();
    for targets in [all, browser] {
        let mut command = cargo(["clippy", "--all-features", "--locked"]);
        command.args(targets).args(["--", "-D", "warnings"]);
        run(command)?;
    }
    Ok(())
}

pub(crate) fn docs() -> anyhow::Result<()> {
    let mut command = cargo(["doc", "--workspace", "--no-deps", "--locked"]);
    command.env("RUSTDOCFLAGS", "-D warnings");
    run(command)
}
