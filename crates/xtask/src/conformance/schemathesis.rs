//! Schemathesis, which makes requests up from the document and judges the answers by it.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::accounts::{ALL_SCOPES, Account};
use super::bounded::{Ended, Running};
use super::report::Row;
use super::server::Server;
use super::{SOURCES, Tools};
use crate::cargo::root;
use crate::terminal::say;

/// How long it may take to come to its end when its time is up.
const GRACE: Duration = Duration::from_secs(45);

/// Lets it have `time` with the server. `seed` decides about every request.
pub(super) fn run(
    tools: &Tools,
    server: &Server,
    seed: u64,
    time: Duration,
    directory: &Path,
) -> anyhow::Result<Vec<Row>> {
    let began = Instant::now();
    let caller = Account::create(server.address, "fuzzer", &ALL_SCOPES)?;
    let spare = Account::create(server.address, "spare", &ALL_SCOPES)?;
    let counts = directory.join("schemathesis-counts.json");
    let mut command = Command::new(tools.python.program("schemathesis"));
    command
        .arg("--config-file")
        .arg(root().join(SOURCES).join("schemathesis.toml"))
        .args(["run", "--seed", &seed.to_string(), "--max-time"])
        .arg(time.as_secs().max(1).to_string())
        .args(["--no-color", "--header"])
        .arg(format!("X-API-Key: {}", caller.secret))
        .arg(format!("{}/openapi.json", server.base()))
        .current_dir(directory)
        .env("PYTHONPATH", root().join(SOURCES))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("PYTHONUNBUFFERED", "1")
        .env("DEED_COUNTS", &counts)
        .env("DEED_BASE", server.base())
        .env("DEED_SECRET", &caller.secret)
        .env("DEED_USER", &caller.user)
        .env("DEED_KEY", &caller.key)
        .env("DEED_SPARE_USER", &spare.user)
        .env("DEED_SPARE_KEY", &spare.key);
    let log = directory.join("schemathesis.log");
    let ended = Running::start(command, &log)?.wait(time + GRACE)?;
    let said = fs::read_to_string(&log)?;
    if ended == Ended::Overdue {
        bail!("schemathesis did not come to its end:\n{said}");
    }
    let mut rows = rows(&fs::read_to_string(&counts).with_context(|| said.clone())?)?;
    if !ended.is_success() {
        say(format!("\nschemathesis:\n{said}"));
    }
    let found = match ended.is_success() {
        true => 0,
        false => found(&said).max(1),
    };
    rows.push(Row {
        what: "schemathesis, all phases".to_owned(),
        cases: rows.iter().map(|row| row.cases).sum(),
        failures: found,
        took: Some(began.elapsed()),
    });
    Ok(rows)
}

/// How many failures it tells of: each has a line that begins with its code.
fn found(said: &str) -> u64 {
    let told = said.lines().filter(|line| line.starts_with("- ST"));
    told.fold(0, |count, _| count + 1)
}

/// A row for each phase.
fn rows(counts: &str) -> anyhow::Result<Vec<Row>> {
    let counts: Value = serde_json::from_str(counts)?;
    let phases = counts.as_object().context("no counts")?;
    let row = |(phase, cases): (&String, &Value)| {
        Ok(Row {
            what: format!("schemathesis, {phase}"),
            cases: cases.as_u64().context("no count")?,
            // They are told together.
            failures: 0,
            took: None,
        })
    };
    phases.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_phase_has_its_row() {
        let rows = rows(r#"{"coverage": 12, "fuzzing": 3}"#).unwrap();
        let told: Vec<_> = rows
            .iter()
            .map(|row| (row.what.as_str(), row.cases))
            .collect();
        assert_eq!(
            told,
            [("schemathesis, coverage", 12), ("schemathesis, fuzzing", 3)]
        );
    }

    #[test]
    fn failures_are_counted_by_their_codes() {
        let said = "GET /a\n1. Test Case ID: x\n- ST202 Rejected\n- ST108 Wrong\n  ST1\n";
        assert_eq!(found(said), 2);
        assert_eq!(found(""), 0);
    }
}
