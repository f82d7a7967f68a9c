//! `cargo xtask tidy`: what the compiler and clippy can't see.

pub(crate) mod edges;
mod error_pages;
pub(crate) mod files;
mod migrations;
mod names;

use anyhow::bail;

use crate::cargo::root;
use crate::documents;
use crate::terminal::say;

/// Runs every check, and tells all that is wrong at once. A check that can't be made is a fault like any other.
pub(crate) fn run() -> anyhow::Result<()> {
    let root = root();
    let files = files::all(root)?;
    let mut faults = Faults::default();
    say("Checking crate edges …");
    faults.add(edges::check(root));
    say("Checking files, migrations and what the documents name …");
    faults.add(files::check(root, &files));
    faults.add(migrations::check(root));
    faults.add(names::check(root, &files));
    faults.add(error_pages::check(root));
    say("Checking generated documents (this builds the binary) …");
    faults.add(documents::stale());
    faults.add(documents::broken());
    faults.tell()
}

/// What was found so far.
#[derive(Default)]
struct Faults(Vec<String>);

impl Faults {
    fn add(&mut self, found: anyhow::Result<Vec<String>>) {
        self.0
            .extend(found.unwrap_or_else(|error| vec![format!("{error:#}")]));
    }

    fn tell(self) -> anyhow::Result<()> {
        if self.0.is_empty() {
            say("Tidy.");
            return Ok(());
        }
        for fault in &self.0 {
            say(format!("  {fault}"));
        }
        match self.0.len() {
            1 => bail!("1 fault"),
            number => bail!("{number} faults"),
        }
    }
}
