//! What is said to the person at the terminal.

use std::fmt::Display;
use std::io::{self, Write as _};

/// Progress and trouble, on standard error.
pub(crate) fn say(line: impl Display) {
    // A closed terminal is no reason to stop.
    drop(writeln!(io::stderr(), "{line}"));
}

/// What was measured, on standard output.
pub(crate) fn answer(line: impl Display) {
    drop(writeln!(io::stdout(), "{line}"));
}
