//! Which account of the operating system the server runs with.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::StartError;
use crate::error::Doing as _;

/// Settings that PostgreSQL's programs would take from the environment of whoever starts them.
const INHERITED: [&str; 16] = [
    "PGDATA",
    "PGHOST",
    "PGHOSTADDR",
    "PGPORT",
    "PGUSER",
    "PGPASSWORD",
    "PGDATABASE",
    "PGOPTIONS",
    "PGCLIENTENCODING",
    "PGTZ",
    "PGDATESTYLE",
    "PGSERVICE",
    "PG_COLOR",
    "LANG",
    "LANGUAGE",
    "TZ",
];

/// The account that PostgreSQL's programs run with: our own, or, as root, one without its rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Account {
    /// The account of this process.
    Own,
    /// Another account, which only root can take on.
    Other { uid: u32, gid: u32 },
}

impl Account {
    /// The account to run with; as root, whoever owns `data` if that exists, else `postgres`.
    pub(crate) fn choose(data: &Path) -> Result<Self, StartError> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self::Own);
        }
        if let Ok(metadata) = fs::metadata(data)
            && metadata.uid() != 0
        {
            return Ok(Self::Other {
                uid: metadata.uid(),
                gid: metadata.gid(),
            });
        }
        match (id("-u"), id("-g")) {
            (Some(uid), Some(gid)) => Ok(Self::Other { uid, gid }),
            _ => Err(StartError::NoAccount),
        }
    }

    /// The number of the account.
    pub(crate) fn uid(self) -> u32 {
        match self {
            Self::Own => rustix::process::geteuid().as_raw(),
            Self::Other { uid, .. } => uid,
        }
    }

    /// Whether the account can enter `directory`: it is asked by trying, which counts groups and access lists as well.
    pub(crate) fn can_enter(self, directory: &Path) -> bool {
        let mut probe = self.command(Path::new("/bin/sh"));
        probe
            .args(["-c", "exit 0"])
            .current_dir(directory)
            .stdin(Stdio::null());
        probe.status().is_ok_and(|status| status.success())
    }

    /// Gives `path` to the account.
    pub(crate) fn give(self, path: &Path) -> Result<(), StartError> {
        match self {
            Self::Own => Ok(()),
            Self::Other { uid, gid } => {
                chown(path, Some(uid), Some(gid)).doing("change the owner of", path)
            }
        }
    }

    /// A command that runs `program` with the account, and with nothing inherited that would change what PostgreSQL does.
    pub(crate) fn command(self, program: &Path) -> Command {
        let mut command = Command::new(program);
        if let Self::Other { uid, gid } = self {
            command.uid(uid).gid(gid);
        }
        for variable in INHERITED {
            command.env_remove(variable);
        }
        command.env("LC_ALL", "C");
        command
    }
}

/// Asks the system's account database, whatever that is, for a number of the account `postgres`.
fn id(what: &str) -> Option<u32> {
    let output = Command::new("id")
        .args([what, "postgres"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    String::from_utf8(output.stdout)
        .ok()?
        .trim()
        .parse()
        .ok()
        .filter(|number| *number != 0)
}
