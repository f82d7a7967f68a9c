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
