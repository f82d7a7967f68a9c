//! `cargo xtask telemetry`: what Prometheus' own checker says of a scrape, the alerts and the expressions of the documents,
//! and what a collector receives of a server that was built with OpenTelemetry.
//!
//! Apart from `cargo xtask test`, because it needs a package of some hundred megabytes that nothing else needs, and the
//! server once more with other features.

use std::process::ExitCode;

use crate::install;
use crate::test;

/// The tests behind features.
const TESTS: [&str; 13] = [
    "--package",
    "deed-e2e",
    "--package",
    "deed-server",
    "--features",
    "deed-e2e/promtool,deed-e2e/otel",
    "--lib",
    "--test",
    "scenarios",
    "--",
    "promtool::",
    "otel::",
    "spans::",
];

pub(crate) fn run() -> anyhow::Result<ExitCode> {
    install::ensure_program("promtool", "prometheus")?;
    test::run(&TESTS.map(str::to_owned))
}
