//! A small Debian in a directory.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context as _, bail};

use crate::cargo::run;
use crate::terminal::say;

/// Where the system's own release is named.
const OS_RELEASE: &str = "/etc/os-release";
/// What the package depends on, and the proxies that it is tried behind.
const PACKAGES: [&str; 4] = ["adduser", "caddy", "haproxy", "nginx-light"];
/// What installing and removing any package changes.
const LOG_BOOKS: [&str; 9] = [
    "/var/lib/dpkg/",
    "/var/log/",
    "/var/cache/",
    "/etc/passwd-",
    "/etc/group-",
    "/etc/shadow-",
    "/etc/gshadow-",
    "/etc/subuid-",
    "/etc/subgid-",
];

/// The system in a directory, which is deleted with this.
pub(super) struct Chroot {
    directory: PathBuf,
}

impl Chroot {
    /// A fresh one, of the release that this machine runs, so that its libraries are those that the binary was built with.
    ///
    /// It is made once, by debootstrap; afterwards it is unpacked from an archive in `cache`.
    pub(super) fn fresh(cache: &Path) -> anyhow::Result<Self> {
        let release = fs::read_to_string(OS_RELEASE)?;
        let suite = field(&release, "VERSION_CODENAME")?;
        let archive = cache.join(format!("{suite}.tar"));
        if !archive.is_file() {
            bootstrap(&suite, components(&release), cache, &archive)?;
        }
        let directory = cache.join("root");
        drop(fs::remove_dir_all(&directory));
        fs::create_dir_all(&directory)?;
        let chroot = Self { directory };
        unpack(&archive, &chroot.directory)?;
        Ok(chroot)
    }

    /// A path of its own, as this machine sees it.
    pub(super) fn path(&self, inside: &str) -> PathBuf {
        self.directory.join(inside.trim_start_matches('/'))
    }

    /// A command in it, with an environment of its own, run as `user`.
    pub(super) fn command(&self, user: &str, words: &[&str]) -> Command {
        let mut command = Command::new("chroot");
        command
            .arg(format!("--userspec={user}"))
            .arg(&self.directory)
            .args(words)
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .env("LC_ALL", "C")
            .env("HOME", "/root")
            .env("DEBIAN_FRONTEND", "noninteractive");
        command
    }

    /// Runs it as root to its end, successful or not.
    pub(super) fn try_run(&self, words: &[&str]) -> anyhow::Result<Output> {
        self.command("root:root", words)
            .output()
            .with_context(|| format!("{words:?} can't be run"))
    }

    /// Runs it as root, and answers what it prints.
    pub(super) fn run(&self, words: &[&str]) -> anyhow::Result<String> {
        text(words, self.try_run(words)?)
    }

    /// The paths of all its files and directories, but for what every change of packages touches.
    pub(super) fn files(&self) -> anyhow::Result<BTreeSet<String>> {
        let mut found = BTreeSet::new();
        let mut directories = vec![self.directory.clone()];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(&directory)? {
                let entry = entry?;
                let path = entry.path();
                if entry.file_type()?.is_dir() {
                    directories.push(path.clone());
                }
                let inside = format!("/{}", path.strip_prefix(&self.directory)?.display());
                if !LOG_BOOKS.iter().any(|start| inside.starts_with(start)) {
                    found.insert(inside);
                }
            }
        }
        Ok(found)
    }
}

impl Drop for Chroot {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.directory));
    }
}

/// What a command that succeeded has printed.
pub(super) fn text(words: &[&str], output: Output) -> anyhow::Result<String> {
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if !output.status.success() {
        bail!(
            "`{}` in the chroot failed ({}):\n{}{}",
            words.join(" "),
            output.status,
            said(&output.stdout),
            said(&output.stderr)
        );
    }
    Ok(said(&output.stdout))
}

fn bootstrap(suite: &str, components: &str, cache: &Path, archive: &Path) -> anyhow::Result<()> {
    say(format!(
        "Making a small system of {suite} for the chroot (about a minute, once) …"
    ));
    let directory = cache.join("bootstrap");
    drop(fs::remove_dir_all(&directory));
    let mut debootstrap = Command::new("debootstrap");
    debootstrap
        .args(["--variant=minbase", components])
        .arg(format!("--include={}", PACKAGES.join(",")))
        .arg(suite)
        .arg(&directory);
    run(debootstrap)?;
    drop(fs::remove_dir_all(directory.join("var/cache/apt/archives")));
    // Packed beside its place and moved there, so that an interrupted one is no archive.
    let unfinished = archive.with_extension("unfinished");
    let mut tar = Command::new("tar");
    tar.args(["--create", "--numeric-owner", "--file"])
        .arg(&unfinished)
        .arg("--directory")
        .arg(&directory)
        .arg(".");
    run(tar)?;
    fs::rename(&unfinished, archive)?;
    fs::remove_dir_all(&directory)?;
    Ok(())
}

fn unpack(archive: &Path, directory: &Path) -> anyhow::Result<()> {
    let mut tar = Command::new("tar");
    tar.args([
        "--extract",
        "--numeric-owner",
        "--preserve-permissions",
        "--file",
    ])
    .arg(archive)
    .arg("--directory")
    .arg(directory);
    run(tar)
}

/// A value of the file, such as `bookworm` of `VERSION_CODENAME`.
fn field(os_release: &str, name: &str) -> anyhow::Result<String> {
    let start = format!("{name}=");
    let value = os_release
        .lines()
        .find_map(|line| line.strip_prefix(&start))
        .map(|value| value.trim_matches('"').to_owned());
    value.filter(|value| !value.is_empty()).with_context(|| {
        format!("{OS_RELEASE} has no {name}, so debootstrap does not know this system")
    })
}

/// Where the packages are: Ubuntu keeps the proxies apart.
fn components(os_release: &str) -> &'static str {
    match field(os_release, "ID").as_deref() {
        Ok("ubuntu") => "--components=main,universe",
        _ => "--components=main",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_is_that_of_this_machine() {
        let debian = "PRETTY_NAME=\"Debian\"\nVERSION_CODENAME=bookworm\nID=debian\n";
        let suite = |text| field(text, "VERSION_CODENAME");
        assert_eq!(suite(debian).unwrap(), "bookworm");
        assert_eq!(components(debian), "--components=main");
        let ubuntu = "ID=ubuntu\nVERSION_CODENAME=\"noble\"\n";
        assert_eq!(suite(ubuntu).unwrap(), "noble");
        assert!(components(ubuntu).contains("universe"));
        assert!(suite("ID=arch\n").is_err());
    }

    #[test]
    fn files_are_listed_without_the_log_books() {
        let directory = tempfile::tempdir().unwrap();
        for file in [
            "etc/deed/deed.env",
            "var/lib/dpkg/status",
            "var/log/dpkg.log",
            "etc/passwd-",
        ] {
            let path = directory.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let chroot = Chroot {
            directory: directory.path().to_owned(),
        };
        let files = chroot.files().unwrap();
        assert!(files.contains("/etc/deed/deed.env") && files.contains("/etc/deed"));
        assert!(
            !files
                .iter()
                .any(|file| file.ends_with("status") || file.ends_with(".log"))
        );
        assert!(!files.contains("/etc/passwd-"));
    }
}
