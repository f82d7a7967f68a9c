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
    run(cargo([
        "clippy",
        "--workspace",
        "--all-targets",
        "--all-features",
        "--locked",
        "--",
        "-D",
        "warnings",
    ]))
}

pub(crate) fn docs() -> anyhow::Result<()> {
    let mut command = cargo(["doc", "--workspace", "--no-deps", "--locked"]);
    command.env("RUSTDOCFLAGS", "-D warnings");
    run(command)
}
