//! The input of an action: JSON on the command line, in a file, or on standard input.

use std::fs::File;
use std::io::Read;

use serde_json::value::RawValue;

use crate::fault::{Exit, Fault};
use crate::output::printable;

/// How many bytes are read at the most; how many may be sent is for the server to say.
const READ_MAX: u64 = 16 * 1024 * 1024;

/// Reads `argument`: `@file`, `-` for standard input, or the JSON itself.
///
/// # Errors
/// When it can't be read, or is no JSON: with the line and the column.
pub(super) fn read(argument: &str) -> Result<Box<RawValue>, Fault> {
    let (text, source) = if argument == "-" {
        let source = "standard input";
        (whole(std::io::stdin(), source)?, source.to_owned())
    } else if let Some(file) = argument.strip_prefix('@') {
        let opened = File::open(file).map_err(|error| unreadable(file, &error.to_string()))?;
        (whole(opened, file)?, file.to_owned())
    } else {
        (argument.to_owned(), "--input".to_owned())
    };
    parse(&text).map_err(|error| {
        let what = error.to_string();
        let what = what.split(" at line ").next().unwrap_or_default();
        Fault::new(
            Exit::Usage,
            format!(
                "{} is not JSON: {what} at line {} column {}",
                printable(&source),
                error.line(),
                error.column()
            ),
            "Write it as --input '{\"text\": \"hello\"}', --input @file.json, or --input - for standard input",
        )
    })
}

/// All that there is to read.
fn whole(from: impl Read, source: &str) -> Result<String, Fault> {
    let mut text = String::new();
    let read = from.take(READ_MAX + 1).read_to_string(&mut text);
    match read.map(u64::try_from) {
        Ok(Ok(..=READ_MAX)) => Ok(text),
        Ok(_) => Err(unreadable(source, "it is larger than any server takes")),
        Err(error) => Err(unreadable(source, &error.to_string())),
    }
}

/// One JSON value, as the text that it is.
fn parse(text: &str) -> serde_json::Result<Box<RawValue>> {
    serde_json::from_str(text.trim_start_matches('\u{feff}'))
}

fn unreadable(source: &str, reason: &str) -> Fault {
    Fault::new(
        Exit::Usage,
        format!(
            "The input can't be read from {}: {reason}",
            printable(source)
        ),
        "Name a readable file of JSON after --input @, or give the JSON itself",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_keeps_its_text() {
        let read = |argument: &str| read(argument).unwrap().get().to_owned();
        assert_eq!(
            read(r#" {"b": 1.10, "a": "é"} "#),
            r#"{"b": 1.10, "a": "é"}"#
        );
        assert_eq!(read("null"), "null");
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("input.json");
        std::fs::write(&file, "\u{feff}[1,\n 2]\n").unwrap();
        assert_eq!(read(&format!("@{}", file.display())), "[1,\n 2]");
    }

    #[test]
    fn a_mistake_is_told_with_its_place() {
        let check = |argument: &str, expected: &str| {
            let fault = read(argument).unwrap_err();
            assert_eq!(fault.exit, Exit::Usage);
            assert!(fault.cause().contains(expected), "{fault}");
        };
        check(
            "{\"text\":\n  hello}",
            "--input is not JSON: expected value at line 2 column 3",
        );
        check("{text: 1}", "key must be a string at line 1 column 2");
        check("", "line 1 column 0");
        check("{} {}", "trailing characters at line 1 column 4");
        check(
            "@/nowhere/input.json",
            "can't be read from /nowhere/input.json",
        );
        check("@/dev/zero", "larger than any server takes");
    }
}
