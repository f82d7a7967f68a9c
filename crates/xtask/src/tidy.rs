//! `cargo xtask tidy`: what the compiler and clippy can't see.

mod edges;
mod error_pages;
pub(crate) mod files;
mod migrations;
mod names;

use anyhow::bail;

use crate::cargo::root;
use crate::documents;
use crate::terminal::say;

/// Runs every check, and tells all that is wrong at once.
pub(crate) fn run() -> anyhow::Result<()> {
    let root = root();
    let mut found = Vec::new();
    say("Checking crate edges …");
    found.extend(edges::check(root)?);
    say("Checking files, migrations and what the documents name …");
    let files = files::all(root)?;
    found.extend(files::check(root, &files)?);
    found.extend(migrations::check(root)?);
    found.extend(names::check(root, &files)?);
    say("Checking generated documents (this builds the binary) …");
    found.extend(documents::stale()?);
    found.extend(error_pages::check(root)?);
    if found.is_empty() {
        say("Tidy.");
        return Ok(());
    }
    for fault in &found {
        say(format!("  {fault}"));
    }
    bail!(
        "{} found",
        if found.len() == 1 {
            "1 fault".to_owned()
        } else {
            format!("{} faults", found.len())
        }
    )
}
