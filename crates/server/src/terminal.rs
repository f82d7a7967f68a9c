//! What the commands say to the person at the terminal.

use std::io::{self, Write as _};

/// Says a line on standard output: results, which may be piped on. A reader that is gone is no fault.
pub(crate) fn say(line: impl AsRef<str>) {
    let _ = writeln!(io::stdout().lock(), "{}", line.as_ref());
}

/// Says a line on standard error: what is being done, and what went wrong.
pub(crate) fn note(line: impl AsRef<str>) {
    let _ = writeln!(io::stderr().lock(), "{}", line.as_ref());
}
