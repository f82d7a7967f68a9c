//! What linters say of the document that the server serves.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::bail;

use super::bounded::Running;
use super::report::Row;
use super::{SOURCES, Tools};
use crate::cargo::root;
use crate::terminal::say;

/// How long a linter may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Lints `document`, and says what is found. The linters run side by side: they mostly start up.
pub(super) fn lint(tools: &Tools, document: &Path, logs: &Path) -> anyhow::Result<Vec<Row>> {
    let began = Instant::now();
    let running = commands(tools, document).map(|(name, command)| {
        let log = logs.join(format!("{name}.log"));
        Ok((name, Running::start(command, &log)?, log))
    });
    let mut rows = Vec::new();
    for started in running {
        let started: anyhow::Result<_> = started;
        let (name, running, log) = started?;
        let is_clean = running.wait(LIMIT)?.is_success();
        if !is_clean {
            say(format!("\n{name}:\n{}", fs::read_to_string(&log)?));
        }
        rows.push(Row {
            what: name.to_owned(),
            cases: 1,
            failures: u64::from(!is_clean),
            took: Some(began.elapsed()),
        });
    }
    if rows.is_empty() {
        bail!("no linter ran");
    }
    Ok(rows)
}

fn commands(tools: &Tools, document: &Path) -> [(&'static str, Command); 3] {
    let mut validator = Command::new(tools.python.program("openapi-spec-validator"));
    validator.arg(document);
    let mut redocly = Command::new(tools.node.program("redocly"));
    redocly
        .args(["lint", "--extends", "recommended-strict"])
        .arg(document)
        // It would ask its makers for a newer one, and tell them that it was run.
        .env("REDOCLY_SUPPRESS_UPDATE_NOTICE", "true")
        .env("REDOCLY_TELEMETRY", "off")
        .current_dir(tools.node.directory());
    let mut spectral = Command::new(tools.node.program("spectral"));
    spectral
        .args(["lint", "--fail-severity", "hint", "--ruleset"])
        .arg(root().join(SOURCES).join("spectral.yaml"))
        .arg(document);
    [
        ("openapi-spec-validator", validator),
        ("redocly lint", redocly),
        ("spectral lint", spectral),
    ]
}
