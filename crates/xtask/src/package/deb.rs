//! The Debian package, made by cargo-deb from what `crates/server/Cargo.toml` says.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

use super::{Stage, epoch};
use crate::cargo::{root, run};
use crate::install;
use crate::tools::Tool;

const DEB: Tool = Tool {
    name: "cargo-deb",
    version: "3.8.0",
    is_bare: true,
};

/// Packs it into `directory`, and answers the file.
pub(crate) fn write(stage: &Stage, directory: &Path) -> anyhow::Result<PathBuf> {
    // It finds out which libraries the binary needs, and which packages they are in.
    install::ensure_program("dpkg-shlibdeps", "dpkg-dev")?;
    let target_directory = stage
        .directory()
        .parent()
        .context("the stage has no parent")?;
    let mut deb = Command::new(DEB.ensure()?);
    deb.args(["--no-build", "--no-strip", "--locked", "--manifest-path"])
        .arg(root().join("crates/server/Cargo.toml"))
        .arg("--output")
        .arg(directory)
        .current_dir(root())
        .env("CARGO_TARGET_DIR", target_directory)
        .env("SOURCE_DATE_EPOCH", epoch()?);
    if !stage.is_release() {
        // Nobody downloads it.
        deb.arg("--fast");
    }
    run(deb)?;
    let mut packages = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "deb") {
            packages.push(path);
        }
    }
    match <[PathBuf; 1]>::try_from(packages) {
        Ok([package]) => Ok(package),
        Err(packages) => bail!("cargo-deb has made {} packages", packages.len()),
    }
}
