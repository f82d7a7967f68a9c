//! What the commands say to the person at the terminal.

use std::io::{self, Write as _};
use std::sync::OnceLock;

use crate::fault::{Exit, Fault};

/// Why something that was said did not arrive; set once, and told when the command is done.
static UNSAID: OnceLock<io::Error> = OnceLock::new();

/// Says a line on standard output: results, which may be piped on. A reader that is gone is no fault; what else keeps
/// the line from arriving is told by [`check`].
pub(crate) fn say(line: impl AsRef<str>) {
    // `check` tells it.
    let _ = try_say(line.as_ref());
}

/// The same for who has more to say, and can stop.
///
/// # Errors
/// When the line does not arrive, because its reader is gone or for another reason.
pub(crate) fn try_say(line: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    let outcome = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
    outcome.inspect_err(remember)
}

/// Keeps the first reason that is a fault.
pub(crate) fn remember(error: &io::Error) {
    if error.kind() != io::ErrorKind::BrokenPipe {
        let copy = error.raw_os_error().map(io::Error::from_raw_os_error);
        // The first one is told.
        let _ = UNSAID.set(copy.unwrap_or_else(|| error.kind().into()));
    }
}

/// Whether all arrived that was said on standard output, as far as somebody was there to read it.
///
/// # Errors
/// A [`Fault`] with the reason: whoever reads the file must not take what is there for the whole, and a secret that is
/// shown once may be lost.
pub(crate) fn check() -> Result<(), Fault> {
    match UNSAID.get() {
        None => Ok(()),
        Some(error) => Err(Fault::new(
            Exit::Failed,
            format!("Standard output can't be written to: {error}"),
            "What the command did is done, and what it had to say is lost: mend where its output goes",
        )),
    }
}

/// Says a line on standard error: what is being done, and what went wrong.
pub(crate) fn note(line: impl AsRef<str>) {
    let _ = writeln!(io::stderr().lock(), "{}", line.as_ref());
}

/// What a word means to whoever looks at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Paint {
    Good,
    Bad,
    Dim,
}

/// `text` for standard output, in colour where that is a terminal which wants it; `NO_COLOR` is heeded.
pub(crate) fn painted(paint: Paint, text: &str) -> String {
    use clap::builder::styling::{AnsiColor, Effects, Style};
    let style: Style = match paint {
        Paint::Good => AnsiColor::Green.on_default(),
        Paint::Bad => AnsiColor::Red.on_default().effects(Effects::BOLD),
        Paint::Dim => Style::new().effects(Effects::DIMMED),
    };
    match anstream::AutoStream::choice(&io::stdout()) {
        anstream::ColorChoice::Never => text.to_owned(),
        _ => format!("{style}{text}{style:#}"),
    }
}
