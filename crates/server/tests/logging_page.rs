//! docs/LOGGING.md lists what the source logs: every field and every target of its own, and nothing else.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const PAGE: &str = include_str!("../../../docs/LOGGING.md");

/// What the log's format adds to every line, or to every line of a request.
const OF_EVERY_LINE: [&str; 6] = [
    "time",
    "level",
    "target",
    "message",
    "request_id",
    "trace_id",
];

/// The crates of the server whose lines the page tells of.
const CRATES: [&str; 4] = ["adapters", "delivery", "domain", "server"];

/// The names in the first column of the table under a heading.
fn listed(heading: &str) -> BTreeSet<String> {
    let section = PAGE.split(&format!("\n## {heading}\n")).nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    section
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` |"))
        .map(|(name, _)| name.to_owned())
        .collect()
}

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// What stands between the parentheses of each logging macro.
fn calls(source: &str) -> Vec<String> {
    let macros = ["info!(", "warn!(", "error!(", "debug!(", "trace!(", "log!("];
    let mut calls = Vec::new();
    for (place, _) in source.match_indices("log::") {
        let rest = source.split_at(place).1.trim_start_matches("log::");
        let Some(rest) = macros.iter().find_map(|name| rest.strip_prefix(name)) else {
            continue;
        };
        let (mut depth, mut is_text, mut is_escaped, mut call) = (1, false, false, String::new());
        for character in rest.chars() {
            match character {
                _ if is_escaped => is_escaped = false,
                '\\' if is_text => is_escaped = true,
                '"' => is_text = !is_text,
                '(' | '[' | '{' if !is_text => depth += 1,
                ')' | ']' | '}' if !is_text => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                break;
            }
            call.push(character);
        }
        calls.push(call);
    }
    calls
}

/// Cuts at each `separator` that stands neither in brackets nor in a text.
fn cut(text: &str, separator: char) -> Vec<String> {
    let (mut depth, mut is_text, mut parts) = (0, false, vec![String::new()]);
    for character in text.chars() {
        match character {
            '"' => is_text = !is_text,
            '(' | '[' | '{' if !is_text => depth += 1,
            ')' | ']' | '}' if !is_text => depth -= 1,
            _ => {}
        }
        if character == separator && depth == 0 && !is_text {
            parts.push(String::new());
        } else {
            parts.last_mut().unwrap().push(character);
        }
    }
    parts
}

/// The fields and the target of a call.
fn said(call: &str) -> (Vec<String>, Option<String>) {
    let parts = cut(call, ';');
    let (fields, has_fields) = match parts.as_slice() {
        [fields, _] => (fields.as_str(), true),
        _ => (call, false),
    };
    let (mut names, mut target) = (Vec::new(), None);
    for field in cut(fields, ',') {
        let field = field.trim();
        if let Some(text) = field.strip_prefix("target:") {
            target = Some(text.trim().trim_matches('"').to_owned());
        } else if has_fields && !field.is_empty() && field != "level" {
            let end = field.find([':', '=', ' ']).unwrap_or(field.len());
            names.push(field.split_at(end).0.to_owned());
        }
    }
    (names, target)
}

#[test]
fn the_page_lists_every_field_and_target() {
    let (mut fields, mut targets) = (BTreeSet::new(), BTreeSet::new());
    fields.extend(OF_EVERY_LINE.map(str::to_owned));
    for name in CRATES {
        targets.insert(format!("deed_{name}"));
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
        let mut files = Vec::new();
        sources(&root.join("src"), &mut files);
        for file in files {
            for call in calls(&fs::read_to_string(file).unwrap()) {
                let (names, target) = said(&call);
                fields.extend(names);
                targets.extend(target);
            }
        }
    }
    assert!(fields.contains("outcome"), "{fields:?}");
    assert_eq!(listed("Fields"), fields);
    assert_eq!(listed("Targets"), targets);
}

#[test]
fn calls_are_read_as_the_compiler_reads_them() {
    let source = r#"log::info!(target: "deed::x", a:% = f(b, c), d, e:err = *g; "h; {i}, \"j\": k"); log::warn!("l {m}: n = o")"#;
    let calls = calls(source);
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let expected: Vec<(Vec<String>, Option<String>)> = vec![
        (names(&["a", "d", "e"]), Some("deed::x".to_owned())),
        (Vec::new(), None),
    ];
    let said: Vec<_> = calls.iter().map(|call| said(call)).collect();
    assert_eq!(said, expected);
}
