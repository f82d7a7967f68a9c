//! The archive for systems without Debian packages.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use super::{Stage, VERSION, epoch};
use crate::cargo::{root, run};

/// What is packed beside what the binary writes of itself: where it lies, and what it is called there.
const FILES: [(&str, &str); 5] = [
    ("LICENSE-MIT", "LICENSE-MIT"),
    ("LICENSE-APACHE", "LICENSE-APACHE"),
    ("docs/CHANGELOG.md", "CHANGELOG.md"),
    ("crates/server/packaging/deed.service", "deed.service"),
    ("crates/server/packaging/deed.env", "deed.env"),
];

/// Packs it into `directory`. The same sources give the same bytes.
pub(crate) fn write(stage: &Stage, bill: &Path, directory: &Path) -> anyhow::Result<()> {
    let name = format!("deed-{VERSION}-{}", stage.triple());
    let stage_root = stage
        .directory()
        .parent()
        .context("the stage has no parent")?;
    let inside = stage_root.join(&name);
    lay_out(stage, bill, &inside)?;
    let mut tar = Command::new("tar");
    tar.args(["--create", "--sort=name", "--owner=0", "--group=0"])
        .args(["--numeric-owner", "--mode=u=rwX,go=rX"])
        // gzip writes a time of its own otherwise.
        .arg("--use-compress-program=gzip --no-name")
        .arg(format!("--mtime=@{}", epoch()?))
        .arg("--file")
        .arg(directory.join(format!("{name}.tar.gz")))
        .arg("--directory")
        .arg(stage_root)
        .arg(&name);
    run(tar)?;
    fs::remove_dir_all(&inside)?;
    Ok(())
}

fn lay_out(stage: &Stage, bill: &Path, inside: &Path) -> anyhow::Result<()> {
    drop(fs::remove_dir_all(inside));
    fs::create_dir_all(inside)?;
    fs::copy(stage.binary(), inside.join("deed"))?;
    fs::copy(bill, inside.join("deed.cdx.json"))?;
    for (from, to) in FILES {
        fs::copy(root().join(from), inside.join(to))
            .with_context(|| format!("{from} can't be copied"))?;
    }
    for part in ["man", "completions"] {
        let to = inside.join(part);
        fs::create_dir_all(&to)?;
        for entry in fs::read_dir(stage.directory().join(part))? {
            let from: PathBuf = entry?.path();
            fs::copy(
                &from,
                to.join(from.file_name().context("a file has no name")?),
            )?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_exists() {
        for (file, _) in FILES {
            assert!(root().join(file).is_file(), "{file}");
        }
    }
}
