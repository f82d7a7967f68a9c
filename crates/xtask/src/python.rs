//! Python programs that the tasks run: virtual environments under `target/tools`, made once from pinned requirements.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context as _;

use crate::cargo::{self, root};
use crate::install;
use crate::terminal::say;

/// What is said of an environment once everything is in it: what it was made from.
const STAMP: &str = "made-from";

/// A virtual environment with all that its requirements name, and nothing else.
pub(crate) struct Environment {
    directory: PathBuf,
}

impl Environment {
    /// The environment `target/tools/python-<name>` with what the file `requirements` names, a path from the
    /// repository's root. It is made anew when the file or the interpreter has changed.
    ///
    /// The file names every package with its exact version, the dependencies of dependencies too: nothing else is
    /// installed.
    pub(crate) fn ensure(name: &str, requirements: &str) -> anyhow::Result<Self> {
        install::ensure_program("python3", "python3")?;
        let file = root().join(requirements);
        let pinned =
            fs::read_to_string(&file).with_context(|| format!("{requirements} can't be read"))?;
        let directory = root().join("target/tools").join(format!("python-{name}"));
        let environment = Self { directory };
        let stamp = format!("{}\n{pinned}", interpreter()?);
        if environment.stamp().as_ref() != Some(&stamp) {
            say(format!(
                "Making the Python environment `{name}` in target/tools (a minute, once) …"
            ));
            environment.make(&file)?;
            fs::write(environment.directory.join(STAMP), stamp)?;
        }
        Ok(environment)
    }

    /// A program of a package in it.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.directory.join("bin").join(name)
    }

    fn stamp(&self) -> Option<String> {
        fs::read_to_string(self.directory.join(STAMP)).ok()
    }

    fn make(&self, requirements: &Path) -> anyhow::Result<()> {
        if !can_make_environments() {
            install::install_package("python3-venv", "Python's module `venv`")?;
        }
        drop(fs::remove_dir_all(&self.directory));
        let mut venv = Command::new("python3");
        cargo::run({
            venv.args(["-m", "venv"]).arg(&self.directory);
            venv
        })?;
        let mut install = self.pip();
        install
            .args(["install", "--quiet", "--no-deps", "--requirement"])
            .arg(requirements);
        cargo::run(install)?;
        // Says what the file has forgotten.
        let mut check = self.pip();
        check.arg("check");
        cargo::run(check)
    }

    fn pip(&self) -> Command {
        let mut pip = Command::new(self.program("python"));
        pip.args(["-m", "pip", "--disable-pip-version-check", "--no-input"]);
        pip
    }
}

/// Debian keeps a part of the module in a package of its own.
fn can_make_environments() -> bool {
    let mut probe = Command::new("python3");
    probe
        .args(["-c", "import venv, ensurepip"])
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    probe.status().is_ok_and(|status| status.success())
}

/// Which Python it is, and where: another one's packages would not load.
fn interpreter() -> anyhow::Result<String> {
    let mut python = Command::new("python3");
    python.args([
        "-c",
        "import sys; print(sys.version.split()[0], sys.executable)",
    ]);
    Ok(cargo::output(python)?.trim().to_owned())
}
