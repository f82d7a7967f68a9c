//! The documents that the binary writes about itself.

mod breaking;

use std::fs;

use anyhow::{Context as _, bail};

use serde_json::Value;

use crate::cargo::{cargo, output, root};
use crate::terminal::say;

/// What the interface is.
const PRESENT: &str = "docs/openapi.json";
/// What it was at the last release.
const RELEASED: &str = "docs/openapi.released.json";

/// Each document, and the command of `deed` that prints it.
const GENERATED: [(&str, &str); 3] = [
    (PRESENT, "openapi"),
    ("docs/PROBLEMS.md", "problems"),
    ("docs/CONFIG.md", "config reference"),
];

/// Writes them anew where they have changed.
pub(crate) fn write() -> anyhow::Result<()> {
    for (path, command) in GENERATED {
        let current = print(command)?;
        let file = root().join(path);
        if fs::read_to_string(&file).is_ok_and(|written| written == current) {
            say(format!("{path} is current"));
        } else {
            fs::write(&file, current).with_context(|| format!("{path} can't be written"))?;
            say(format!("wrote {path}"));
        }
    }
    Ok(())
}

/// Writes them anew, and keeps the interface as the one that is released: what comes later has to fit it.
pub(crate) fn release() -> anyhow::Result<()> {
    write()?;
    let broken = broken()?;
    if !broken.is_empty() {
        say(
            "This breaks clients of the release before; docs/CHANGELOG.md has to say what they do:",
        );
        for change in broken {
            say(format!("  {change}"));
        }
    }
    fs::copy(root().join(PRESENT), root().join(RELEASED))
        .with_context(|| format!("{RELEASED} can't be written"))?;
    say(format!("wrote {RELEASED}"));
    Ok(())
}

/// What breaks clients that were made from the released document.
pub(crate) fn broken() -> anyhow::Result<Vec<String>> {
    let read = |path: &str| -> anyhow::Result<Value> {
        let text = fs::read_to_string(root().join(path));
        let text = text.with_context(|| format!("{path} can't be read"))?;
        serde_json::from_str(&text).with_context(|| format!("{path} is not JSON"))
    };
    let changes = breaking::changes(&read(RELEASED)?, &read(PRESENT)?);
    Ok(changes
        .into_iter()
        .map(|change| format!("{PRESENT} breaks clients of {RELEASED}: {change}"))
        .collect())
}

/// Which of them differ from what the binary prints.
pub(crate) fn stale() -> anyhow::Result<Vec<String>> {
    let mut stale = Vec::new();
    for (path, command) in GENERATED {
        let current = print(command)?;
        match fs::read_to_string(root().join(path)) {
            Ok(written) if written == current => {}
            Ok(_) => stale.push(format!(
                "{path} is not what `deed {command}` prints; run `cargo xtask openapi`"
            )),
            Err(error) => stale.push(format!(
                "{path} can't be read ({error}); run `cargo xtask openapi`"
            )),
        }
    }
    Ok(stale)
}

fn print(command: &str) -> anyhow::Result<String> {
    const RUN: [&str; 7] = [
        "run",
        "--locked",
        "--package",
        "deed-server",
        "--bin",
        "deed",
        "--",
    ];
    let text = output(cargo(RUN.into_iter().chain(command.split(' '))))?;
    if text.trim().is_empty() {
        bail!("`deed {command}` prints nothing");
    }
    Ok(text)
}
