//! The scripts beside the linters' configuration, which say at their end what they have tried and found.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::bounded::{Ended, Running};
use super::report::Row;
use crate::terminal::say;

/// Runs a script whose last line is `{"cases": …, "failures": …}`, and says what it found.
pub(super) fn run(
    what: &str,
    command: Command,
    limit: Duration,
    log: &Path,
) -> anyhow::Result<Row> {
    let began = Instant::now();
    let ended = Running::start(command, log)?.wait(limit)?;
    let said = fs::read_to_string(log)?;
    if ended == Ended::Overdue {
        bail!("{what} took over {} s:\n{said}", limit.as_secs());
    }
    let (cases, failures) = summary(&said).with_context(|| format!("{what}:\n{said}"))?;
    if failures > 0 {
        say(format!("\n{what}:\n{said}"));
    }
    Ok(Row {
        what: what.to_owned(),
        cases,
        failures,
        took: Some(began.elapsed()),
    })
}

fn summary(said: &str) -> anyhow::Result<(u64, u64)> {
    let last = said.trim_end().lines().next_back();
    let summary: Value = serde_json::from_str(last.context("it said nothing")?)
        .context("it did not come to its end")?;
    let number = |name: &str| {
        let number = summary.get(name).and_then(Value::as_u64);
        number.with_context(|| format!("its summary has no {name}"))
    };
    Ok((number("cases")?, number("failures")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_the_summary() {
        let said = "something\n{\"cases\": 12, \"failures\": 1}\n";
        assert_eq!(summary(said).unwrap(), (12, 1));
        for broken in ["", "Traceback\n", "{\"cases\": 1}"] {
            assert!(summary(broken).is_err(), "{broken}");
        }
    }
}
