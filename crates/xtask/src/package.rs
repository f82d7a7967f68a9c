//! `cargo xtask package`: what is released, in `target/package`.

mod deb;
mod sbom;
mod stage;
mod tarball;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, bail};
use sha2::{Digest as _, Sha256};

use crate::cargo::root;
use crate::terminal::say;

pub(crate) use stage::Stage;

/// The version of every package of the workspace.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
const SUMS: &str = "SHA256SUMS";

/// What is built, and for what.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Build {
    /// Cargo's profile.
    pub(crate) profile: String,
    /// The target's name where it is another than the machine's own.
    pub(crate) target: Option<String>,
}

impl Build {
    fn parse(arguments: &[String]) -> anyhow::Result<Self> {
        let mut build = Self {
            profile: "release".to_owned(),
            target: None,
        };
        let mut arguments = arguments.iter();
        while let Some(name) = arguments.next() {
            let value = arguments
                .next()
                .with_context(|| format!("`{name}` needs a value"))?;
            match name.as_str() {
                "--profile" => build.profile.clone_from(value),
                "--target" => build.target = Some(value.clone()),
                _ => bail!("`package` takes --profile NAME and --target TRIPLE, not `{name}`"),
            }
        }
        Ok(build)
    }
}

pub(crate) fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let build = Build::parse(arguments)?;
    let directory = root().join("target/package");
    drop(fs::remove_dir_all(&directory));
    fs::create_dir_all(&directory)?;
    let stage = Stage::build(&build)?;
    let bill = directory.join(format!("deed-{VERSION}.cdx.json"));
    sbom::write(stage.triple(), &bill)?;
    deb::write(&stage, &directory)?;
    tarball::write(&stage, &bill, &directory)?;
    let sums = sums(&directory)?;
    fs::write(directory.join(SUMS), &sums)?;
    say(format!("\nIn {}:\n\n{sums}", directory.display()));
    Ok(ExitCode::SUCCESS)
}

/// The Debian package alone, of `build`.
pub(crate) fn deb(build: &Build, directory: &Path) -> anyhow::Result<PathBuf> {
    drop(fs::remove_dir_all(directory));
    fs::create_dir_all(directory)?;
    deb::write(&Stage::build(build)?, directory)
}

/// When the sources were last changed, in seconds since 1970: the time of every packed file, so that the same sources
/// give the same package.
fn epoch() -> anyhow::Result<String> {
    let log = Command::new("git")
        .args(["log", "-1", "--format=%ct"])
        .current_dir(root())
        .stdin(Stdio::null())
        .output()?;
    let time = String::from_utf8(log.stdout)?.trim().to_owned();
    // Where there is no history, one day is as good as another.
    Ok(if time.is_empty() {
        "1767225600".to_owned()
    } else {
        time
    })
}

/// A line for each file of `directory`, as `sha256sum` writes it.
fn sums(directory: &Path) -> anyhow::Result<String> {
    let mut names: Vec<String> = Vec::new();
    for entry in fs::read_dir(directory)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    let mut sums = String::new();
    for name in names.iter().filter(|name| *name != SUMS) {
        let digest = Sha256::digest(fs::read(directory.join(name))?);
        for byte in digest {
            sums.push_str(&format!("{byte:02x}"));
        }
        sums.push_str(&format!("  {name}\n"));
    }
    Ok(sums)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> anyhow::Result<Build> {
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        Build::parse(&arguments)
    }

    #[test]
    fn a_release_is_for_this_machine_unless_said_otherwise() {
        let build = parse(&[]).unwrap();
        assert_eq!((build.profile.as_str(), build.target), ("release", None));
        let build = parse(&["--target", "x86_64-unknown-linux-musl", "--profile", "dev"]).unwrap();
        assert_eq!(
            (build.profile.as_str(), build.target.as_deref()),
            ("dev", Some("x86_64-unknown-linux-musl"))
        );
        assert!(parse(&["--profile"]).is_err());
        assert!(parse(&["--speed", "high"]).is_err());
    }

    #[test]
    fn sums_are_those_of_sha256sum() {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in [("b", "abc"), ("a", ""), (SUMS, "old")] {
            fs::write(directory.path().join(name), text).unwrap();
        }
        // The two examples are those of FIPS 180-4.
        let expected = "\
e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  a
ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  b
";
        assert_eq!(sums(directory.path()).unwrap(), expected);
    }
}
