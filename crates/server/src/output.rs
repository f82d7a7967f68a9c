//! How commands answer: for people or for programs.

use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::terminal::say;

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Format {
    /// For people; may change
    #[default]
    Text,
    /// One JSON document; its members only grow
    Json,
}

/// The flag `--format` of every command that has output to parse.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct OutputArguments {
    /// How results are printed
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) format: Format,
}

impl OutputArguments {
    /// Prints `value` as JSON where that is wanted, else what `text` makes of it.
    ///
    /// # Errors
    /// When `value` has no form in JSON, which is a mistake of ours.
    pub(crate) fn print<T: Serialize>(
        self,
        value: &T,
        text: impl FnOnce(&T) -> String,
    ) -> anyhow::Result<()> {
        match self.format {
            Format::Json => say(serde_json::to_string_pretty(value)?),
            Format::Text => {
                let text = text(value);
                if !text.is_empty() {
                    say(text.trim_end_matches('\n'));
                }
            }
        }
        Ok(())
    }
}

/// Rows under headings, in columns as wide as their widest cell.
pub(crate) fn table<const N: usize>(headings: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = headings.map(|heading| heading.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut out = line(&headings, &widths);
    for row in rows {
        out.push_str(&line(row, &widths));
    }
    out
}

fn line<const N: usize>(cells: &[impl AsRef<str>; N], widths: &[usize; N]) -> String {
    let mut line = String::new();
    for (cell, width) in cells.iter().zip(widths) {
        let cell = printable(cell.as_ref());
        let padding = width.saturating_sub(cell.chars().count());
        line.push_str(&cell);
        line.extend(std::iter::repeat_n(' ', padding + 2));
    }
    format!("{}\n", line.trim_end())
}

/// Text from elsewhere, with what is not to be seen as its escape: a name must neither move the cursor of whoever lists
/// it nor turn the rest of the line around.
pub(crate) fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        if char.is_control() || steers(char) {
            out.extend(char.escape_default());
        } else {
            out.push(char);
        }
    }
    out
}

/// Whether it has no shape of its own and changes the direction of what follows, or ends the line.
fn steers(char: char) -> bool {
    matches!(
        char,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [
            ["1".to_owned(), "a long one".to_owned(), "x".to_owned()],
            ["200".to_owned(), "é".to_owned(), String::new()],
        ];
        assert_eq!(
            table(["ID", "NAME", "LAST"], &rows),
            "ID   NAME        LAST\n1    a long one  x\n200  é\n"
        );
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(printable("a\u{1b}[2J\nb"), "a\\u{1b}[2J\\nb");
        assert_eq!(printable("a\u{202e}b\u{2066}é"), "a\\u{202e}b\\u{2066}é");
    }
}
