//! Lists the migrations, so that the binary carries them, and is built anew when one comes.

#![forbid(unsafe_code)]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

fn main() -> io::Result<()> {
    let migrations = directory("CARGO_MANIFEST_DIR").join("../../migrations");
    let migrations = migrations.canonicalize()?;
    tell(&format!("rerun-if-changed={}", migrations.display()));
    let mut names = Vec::new();
    for entry in fs::read_dir(&migrations)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    fs::write(
        directory("OUT_DIR").join("migrations.rs"),
        list(&migrations, &names),
    )
}

/// The list as an expression of Rust.
fn list(directory: &Path, names: &[String]) -> String {
    let mut list = "&[\n".to_owned();
    for name in names {
        let file = |way: &str| directory.join(name).join(way);
        let (up, down) = (file("up.sql"), file("down.sql"));
        // Writing to a string can't fail.
        let _ = writeln!(
            list,
            "    Migration {{ name: {name:?}, up: include_str!({up:?}), down: include_str!({down:?}) }},"
        );
    }
    list.push(']');
    list
}

fn tell(what: &str) {
    println!("cargo::{what}");
}

#[expect(
    clippy::disallowed_methods,
    reason = "cargo speaks to a build script through the environment"
)]
fn directory(variable: &str) -> PathBuf {
    std::env::var_os(variable).unwrap_or_default().into()
}
