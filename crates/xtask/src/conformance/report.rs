//! What is said at the end: a table of what was tried, and of what was found.

use std::fmt::Write as _;
use std::time::Duration;

/// What one judge has tried.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// Who judged, and what.
    pub(super) what: String,
    /// How many requests, events or documents were looked at.
    pub(super) cases: u64,
    /// How many of them were found to be wrong.
    pub(super) failures: u64,
    /// How long it took, where that is known of this row alone.
    pub(super) took: Option<Duration>,
}

/// The rows as a table for a person.
pub(super) fn table(rows: &[Row]) -> String {
    let width = rows
        .iter()
        .map(|row| row.what.chars().count())
        .max()
        .unwrap_or(0);
    let mut table = format!(
        "{:width$}  {:>8}  {:>8}  {:>7}\n",
        "judge", "cases", "failures", "seconds"
    );
    for row in rows {
        let Row {
            what,
            cases,
            failures,
            took,
        } = row;
        let took = took.map_or(String::new(), |took| format!("{:.1}", took.as_secs_f64()));
        // A string takes whatever is written to it.
        let _ = writeln!(table, "{what:width$}  {cases:>8}  {failures:>8}  {took:>7}");
    }
    table
}

/// How many failures there are in all.
pub(super) fn failures(rows: &[Row]) -> u64 {
    rows.iter().map(|row| row.failures).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(what: &str, cases: u64, failures: u64, took: Option<Duration>) -> Row {
        Row {
            what: what.to_owned(),
            cases,
            failures,
            took,
        }
    }

    #[test]
    fn the_table_has_a_line_for_each_judge() {
        let took = Some(Duration::from_millis(1500));
        let rows = [
            row("fuzzing", 1200, 0, took),
            row("a longer name", 1, 2, None),
        ];
        let expected = "\
judge             cases  failures  seconds
fuzzing            1200         0      1.5
a longer name         1         2         
";
        assert_eq!(table(&rows), expected);
        assert_eq!(failures(&rows), 2);
    }
}
