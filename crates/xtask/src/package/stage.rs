//! The files of a release, made before anything is packed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

use super::{Build, VERSION, epoch};
use crate::cargo::{cargo, output, root, run};
use crate::terminal::say;

/// The shells whose completions are packed.
pub(crate) const SHELLS: [&str; 3] = ["bash", "zsh", "fish"];

/// The binary and what it writes about itself: `deed`, `man/`, `completions/` and a Debian changelog, in a directory
/// that stands where cargo-deb expects `target/release`.
pub(crate) struct Stage {
    triple: String,
    directory: PathBuf,
    is_release: bool,
}

impl Stage {
    /// Builds the binary and asks it for its pages.
    pub(crate) fn build(build: &Build) -> anyhow::Result<Self> {
        let host = host()?;
        let triple = build.target.clone().unwrap_or_else(|| host.clone());
        let stage = Self {
            directory: root().join("target/package-stage/release"),
            triple,
            is_release: build.profile == "release",
        };
        drop(fs::remove_dir_all(&stage.directory));
        fs::create_dir_all(&stage.directory)?;
        let binary = compile(build)?;
        fs::copy(&binary, stage.binary())
            .with_context(|| format!("{} can't be copied", binary.display()))?;
        // The compiler's list of what it has read lies beside it.
        fs::copy(binary.with_extension("d"), stage.directory.join("deed.d"))?;
        if !stage.is_release {
            // Line tables are most of such a binary, and nobody debugs a package of it.
            let mut strip = Command::new("strip");
            strip.arg("--strip-debug").arg(stage.binary());
            run(strip)?;
        }
        stage.describe()?;
        Ok(stage)
    }

    /// The pages, completions and changelog. The binary has to run on this machine.
    fn describe(&self) -> anyhow::Result<()> {
        let pages = self.directory.join("man");
        let mut man = Command::new(self.binary());
        man.args(["man", "--directory"]).arg(&pages);
        run(man)?;
        for page in fs::read_dir(&pages)? {
            compress(&page?.path())?;
        }
        let completions = self.directory.join("completions");
        fs::create_dir_all(&completions)?;
        for shell in SHELLS {
            let mut print = Command::new(self.binary());
            print.args(["completions", shell]);
            let text = output(print)?;
            if text.trim().is_empty() {
                bail!("`deed completions {shell}` prints nothing");
            }
            fs::write(completions.join(format!("deed.{shell}")), text)?;
        }
        let mut date = Command::new("date");
        date.args(["--utc", "--rfc-email", "--date"])
            .arg(format!("@{}", epoch()?))
            .env("LC_ALL", "C");
        let file = self.directory.join("changelog.Debian");
        fs::write(&file, changelog(output(date)?.trim()))?;
        compress(&file)?;
        Ok(())
    }

    /// What the binary was built for.
    pub(crate) fn triple(&self) -> &str {
        &self.triple
    }

    /// Whether it is for others than tests.
    pub(crate) fn is_release(&self) -> bool {
        self.is_release
    }

    /// Where all of it lies.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The binary itself.
    pub(crate) fn binary(&self) -> PathBuf {
        self.directory.join("deed")
    }
}

/// Debian wants pages and changelogs compressed; without a time, the same sources give the same bytes.
fn compress(file: &Path) -> anyhow::Result<()> {
    let mut gzip = Command::new("gzip");
    gzip.args(["--no-name", "--best"]).arg(file);
    output(gzip).map(drop)
}

/// Builds the binary, and says where it is.
fn compile(build: &Build) -> anyhow::Result<PathBuf> {
    say(format!("Building `deed` (profile {}) …", build.profile));
    let mut command = cargo([
        "build",
        "--locked",
        "--package",
        "deed-server",
        "--bin",
        "deed",
    ]);
    command.args([
        "--profile",
        &build.profile,
        "--message-format",
        "json-render-diagnostics",
    ]);
    if let Some(target) = &build.target {
        command.args(["--target", target]);
    }
    executable(&output(command)?).context("cargo says of no program that it was built")
}

/// The program in cargo's messages: the only place that knows the target directory, the profile's name in it, and the rest.
fn executable(messages: &str) -> Option<PathBuf> {
    messages
        .lines()
        .rev()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .find_map(|message| Some(PathBuf::from(message.get("executable")?.as_str()?)))
}

/// What this machine is called.
fn host() -> anyhow::Result<String> {
    let mut rustc = Command::new("rustc");
    rustc.arg("-vV");
    let text = output(rustc)?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc names no host")?.to_owned())
}

/// In the form that Debian asks for; what has changed is told where everybody looks.
fn changelog(date: &str) -> String {
    format!(
        "deed ({VERSION}-1) unstable; urgency=medium\n\n  \
         * See /usr/share/doc/deed/changelog.gz.\n\n \
         -- The Deed authors <deed@localhost>  {date}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_says_where_the_program_is() {
        let messages = "\
{\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"serde\"},\"executable\":null}
not json
{\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"deed\"},\"executable\":\"/t/debug/deed\"}
{\"reason\":\"build-finished\",\"success\":true}
";
        assert_eq!(executable(messages), Some(PathBuf::from("/t/debug/deed")));
        assert_eq!(executable(""), None);
    }

    #[test]
    fn the_changelog_has_the_form_of_debians() {
        let text = changelog("Sun, 22 Nov 2026 10:00:00 +0000");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines.first().copied(),
            Some(format!("deed ({VERSION}-1) unstable; urgency=medium").as_str())
        );
        assert_eq!(
            lines.last().copied(),
            Some(" -- The Deed authors <deed@localhost>  Sun, 22 Nov 2026 10:00:00 +0000")
        );
        assert!(lines.contains(&"  * See /usr/share/doc/deed/changelog.gz."));
    }
}
