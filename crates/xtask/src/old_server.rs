//! The server of the first working day, built from the repository's history: what upgrades start from.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, bail};

use crate::cargo::{cargo, root, run};
use crate::terminal::say;

/// The last commit of the first working day.
const COMMIT: &str = "86fca1c259f4c21a69beb2ed85cea2a1d8d4a6e2";

/// Whether there is an old server to upgrade from.
pub(crate) enum Old {
    /// Its binary.
    Built(PathBuf),
    /// Why there is none.
    LeftOut(String),
}

/// Builds it, unless an earlier call has.
pub(crate) fn ensure() -> anyhow::Result<Old> {
    ensure_in(root(), &root().join("target/upgrade"), COMMIT, build)
}

fn ensure_in(
    repository: &Path,
    directory: &Path,
    commit: &str,
    build: impl FnOnce(&Path, &Path) -> anyhow::Result<PathBuf>,
) -> anyhow::Result<Old> {
    let short: String = commit.chars().take(7).collect();
    let binary = directory.join(format!("deed-{short}"));
    if binary.is_file() {
        return Ok(Old::Built(binary));
    }
    if !has_commit(repository, commit) {
        return Ok(Old::LeftOut(format!(
            "this clone's history does not hold the commit {short}; `git fetch --unshallow` brings it"
        )));
    }
    say(format!(
        "Building the server of {short}, which the upgrade test starts from (some minutes, once) …"
    ));
    let began = Instant::now();
    let source = directory.join("source");
    extract(repository, commit, &source)?;
    let target = directory.join("build");
    let built = build(&source, &target)?;
    // Copied beside its place and moved there, so that an interrupted copy is no binary.
    let unfinished = directory.join("deed.unfinished");
    fs::copy(&built, &unfinished)
        .with_context(|| format!("{} can't be copied", built.display()))?;
    fs::rename(&unfinished, &binary)?;
    for directory in [source, target] {
        drop(fs::remove_dir_all(directory));
    }
    say(format!(
        "Built it in {} s: {}",
        began.elapsed().as_secs(),
        binary.display()
    ));
    Ok(Old::Built(binary))
}

fn has_commit(repository: &Path, commit: &str) -> bool {
    let mut git = Command::new("git");
    git.args(["cat-file", "-e", &format!("{commit}^{{commit}}")])
        .current_dir(repository)
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    git.status().is_ok_and(|status| status.success())
}

/// The files of `commit`, in `directory`.
fn extract(repository: &Path, commit: &str, directory: &Path) -> anyhow::Result<()> {
    drop(fs::remove_dir_all(directory));
    fs::create_dir_all(directory)?;
    let mut git = Command::new("git")
        .args(["archive", "--format=tar", commit])
        .current_dir(repository)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("git can't be run")?;
    let archive = git.stdout.take().context("git has no output")?;
    let mut tar = Command::new("tar");
    tar.arg("--extract").arg("--directory").arg(directory);
    let extracted = run(tar_from(tar, archive));
    let archived = git.wait()?;
    if !archived.success() {
        bail!("`git archive {commit}` failed ({archived})");
    }
    extracted
}

fn tar_from(mut tar: Command, archive: std::process::ChildStdout) -> Command {
    tar.stdin(archive);
    tar
}

/// Builds the binary alone, without what a debugger wants, and answers where it is.
fn build(source: &Path, target: &Path) -> anyhow::Result<PathBuf> {
    let mut command = cargo([
        "build",
        "--locked",
        "--package",
        "deed-server",
        "--bin",
        "deed",
    ]);
    command
        .current_dir(source)
        .env("CARGO_TARGET_DIR", target)
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .env("CARGO_INCREMENTAL", "0");
    run(command)?;
    Ok(target.join("debug/deed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn git(directory: &Path, arguments: &[&str]) -> String {
        let output = Command::new("git")
            .args(["-c", "user.name=a", "-c", "user.email=a@example.com"])
            .args(arguments)
            .current_dir(directory)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// A repository with two commits, and the first one's id.
    fn repository() -> (tempfile::TempDir, String) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        git(path, &["init", "--quiet"]);
        let mut first = String::new();
        for text in ["old", "new"] {
            fs::write(path.join("file"), text).unwrap();
            git(path, &["add", "file"]);
            git(path, &["commit", "--quiet", "--message", text]);
            if first.is_empty() {
                first = git(path, &["rev-parse", "HEAD"]);
            }
        }
        (directory, first)
    }

    #[test]
    fn the_old_sources_are_built_once() {
        let (repository, commit) = repository();
        let directory = tempfile::tempdir().unwrap();
        let built = ensure_in(
            repository.path(),
            directory.path(),
            &commit,
            |source, target| {
                fs::create_dir_all(target)?;
                fs::copy(source.join("file"), target.join("deed"))?;
                Ok(target.join("deed"))
            },
        );
        let Ok(Old::Built(binary)) = built else {
            panic!("not built")
        };
        assert_eq!(fs::read_to_string(&binary).unwrap(), "old");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        let again = ensure_in(repository.path(), directory.path(), &commit, |_, _| {
            bail!("built a second time")
        });
        assert!(matches!(again, Ok(Old::Built(path)) if path == binary));
    }

    #[test]
    fn without_the_history_it_is_said_why_it_is_left_out() {
        let (repository, _) = repository();
        let directory = tempfile::tempdir().unwrap();
        let absent = "0123456789012345678901234567890123456789";
        let left_out = ensure_in(repository.path(), directory.path(), absent, |_, _| {
            bail!("built from nothing")
        });
        let Ok(Old::LeftOut(reason)) = left_out else {
            panic!("not left out")
        };
        assert!(
            reason.contains("0123456") && reason.contains("unshallow"),
            "{reason}"
        );
    }
}
