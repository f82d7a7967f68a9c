//! Installing the PostgreSQL server package, or saying how.

use std::io::{self, IsTerminal as _};
use std::process::{Command, Stdio};

use crate::cargo::{output, program, run};
use crate::terminal::say;

/// The package's oldest version that is of use.
const OLDEST: u32 = local_postgres::OLDEST_MAJOR;

/// What installs packages on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manager {
    Apt,
    Brew,
    Dnf,
    Pacman,
    Apk,
    Zypper,
    Unknown,
}

/// What matters of the machine for installing something.
pub(crate) struct Machine {
    pub(crate) manager: Manager,
    rights: Rights,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rights {
    Root,
    /// May ask for a password.
    Sudo,
    /// Nobody is there to type a password.
    SudoWithoutPassword,
    None,
}

/// Whether the system's own package is new enough, as far as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PackageAge {
    Current,
    TooOld,
}

/// Commands that install the package.
struct Plan {
    commands: Vec<Vec<&'static str>>,
}

impl Machine {
    pub(crate) fn look() -> Self {
        let manager = [
            ("apt-get", Manager::Apt),
            ("brew", Manager::Brew),
            ("dnf", Manager::Dnf),
            ("pacman", Manager::Pacman),
            ("apk", Manager::Apk),
            ("zypper", Manager::Zypper),
        ]
        .into_iter()
        .find(|(name, _)| program(name).is_some())
        .map_or(Manager::Unknown, |(_, manager)| manager);
        let rights = if is_root() {
            Rights::Root
        } else if program("sudo").is_none() {
            Rights::None
        } else if io::stdin().is_terminal() {
            Rights::Sudo
        } else {
            Rights::SudoWithoutPassword
        };
        Self { manager, rights }
    }

    /// Installs the package if that can be done without asking anybody for more than a password; answers whether it was,
    /// and if not, whether it would have been of use.
    pub(crate) fn install(&self) -> anyhow::Result<Result<(), PackageAge>> {
        let Some(plan) = plan(self.manager, self.rights) else {
            return Ok(Err(self.package_age()?));
        };
        say(
            "\nInstalling the package `postgresql` with apt; a server of it will run as a child process here.",
        );
        plan.update()?;
        match self.package_age()? {
            PackageAge::Current => plan.carry_out().map(Ok),
            PackageAge::TooOld => {
                say(format!(
                    "The package `postgresql` of this system is older than {OLDEST}."
                ));
                Ok(Err(PackageAge::TooOld))
            }
        }
    }

    fn package_age(&self) -> anyhow::Result<PackageAge> {
        if self.manager != Manager::Apt {
            return Ok(PackageAge::Current);
        }
        let mut policy = Command::new("apt-cache");
        policy
            .args(["policy", "postgresql"])
            .env("LC_ALL", "C")
            .stdin(Stdio::null());
        let is_old = candidate(&output(policy)?).is_some_and(|major| major < OLDEST);
        Ok(if is_old {
            PackageAge::TooOld
        } else {
            PackageAge::Current
        })
    }
}

impl Plan {
    fn update(&self) -> anyhow::Result<()> {
        self.commands
            .first()
            .map_or(Ok(()), |command| run_words(command))
    }

    /// Runs the commands that come after the update of the package lists.
    fn carry_out(&self) -> anyhow::Result<()> {
        self.commands
            .iter()
            .skip(1)
            .try_for_each(|command| run_words(command))
    }
}

fn plan(manager: Manager, rights: Rights) -> Option<Plan> {
    if manager != Manager::Apt {
        return None;
    }
    let prefix: &[&str] = match rights {
        Rights::Root => &[],
        Rights::Sudo => &["sudo"],
        Rights::SudoWithoutPassword => &["sudo", "--non-interactive"],
        Rights::None => return None,
    };
    let with_prefix = |words: &[&'static str]| prefix.iter().chain(words).copied().collect();
    Some(Plan {
        commands: vec![
            with_prefix(&["apt-get", "update"]),
            with_prefix(&[
                "env",
                "DEBIAN_FRONTEND=noninteractive",
                "apt-get",
                "install",
                "--yes",
                "--no-install-recommends",
                "postgresql",
            ]),
        ],
    })
}

fn run_words(words: &[&str]) -> anyhow::Result<()> {
    let Some((program, arguments)) = words.split_first() else {
        return Ok(());
    };
    let mut command = Command::new(program);
    command.args(arguments);
    run(command)
}

/// The major version that apt would install: `Candidate: 15+248+deb12u1` is 15.
fn candidate(policy: &str) -> Option<u32> {
    let version = policy
        .lines()
        .find_map(|line| line.trim().strip_prefix("Candidate:"))?
        .trim();
    let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// Three lines to paste: install, say where it is, try again.
///
/// `age` says whether the system's own package would do.
pub(crate) fn lines(manager: Manager, age: PackageAge, task: &str) -> [String; 3] {
    let [install, place] = match manager {
        Manager::Apt if age == PackageAge::Current => [
            "sudo apt-get update",
            "sudo apt-get install -y --no-install-recommends postgresql",
        ],
        Manager::Apt => [
            "sudo apt-get install -y postgresql-common && sudo /usr/share/postgresql-common/pgdg/apt.postgresql.org.sh -y",
            "sudo apt-get install -y --no-install-recommends postgresql-17",
        ],
        Manager::Brew => [
            "brew install postgresql@17",
            "export DEED_PG_BIN=\"$(brew --prefix postgresql@17)/bin\"",
        ],
        Manager::Dnf => [
            "sudo dnf install -y postgresql-server",
            "export DEED_PG_BIN=/usr/bin",
        ],
        Manager::Pacman => [
            "sudo pacman -S --noconfirm postgresql",
            "export DEED_PG_BIN=/usr/bin",
        ],
        Manager::Apk => [
            "sudo apk add postgresql17",
            "export DEED_PG_BIN=/usr/libexec/postgresql17",
        ],
        Manager::Zypper => [
            "sudo zypper install -y postgresql-server",
            "export DEED_PG_BIN=\"$(ls -d /usr/lib/postgresql*/bin | tail -1)\"",
        ],
        Manager::Unknown => [
            "# install the server from https://www.postgresql.org/download/",
            "export DEED_PG_BIN=/the/directory/of/postgres/and/initdb",
        ],
    };
    [
        install.to_owned(),
        place.to_owned(),
        format!("cargo xtask {task}"),
    ]
}

/// Whether packages can be installed without `sudo`.
fn is_root() -> bool {
    let output = Command::new("id")
        .arg("-u")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    output.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_version_that_apt_would_install() {
        for (policy, expected) in [
            (
                "postgresql:\n  Installed: (none)\n  Candidate: 15+248+deb12u1\n",
                Some(15),
            ),
            (
                "postgresql:\n  Installed: (none)\n  Candidate: 14+238\n",
                Some(14),
            ),
            (
                "postgresql:\n  Installed: (none)\n  Candidate: (none)\n",
                None,
            ),
            ("", None),
        ] {
            assert_eq!(candidate(policy), expected, "{policy}");
        }
    }

    #[test]
    fn installs_by_itself_only_with_apt_and_the_right_to() {
        let first =
            |manager, rights| plan(manager, rights).map(|plan| plan.commands.concat().join(" "));
        assert_eq!(first(Manager::Apt, Rights::None), None);
        assert_eq!(first(Manager::Brew, Rights::Root), None);
        assert!(
            first(Manager::Apt, Rights::Root)
                .unwrap()
                .starts_with("apt-get update env")
        );
        let sudo = first(Manager::Apt, Rights::SudoWithoutPassword).unwrap();
        assert_eq!(sudo.matches("sudo --non-interactive").count(), 2, "{sudo}");
    }

    #[test]
    fn where_the_package_is_too_old_a_newer_one_is_named() {
        let [_, current, _] = lines(Manager::Apt, PackageAge::Current, "dev");
        let [_, newer, _] = lines(Manager::Apt, PackageAge::TooOld, "dev");
        assert!(
            current.ends_with(" postgresql") && newer.ends_with(" postgresql-17"),
            "{current}, {newer}"
        );
    }

    #[test]
    fn every_manager_has_lines_that_end_in_trying_again() {
        use Manager::{Apk, Apt, Brew, Dnf, Pacman, Unknown, Zypper};
        for manager in [Apt, Brew, Dnf, Pacman, Apk, Zypper, Unknown] {
            let [install, place, again] = lines(manager, PackageAge::Current, "test");
            let pasted = format!("{install}\n{place}");
            assert!(pasted.contains("postgresql"), "{pasted}");
            assert_eq!(again, "cargo xtask test");
        }
    }
}
