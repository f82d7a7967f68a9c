//! Installing the PostgreSQL server package, or saying how.

mod brew;

use std::ffi::OsStr;
use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::bail;

use crate::cargo::{output, program_in, run};
use crate::environment;
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
    /// The manager's program.
    program: PathBuf,
    rights: Rights,
}

/// How an attempt to install ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Installed {
    /// In the usual place.
    Yes,
    /// In this directory of programs.
    In(PathBuf),
    /// Somebody else has to do it, and so old is the system's own package.
    No(PackageAge),
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

/// How the package is installed.
enum Plan {
    /// Commands that bring the package lists up to date, and that install.
    Apt {
        update: Vec<&'static str>,
        install: Vec<&'static str>,
    },
    Brew,
}

impl Machine {
    /// `path` is the list of directories that programs are looked for in.
    pub(crate) fn look(path: &OsStr) -> Self {
        let rights = if is_root() {
            Rights::Root
        } else if program_in(path, "sudo").is_none() {
            Rights::None
        } else if io::stdin().is_terminal() {
            Rights::Sudo
        } else {
            Rights::SudoWithoutPassword
        };
        Self::with_rights(path, rights)
    }

    fn with_rights(path: &OsStr, rights: Rights) -> Self {
        let mut managers = [
            ("apt-get", Manager::Apt),
            ("brew", Manager::Brew),
            ("dnf", Manager::Dnf),
            ("pacman", Manager::Pacman),
            ("apk", Manager::Apk),
            ("zypper", Manager::Zypper),
        ]
        .into_iter()
        .filter_map(|(name, manager)| Some((manager, program_in(path, name)?)))
        // Homebrew asks for no rights, so it goes first where somebody has none.
        .collect::<Vec<_>>();
        managers.sort_by_key(|(manager, _)| {
            let can = plan(*manager, rights).is_some();
            u8::from(!can)
        });
        let first = managers.into_iter().next();
        let (manager, program) = first.unwrap_or((Manager::Unknown, PathBuf::new()));
        Self {
            manager,
            program,
            rights,
        }
    }

    /// Where a package that was installed earlier lies, if that is no usual place.
    pub(crate) fn installed_bin(&self) -> Option<PathBuf> {
        if self.manager != Manager::Brew {
            return None;
        }
        brew::bin(&self.program).ok().filter(|bin| bin.is_dir())
    }

    /// Installs the package if that can be done without asking anybody for more than a password.
    pub(crate) fn install(&self) -> anyhow::Result<Installed> {
        match plan(self.manager, self.rights) {
            None => Ok(Installed::No(self.package_age()?)),
            Some(Plan::Brew) => {
                say(format!(
                    "\nInstalling `{}` with Homebrew, which needs no sudo and starts no service; a server of it will run \
                     as a child process here.",
                    brew::FORMULA
                ));
                brew::install(&self.program)?;
                Ok(Installed::In(brew::bin(&self.program)?))
            }
            Some(Plan::Apt { update, install }) => {
                say(
                    "\nInstalling the package `postgresql` with apt; a server of it will run as a child process here.",
                );
                run_words(&update)?;
                match self.package_age()? {
                    PackageAge::Current => {
                        run_words(&install)?;
                        Ok(Installed::Yes)
                    }
                    PackageAge::TooOld => {
                        say(format!(
                            "The package `postgresql` of this system is older than {OLDEST}."
                        ));
                        Ok(Installed::No(PackageAge::TooOld))
                    }
                }
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

fn plan(manager: Manager, rights: Rights) -> Option<Plan> {
    match (manager, rights) {
        // Homebrew refuses to work for root.
        (Manager::Brew, Rights::Root) => None,
        (Manager::Brew, _) => Some(Plan::Brew),
        (Manager::Apt, rights) => apt_plan("postgresql", rights),
        _ => None,
    }
}

/// The commands by which apt installs `package`, or `None` where that is not allowed.
fn apt_plan(package: &'static str, rights: Rights) -> Option<Plan> {
    let prefix: &[&str] = match rights {
        Rights::Root => &[],
        Rights::Sudo => &["sudo"],
        Rights::SudoWithoutPassword => &["sudo", "--non-interactive"],
        Rights::None => return None,
    };
    let with_prefix = |words: &[&'static str]| prefix.iter().chain(words).copied().collect();
    Some(Plan::Apt {
        update: with_prefix(&["apt-get", "update"]),
        install: with_prefix(&[
            "env",
            "DEBIAN_FRONTEND=noninteractive",
            "apt-get",
            "install",
            "--yes",
            "--no-install-recommends",
            package,
        ]),
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

/// Makes sure that a program is there, from a Debian package of the system if need be.
pub(crate) fn ensure_program(name: &str, package: &'static str) -> anyhow::Result<()> {
    if program_in(&environment::path(), name).is_some() {
        return Ok(());
    }
    install_package(package, &format!("the program `{name}`"))
}

/// Installs a Debian package for `what`, which is missing, where apt can do that.
pub(crate) fn install_package(package: &'static str, what: &str) -> anyhow::Result<()> {
    let machine = Machine::look(&environment::path());
    let plan = match machine.manager {
        Manager::Apt => apt_plan(package, machine.rights),
        _ => None,
    };
    let Some(Plan::Apt { update, install }) = plan else {
        bail!("{what} is missing; on Debian it is in the package `{package}`");
    };
    say(format!(
        "\nInstalling the package `{package}` with apt, for {what}."
    ));
    run_words(&update)?;
    run_words(&install)
}

/// Whether this process is the superuser's.
pub(crate) fn is_root() -> bool {
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
    fn installs_by_itself_only_with_the_right_to() {
        let words = |manager, rights| match plan(manager, rights)? {
            Plan::Apt { update, install } => Some([update, install].concat().join(" ")),
            Plan::Brew => Some("brew".to_owned()),
        };
        assert_eq!(words(Manager::Apt, Rights::None), None);
        assert_eq!(words(Manager::Brew, Rights::Root), None);
        assert_eq!(words(Manager::Dnf, Rights::Root), None);
        assert_eq!(words(Manager::Brew, Rights::None).as_deref(), Some("brew"));
        assert!(
            words(Manager::Apt, Rights::Root)
                .unwrap()
                .starts_with("apt-get update env")
        );
        let sudo = words(Manager::Apt, Rights::SudoWithoutPassword).unwrap();
        assert_eq!(sudo.matches("sudo --non-interactive").count(), 2, "{sudo}");
    }

    /// A directory with programs of these names, each a shell script.
    fn programs(scripts: &[(&str, &str)]) -> tempfile::TempDir {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        for (name, script) in scripts {
            let file = directory.path().join(name);
            std::fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        directory
    }

    #[test]
    fn the_manager_that_can_goes_first() {
        let both = programs(&[("apt-get", ""), ("brew", "")]);
        let manager = |rights| Machine::with_rights(both.path().as_os_str(), rights).manager;
        assert_eq!(manager(Rights::Sudo), Manager::Apt);
        assert_eq!(manager(Rights::Root), Manager::Apt);
        assert_eq!(manager(Rights::None), Manager::Brew);
        let none = programs(&[]);
        let machine = Machine::with_rights(none.path().as_os_str(), Rights::Root);
        assert_eq!(machine.manager, Manager::Unknown);
    }

    /// A Homebrew that writes down what it was asked, and lays down what the formula would.
    const BREW: &str = r#"
here=$(dirname "$0")
echo "$*" >> "$here/asked"
keg="$here/prefix/opt/$2"
case "$1" in
  install)
    mkdir -p "$keg/bin"
    printf '#!/bin/sh\necho "postgres (PostgreSQL) 17.2 (Homebrew)"\n' > "$keg/bin/postgres"
    printf '#!/bin/sh\n' > "$keg/bin/initdb"
    chmod +x "$keg/bin/postgres" "$keg/bin/initdb" ;;
  --prefix) echo "$keg" ;;
  *) exit 1 ;;
esac"#;

    #[test]
    fn brew_installs_without_sudo_and_says_where() {
        let directory = programs(&[("brew", BREW), ("sudo", "exit 1")]);
        let machine = Machine::with_rights(directory.path().as_os_str(), Rights::None);
        assert_eq!(machine.installed_bin(), None);
        let Installed::In(bin) = machine.install().unwrap() else {
            panic!("not installed")
        };
        let found = local_postgres::Installation::find(Some(&bin)).unwrap();
        assert_eq!(found.major(), 17);
        assert_eq!(machine.installed_bin(), Some(bin));
        let asked = std::fs::read_to_string(directory.path().join("asked")).unwrap();
        let expected = [
            "--prefix postgresql@17",
            "install postgresql@17",
            "--prefix postgresql@17",
            "--prefix postgresql@17",
        ];
        assert_eq!(asked.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_brew_that_fails_is_said() {
        let directory = programs(&[("brew", "exit 1")]);
        let machine = Machine::with_rights(directory.path().as_os_str(), Rights::None);
        let error = machine.install().unwrap_err().to_string();
        assert!(error.contains("brew install postgresql@17"), "{error}");
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
