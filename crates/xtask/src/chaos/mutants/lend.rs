//! Lends what is built of other people's packages to another target directory, where cargo finds it as if it had built it
//! there: some hundred packages take minutes.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::Path;

use anyhow::Context as _;

use crate::cargo::root;
use crate::tidy::edges;

/// Where cargo keeps what tells whether something is up to date, what build scripts have made, and what is compiled.
const FINGERPRINTS: &str = ".fingerprint";
const SCRIPTS: &str = "build";
const COMPILED: &str = "deps";

/// Lends everything but this workspace's own, unless that was done before.
pub(super) fn dependencies(workspace: &Path, to: &Path) -> anyhow::Result<()> {
    let own = edges::members(workspace)?;
    lend(&root().join("target/debug"), to, &own)
}

fn lend(from: &Path, to: &Path, own: &BTreeSet<String>) -> anyhow::Result<()> {
    if to.exists() {
        return Ok(());
    }
    // Half of it is as good as all: what is missing is built.
    for directory in [FINGERPRINTS, SCRIPTS] {
        for unit in fs::read_dir(from.join(directory)).context("nothing is built")? {
            let unit = unit?;
            let name = unit.file_name().to_string_lossy().into_owned();
            let is_own = name
                .rsplit_once('-')
                .is_some_and(|(package, _)| own.contains(package));
            if !is_own && unit.file_type()?.is_dir() {
                copy(&unit.path(), &to.join(directory).join(name))?;
            }
        }
    }
    let own: BTreeSet<String> = own.iter().map(|name| name.replace('-', "_")).collect();
    fs::create_dir_all(to.join(COMPILED))?;
    for file in fs::read_dir(from.join(COMPILED))? {
        let file = file?;
        let name = file.file_name().to_string_lossy().into_owned();
        let package = name
            .strip_prefix("lib")
            .and_then(|rest| rest.rsplit_once('-'));
        if package.is_some_and(|(package, _)| !own.contains(package)) {
            let copy = to.join(COMPILED).join(name);
            // The compiler never writes into a file that is there, but puts another one in its place.
            if fs::hard_link(file.path(), &copy).is_err() {
                copy_file(&file.path(), &copy)?;
            }
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy(&entry.path(), &to)?,
            false => copy_file(&entry.path(), &to)?,
        }
    }
    Ok(())
}

/// Copies with the time of the last change, which is what cargo goes by.
fn copy_file(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::copy(from, to).with_context(|| format!("{} can't be copied", from.display()))?;
    let changed = fs::metadata(from)?.modified()?;
    File::options()
        .append(true)
        .open(to)?
        .set_modified(changed)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ones_own_stays_and_the_rest_keeps_its_time() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let files = [
            ".fingerprint/serde-0a/lib-serde",
            ".fingerprint/deed-domain-0b/lib-deed_domain",
            "build/serde-0a/out/made.rs",
            "deps/libserde_core-0a.rlib",
            "deps/libdeed_domain-0b.rlib",
        ];
        for file in files {
            let path = from.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, file).unwrap();
        }
        let own = BTreeSet::from(["deed-domain".to_owned()]);
        let target = to.path().join("debug");
        lend(from.path(), &target, &own).unwrap();
        for file in files {
            let is_own = file.contains("deed");
            assert_eq!(target.join(file).exists(), !is_own, "{file}");
        }
        let time = |file: &Path| fs::metadata(file).unwrap().modified().unwrap();
        let file = "build/serde-0a/out/made.rs";
        assert_eq!(time(&target.join(file)), time(&from.path().join(file)));
        // What is there is not touched any more.
        fs::remove_file(target.join(file)).unwrap();
        lend(from.path(), &target, &own).unwrap();
        assert!(!target.join(file).exists());
    }
}
