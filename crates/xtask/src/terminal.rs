//! What is said to the person at the terminal.

use std::fmt::Display;
use std::io::{self, Write as _};

/// Progress and trouble, on standard error.
pub(crate) fn say(line: impl Display) {
    // A closed terminal is no reason to stop.
    drop(writeln!(io::stderr(), "{line}"));
}

/// What was asked for, on standard output.
pub(crate) fn answer(text: &str) {
    drop(io::stdout().write_all(text.as_bytes()));
}
