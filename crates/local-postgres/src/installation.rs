//! Which PostgreSQL server is installed, and where.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::FindError;

/// The oldest major version that is accepted.
pub const OLDEST_MAJOR: u32 = 15;

/// An installed PostgreSQL server: the directory of its programs, and its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installation {
    bin: PathBuf,
    major: u32,
}

impl Installation {
    /// Finds an installed server.
    ///
    /// `explicit_bin` is the only place looked at when it is given. Else these are, and the first that holds a server of
    /// version [`OLDEST_MAJOR`] or newer wins: what `pg_config --bindir` answers, the directories of `PATH`, and the newest
    /// of the places where packages install servers.
    ///
    /// # Errors
    /// [`FindError`] says where was looked, or what is wrong with what was found.
    pub fn find(explicit_bin: Option<&Path>) -> Result<Self, FindError> {
        if let Some(bin) = explicit_bin {
            return Self::explicit(bin);
        }
        Self::first_usable(
            pg_config()
                .into_iter()
                .chain(search_path())
                .chain(packaged(Path::new("/"))),
        )
    }

    fn explicit(bin: &Path) -> Result<Self, FindError> {
        match Self::at(bin) {
            Ok(found) if found.major < OLDEST_MAJOR => Err(FindError::TooOld {
                bin: found.bin,
                major: found.major,
            }),
            Ok(found) => Ok(found),
            Err(reason) => Err(FindError::Unusable {
                bin: bin.to_owned(),
                reason,
            }),
        }
    }

    fn first_usable(candidates: impl Iterator<Item = PathBuf>) -> Result<Self, FindError> {
        let mut seen = BTreeSet::new();
        let mut too_old: Option<Self> = None;
        for bin in candidates {
            if !seen.insert(bin.clone()) {
                continue;
            }
            match Self::at(&bin) {
                Ok(found) if found.major >= OLDEST_MAJOR => return Ok(found),
                Ok(found) if too_old.as_ref().is_none_or(|old| old.major < found.major) => {
                    too_old = Some(found)
                }
                _ => {}
            }
        }
        Err(match too_old {
            Some(old) => FindError::TooOld {
                bin: old.bin,
                major: old.major,
            },
            None => FindError::NotFound {
                looked_at: LOOKED_AT.iter().map(ToString::to_string).collect(),
            },
        })
    }

    /// The installation whose programs lie in `bin`, or what is wrong with it.
    fn at(bin: &Path) -> Result<Self, String> {
        for program in ["postgres", "initdb"] {
            if !bin.join(program).is_file() {
                return Err(format!("there is no program `{program}` in it"));
            }
        }
        let postgres = bin.join("postgres");
        let output = Command::new(&postgres)
            .arg("--version")
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("{} cannot be run: {error}", postgres.display()))?;
        let answer = String::from_utf8_lossy(&output.stdout);
        let major = major_version(&answer).ok_or_else(|| {
            format!(
                "{} --version answered {:?}",
                postgres.display(),
                answer.trim()
            )
        })?;
        Ok(Self {
            bin: bin.to_owned(),
            major,
        })
    }

    /// The directory of the programs (`postgres`, `initdb`, …).
    #[must_use]
    pub fn bin(&self) -> &Path {
        &self.bin
    }

    /// The major version: 17 for 17.2.
    #[must_use]
    pub fn major(&self) -> u32 {
        self.major
    }
}

const LOOKED_AT: [&str; 5] = [
    "pg_config --bindir",
    "PATH",
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "Homebrew's opt/postgresql@*/bin",
];

/// The major version in the answer of `postgres --version`, such as `postgres (PostgreSQL) 17.2 (Debian 17.2-1)`.
fn major_version(answer: &str) -> Option<u32> {
    let version = answer.split("(PostgreSQL)").nth(1)?.trim_start();
    let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// What `pg_config` says. It comes with the client library's headers too, so the directory may hold no server.
fn pg_config() -> Option<PathBuf> {
    let output = Command::new("pg_config")
        .arg("--bindir")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let answer = String::from_utf8(output.stdout).ok()?;
    let bin = answer.trim();
    (output.status.success() && !bin.is_empty()).then(|| PathBuf::from(bin))
}

/// The directories of `PATH` that have a `postgres`, links followed: `initdb` lies beside the real program.
#[expect(
    clippy::disallowed_methods,
    reason = "PATH says where programs are; no setting of a program is read here"
)]
fn search_path() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .filter_map(|directory| fs::canonicalize(directory.join("postgres")).ok())
        .filter_map(|program| program.parent().map(Path::to_owned))
        .collect()
}

/// Where packages put servers under `root`, newest version first.
fn packaged(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for (parent, prefix, suffix) in [
        ("usr/lib/postgresql", "", "bin"),
        ("usr", "pgsql-", "bin"),
        ("opt/homebrew/opt", "postgresql@", "bin"),
        ("usr/local/opt", "postgresql@", "bin"),
        ("home/linuxbrew/.linuxbrew/opt", "postgresql@", "bin"),
    ] {
        let Ok(entries) = fs::read_dir(root.join(parent)) else {
            continue;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let version = name
                .to_str()
                .and_then(|name| name.strip_prefix(prefix))
                .and_then(|v| v.parse::<u32>().ok());
            if let Some(version) = version {
                found.push((version, entry.path().join(suffix)));
            }
        }
    }
    found.sort_by(|(left, _), (right, _)| right.cmp(left));
    found.into_iter().map(|(_, bin)| bin).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory with a `postgres` that says this version, and an `initdb`.
    fn pretend(bin: &Path, version: &str) {
        fs::create_dir_all(bin).unwrap();
        for (program, text) in [
            (
                "postgres",
                format!("echo 'postgres (PostgreSQL) {version}'"),
            ),
            ("initdb", String::new()),
        ] {
            // Written by another process: a program that is open for writing can't be run, and what this one has open, its
            // other tests' children have open too until they have become another program.
            let write = r#"printf '#!/bin/sh\n%s\n' "$1" >"$2" && chmod 755 "$2""#;
            let status = Command::new("sh")
                .args(["-c", write, "sh", &text])
                .arg(bin.join(program))
                .status()
                .unwrap();
            assert!(status.success(), "{status}");
        }
    }

    #[test]
    fn reads_the_major_version() {
        for (answer, expected) in [
            (
                "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n",
                Some(15),
            ),
            ("postgres (PostgreSQL) 18beta1\n", Some(18)),
            ("postgres (PostgreSQL) 19devel\n", Some(19)),
            ("postgres (PostgreSQL) 9.6.24\n", Some(9)),
            ("EDB Postgres 15\n", None),
            ("postgres (PostgreSQL) \n", None),
            ("", None),
        ] {
            assert_eq!(major_version(answer), expected, "{answer:?}");
        }
    }

    #[test]
    fn lists_the_newest_package_first() {
        let root = tempfile::tempdir().unwrap();
        for directory in [
            "usr/lib/postgresql/9",
            "usr/lib/postgresql/15",
            "usr/pgsql-17",
            "opt/homebrew/opt/postgresql@16",
            "usr/local/opt/postgresql@14",
            "home/linuxbrew/.linuxbrew/opt/postgresql@18",
        ] {
            fs::create_dir_all(root.path().join(directory)).unwrap();
        }
        fs::create_dir_all(root.path().join("usr/lib/postgresql/common")).unwrap();
        let found: Vec<_> = packaged(root.path())
            .into_iter()
            .map(|bin| bin.strip_prefix(root.path()).unwrap().to_owned())
            .collect();
        let expected = [
            "home/linuxbrew/.linuxbrew/opt/postgresql@18/bin",
            "usr/pgsql-17/bin",
            "opt/homebrew/opt/postgresql@16/bin",
            "usr/lib/postgresql/15/bin",
            "usr/local/opt/postgresql@14/bin",
            "usr/lib/postgresql/9/bin",
        ];
        assert_eq!(found, expected.map(PathBuf::from));
    }

    #[test]
    fn passes_over_what_is_too_old_or_no_server() {
        let root = tempfile::tempdir().unwrap();
        let [headers, old, good] = ["headers", "old", "good"].map(|name| root.path().join(name));
        fs::create_dir_all(&headers).unwrap();
        pretend(&old, "14.9");
        pretend(&good, "16.1");
        let found = Installation::first_usable([headers, old, good.clone()].into_iter()).unwrap();
        assert_eq!(
            found,
            Installation {
                bin: good,
                major: 16
            }
        );
    }

    #[test]
    fn refuses_when_everything_is_too_old() {
        let root = tempfile::tempdir().unwrap();
        let [older, old] = ["older", "old"].map(|name| root.path().join(name));
        pretend(&older, "13.1");
        pretend(&old, "14.9");
        let error = Installation::first_usable([older, old.clone()].into_iter()).unwrap_err();
        assert!(
            matches!(&error, FindError::TooOld { bin, major: 14 } if *bin == old),
            "{error:?}"
        );
        assert!(
            error.to_string().contains("install version 15 or newer"),
            "{error}"
        );
    }

    #[test]
    fn an_explicit_directory_is_the_only_place() {
        let root = tempfile::tempdir().unwrap();
        let error = Installation::find(Some(root.path())).unwrap_err();
        assert!(matches!(error, FindError::Unusable { .. }), "{error:?}");
        pretend(root.path(), "14.2");
        let error = Installation::find(Some(root.path())).unwrap_err();
        assert!(
            matches!(error, FindError::TooOld { major: 14, .. }),
            "{error:?}"
        );
    }

    #[test]
    fn says_where_it_looked() {
        let error = Installation::first_usable(std::iter::empty())
            .unwrap_err()
            .to_string();
        for place in LOOKED_AT {
            assert!(error.contains(place), "{error}");
        }
    }
}
