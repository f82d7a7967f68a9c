//! Node programs that the tasks run: packages under `target/tools`, installed once from lock files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use crate::cargo::{self, root};
use crate::install;
use crate::terminal::say;

/// What npm reads.
const MANIFEST: &str = "package.json";
const LOCK: &str = "package-lock.json";
/// What is said of a directory once everything is in it: the lock file that it was installed from.
const STAMP: &str = "installed-from.json";

/// Installed packages.
pub(crate) struct Packages {
    directory: PathBuf,
}

impl Packages {
    /// The packages of `package.json` and `package-lock.json` in `source`, a directory as a path from the repository's
    /// root, installed in `target/tools/node-<name>` by `npm ci`, without their install scripts. They are installed
    /// anew when the lock file has changed.
    pub(crate) fn ensure(name: &str, source: &str) -> anyhow::Result<Self> {
        install::ensure_program("node", "nodejs")?;
        install::ensure_program("npm", "npm")?;
        let source = root().join(source);
        let lock = read(&source.join(LOCK))?;
        let directory = root().join("target/tools").join(format!("node-{name}"));
        let stamp = directory.join(STAMP);
        if fs::read_to_string(&stamp).ok().as_ref() != Some(&lock) {
            say(format!(
                "Installing the npm packages `{name}` in target/tools (a minute, once) …"
            ));
            fs::create_dir_all(&directory)?;
            fs::write(directory.join(MANIFEST), read(&source.join(MANIFEST))?)?;
            fs::write(directory.join(LOCK), &lock)?;
            let mut npm = Command::new("npm");
            npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
                .args(["--loglevel", "error"])
                .current_dir(&directory);
            cargo::run(npm)?;
            fs::write(stamp, lock)?;
        }
        Ok(Self { directory })
    }

    /// A program of one of the packages.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.directory.join("node_modules/.bin").join(name)
    }

    /// Where they lie: a script that imports them has to be copied here, as that is where Node looks.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }
}

fn read(file: &Path) -> anyhow::Result<String> {
    fs::read_to_string(file).with_context(|| format!("{} can't be read", file.display()))
}
