//! Running cargo, and other programs, from the repository's root.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

use crate::environment;
use crate::terminal::say;

/// The repository's root, which this crate was built in.
pub(crate) fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here)
}

/// A cargo command in the root.
pub(crate) fn cargo<I: AsRef<OsStr>>(arguments: impl IntoIterator<Item = I>) -> Command {
    let mut command = Command::new(environment::cargo());
    command.args(arguments).current_dir(root());
    command
}

/// Says what is run, runs it with its output on the terminal, and fails if it does.
pub(crate) fn run(mut command: Command) -> anyhow::Result<()> {
    let line = line_of(&command);
    say(format!("$ {line}"));
    let status = command
        .status()
        .with_context(|| format!("`{line}` can't be run"))?;
    if !status.success() {
        bail!("`{line}` failed ({status})");
    }
    Ok(())
}

/// Runs a command, its progress on the terminal, and answers what it prints.
pub(crate) fn output(mut command: Command) -> anyhow::Result<String> {
    let line = line_of(&command);
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("`{line}` can't be run"))?;
    if !output.status.success() {
        bail!("`{line}` failed ({})", output.status);
    }
    String::from_utf8(output.stdout)
        .with_context(|| format!("`{line}` printed something that is not UTF-8"))
}

fn line_of(command: &Command) -> String {
    let program = Path::new(command.get_program())
        .file_name()
        .unwrap_or(command.get_program());
    let words: Vec<_> = std::iter::once(program)
        .chain(command.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    words.join(" ")
}

/// The program of this name in a directory of `PATH`.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    program_in(&environment::path(), name)
}

/// The program of this name in a directory of `path`.
pub(crate) fn program_in(path: &OsStr, name: &str) -> Option<PathBuf> {
    std::env::split_paths(path)
        .map(|directory| directory.join(name))
        .find(|file| file.is_file())
}
