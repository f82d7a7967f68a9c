//! What can go wrong, said so that a person at a terminal knows what to do next.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::OLDEST_MAJOR;

/// Why no usable installation was found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FindError {
    /// No directory with the programs `postgres` and `initdb` was found.
    #[error(
        "no PostgreSQL server is installed (looked at: {}); install version {OLDEST_MAJOR} or newer with the system's package manager",
        .looked_at.join(", ")
    )]
    NotFound {
        /// The places that were searched, in order.
        looked_at: Vec<String>,
    },
    /// Servers were found, but all of them are older than [`OLDEST_MAJOR`].
    #[error(
        "the PostgreSQL in {} is version {major}; install version {OLDEST_MAJOR} or newer beside it",
        .bin.display()
    )]
    TooOld {
        /// The newest of those that were found.
        bin: PathBuf,
        /// Its major version.
        major: u32,
    },
    /// The directory that was asked for holds no PostgreSQL server that runs.
    #[error("{} holds no PostgreSQL server: {reason}", .bin.display())]
    Unusable {
        /// The directory that was asked for.
        bin: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// Why a server could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Another process holds this directory and its server.
    #[error(
        "a server is already running in {}{}; use that one, or stop it first",
        .directory.display(),
        .holder.map(|pid| format!(" (process {pid})")).unwrap_or_default()
    )]
    AlreadyRunning {
        /// The directory that was asked for.
        directory: PathBuf,
        /// The process that holds it, where it could be read.
        holder: Option<u32>,
    },
    /// The data were written by another major version, whose format this one can't read.
    #[error(
        "the data in {} were written by PostgreSQL {found}, and the server in {} is version {installed}; \
         name an installation of PostgreSQL {found}, or move the directory away to start with an empty one",
        .data.display(),
        .bin.display()
    )]
    OtherMajor {
        /// The data directory.
        data: PathBuf,
        /// The version that wrote it, as it says itself.
        found: String,
        /// The programs that were to run on it.
        bin: PathBuf,
        /// Their major version.
        installed: u32,
    },
    /// The directory has files in it, but was never used by this crate: nothing was touched.
    #[error("{} is not empty and holds no PostgreSQL data; name another directory", .directory.display())]
    NotOurs {
        /// The directory that was asked for.
        directory: PathBuf,
    },
    /// PostgreSQL refuses to run as root, and there is no account to run it with.
    #[error(
        "PostgreSQL does not run as root, and the account `postgres` does not exist; create it, or run as another user"
    )]
    NoAccount,
    /// The account that PostgreSQL runs with can't reach the data that lie in this directory.
    #[error(
        "the account that runs PostgreSQL (uid {uid}) cannot enter {}, where its data are; \
         permit that to it (chmod o+x on the directories above), or move the directory away",
        .directory.display()
    )]
    Unreachable {
        /// The directory that was asked for.
        directory: PathBuf,
        /// The account's number.
        uid: u32,
    },
    /// A directory that only the server's account may enter belongs to somebody else or is open to others.
    #[error("{} must belong to uid {uid} and be closed to everybody else; delete it and try again", .directory.display())]
    NotPrivate {
        /// The directory.
        directory: PathBuf,
        /// Who should own it.
        uid: u32,
    },
    /// A server that was left over from a killed process does not stop.
    #[error("process {pid}, the server of an earlier start in {}, does not stop; end it and try again", .directory.display())]
    WontStop {
        /// The directory that was asked for.
        directory: PathBuf,
        /// The left-over server.
        pid: i32,
    },
    /// `initdb` failed or took too long.
    #[error("initdb could not create the data directory: {reason}\n{log}")]
    Initdb {
        /// How it ended.
        reason: String,
        /// The last lines that it printed.
        log: String,
    },
    /// The server ended while it was starting, or did not accept connections in time.
    #[error("the PostgreSQL server did not start: {reason}\n{log}")]
    NotStarted {
        /// How it ended.
        reason: String,
        /// The last lines of its log.
        log: String,
    },
    /// The server runs, but refused a connection or the creation of the database.
    #[error("the PostgreSQL server refused: {message} (SQLSTATE {sqlstate})")]
    Refused {
        /// PostgreSQL's code.
        sqlstate: String,
        /// PostgreSQL's words.
        message: String,
    },
    /// The operating system refused something.
    #[error("could not {action} {}", .path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

/// Why a server is not known to have stopped in an orderly way.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StopError {
    /// The server had to be stopped without a checkpoint; its next start recovers from the log, and nothing committed is lost.
    #[error("the server did not stop within {0:?} and was ended by force")]
    Forced(Duration),
    /// The operating system refused to signal the server.
    #[error("could not signal the server")]
    Signal(#[source] io::Error),
}

/// Names what was being done to which path.
pub(crate) trait Doing<T> {
    /// Turns an I/O error into a [`StartError::Io`].
    fn doing(self, action: &'static str, path: &std::path::Path) -> Result<T, StartError>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, action: &'static str, path: &std::path::Path) -> Result<T, StartError> {
        self.map_err(|source| StartError::Io {
            action,
            path: path.to_owned(),
            source,
        })
    }
}
