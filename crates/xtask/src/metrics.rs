//! `cargo xtask metrics`: what Prometheus' own checker says of a scrape, the alerts and the expressions of the documents.
//!
//! Apart from `cargo xtask test`, because it needs a package of some hundred megabytes that nothing else needs.

use std::process::ExitCode;

use crate::install;
use crate::test;

/// The tests that run `promtool`.
const TESTS: [&str; 7] = [
    "--package",
    "deed-e2e",
    "--features",
    "promtool",
    "--test",
    "scenarios",
    "promtool::",
];

pub(crate) fn run() -> anyhow::Result<ExitCode> {
    install::ensure_program("promtool", "prometheus")?;
    test::run(&TESTS.map(str::to_owned))
}
