//! The documents that the binary writes about itself.

use std::fs;

use anyhow::{Context as _, bail};

use crate::cargo::{cargo, output, root};
use crate::terminal::say;

/// Each document, and the command of `deed` that prints it.
const GENERATED: [(&str, &str); 3] = [
    ("docs/openapi.json", "openapi"),
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
