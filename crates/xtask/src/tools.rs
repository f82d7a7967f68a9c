//! Programs that the tasks need and that cargo can build, kept in `target/tools`.

use std::fs;
use std::path::{Path, PathBuf};

use crate::cargo::{self, program, root};
use crate::terminal::say;

/// A program of a package of the same name.
pub(crate) struct Tool {
    /// The package and its program.
    pub(crate) name: &'static str,
    /// The version that is built where there is none.
    pub(crate) version: &'static str,
    /// Without the package's default features.
    pub(crate) is_bare: bool,
}

impl Tool {
    /// The program from `PATH`, else the one in `target/tools`, which is built the first time.
    pub(crate) fn ensure(&self) -> anyhow::Result<PathBuf> {
        if let Some(found) = program(self.name) {
            return Ok(found);
        }
        let tools = root().join("target/tools");
        let file = tools.join("bin").join(self.name);
        if !file.is_file() {
            self.build(&tools)?;
        }
        Ok(file)
    }

    fn build(&self, tools: &Path) -> anyhow::Result<()> {
        let Self {
            name,
            version,
            is_bare,
        } = self;
        say(format!(
            "Installing {name} {version} in target/tools (some minutes, once) …"
        ));
        fs::create_dir_all(tools)?;
        // Not optimised: it builds in a third of the time and takes seconds to run either way.
        let mut command = cargo::cargo([
            "install",
            name,
            "--version",
            version,
            "--locked",
            "--debug",
            "--root",
        ]);
        let build = tools.join(format!("build-{name}"));
        command.arg(tools).env("CARGO_TARGET_DIR", &build);
        if *is_bare {
            command.arg("--no-default-features");
        }
        cargo::run(command)?;
        drop(fs::remove_dir_all(build));
        Ok(())
    }
}
