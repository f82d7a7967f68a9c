//! Homebrew, on macOS and on Linux.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::cargo::{output, run};

/// The formula whose server is used. Homebrew keeps it beside other versions and links none of its programs.
pub(crate) const FORMULA: &str = "postgresql@17";

/// Installs the formula. Homebrew works in a directory of its owner's, without `sudo`.
pub(crate) fn install(brew: &Path) -> anyhow::Result<()> {
    let mut command = Command::new(brew);
    command
        .args(["install", FORMULA])
        .env("NONINTERACTIVE", "1")
        .stdin(Stdio::null());
    run(command)
}

/// Where the formula's programs are, or would be: Homebrew may live anywhere.
pub(crate) fn bin(brew: &Path) -> anyhow::Result<PathBuf> {
    let mut command = Command::new(brew);
    command.args(["--prefix", FORMULA]).stdin(Stdio::null());
    Ok(Path::new(output(command)?.trim()).join("bin"))
}
