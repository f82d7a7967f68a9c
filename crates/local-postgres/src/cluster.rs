//! A running server on a data directory of its own.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::error::Doing as _;
use crate::home::{Home, SOCKET};
use crate::log_file::LogFile;
use crate::process::Server;
use crate::wire::{Connection, WireError, quoted};
use crate::{Installation, StartError, StopError, initdb, predecessor};

/// How long one question to the server may take.
const ANSWER: Duration = Duration::from_secs(5);
/// Creating a database copies its template, synchronously.
const CREATE_DATABASE: Duration = Duration::from_secs(60);
/// How long a fast shutdown may take, which writes a checkpoint; then an immediate one.
const FAST: Duration = Duration::from_secs(30);
const IMMEDIATE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(10);
/// How long backends of a server that was killed may hold the shared memory that the next one needs.
const LEFT_OVER_BACKENDS: Duration = Duration::from_secs(10);

/// What a cluster should be like.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where everything is kept; created if it doesn't exist. It has to be empty then or be one that an earlier start
    /// used, and nobody else may put files into it.
    pub directory: PathBuf,
    /// The role that the cluster is created with, a superuser.
    pub user: String,
    /// The database that [`Cluster::url`] leads to; created if it doesn't exist.
    pub database: String,
    /// Settings of `postgresql.conf`, over the defaults. Where to listen is not for them to say.
    pub settings: Vec<(String, String)>,
    /// Deletes what an earlier start left in the directory.
    pub fresh: bool,
    /// As root, the server runs as the account `postgres`. Where that can't enter `directory`, the data lie in a directory
    /// under this one, and a link in `directory` leads there.
    pub unreachable_base: PathBuf,
    /// How long the server may take until it accepts connections, recovery after a crash included.
    pub start_limit: Duration,
}

impl Options {
    /// A cluster in `directory`, with the role and the database `postgres`, no settings, and 120 seconds to start.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            user: "postgres".to_owned(),
            database: "postgres".to_owned(),
            settings: Vec::new(),
            fresh: false,
            unreachable_base: PathBuf::from("/var/lib/local-postgres"),
            start_limit: Duration::from_secs(120),
        }
    }
}

/// What a start is doing; `Display` says it to a person.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// The server's account can't enter the directory, so the data lie in this one from now on.
    Elsewhere {
        /// Where the data lie.
        directory: PathBuf,
    },
    /// The server of a process that was killed is being stopped.
    StoppingPredecessor {
        /// Its process.
        pid: i32,
    },
    /// A data directory is being created; it takes a second or two.
    Initialising {
        /// The data directory.
        data: PathBuf,
        /// The server's major version.
        major: u32,
    },
    /// The server is starting.
    Starting {
        /// The server's major version.
        major: u32,
    },
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Elsewhere { directory } => {
                write!(
                    f,
                    "the account postgres cannot enter this directory; its data lie in {}",
                    directory.display()
                )
            }
            Self::StoppingPredecessor { pid } => write!(
                f,
                "waiting for the server of an earlier start to stop (process {pid})"
            ),
            Self::Initialising { data, major } => write!(
                f,
                "creating a PostgreSQL {major} cluster in {}",
                data.display()
            ),
            Self::Starting { major } => write!(f, "starting PostgreSQL {major}"),
        }
    }
}

/// A running server. Dropping it stops the server, as [`Cluster::stop`] does, and waits for that.
pub struct Cluster {
    server: Server,
    home: Home,
    socket_directory: PathBuf,
    user: String,
    database: String,
    major: u32,
    /// Held until the server has stopped: fields are dropped after [`Drop::drop`] has run.
    _lock: File,
}

impl Cluster {
    /// Starts a server and waits until it accepts connections and has the database.
    ///
    /// The first start on a directory runs `initdb`. Each start takes the directory's lock and waits until a server whose
    /// owner was killed has stopped.
    ///
    /// # Errors
    /// [`StartError::AlreadyRunning`] while another process (or this one) runs a server on the directory; nothing was
    /// changed then. All others say what is wrong, those of a server that doesn't start with the end of its log.
    pub fn start(
        installation: &Installation,
        options: &Options,
        progress: &mut dyn FnMut(&Progress),
    ) -> Result<Self, StartError> {
        let home = Home::prepare(options, progress)?;
        let lock = home.lock()?;
        predecessor::clear(&home, progress)?;
        let log = LogFile::open(home.log()).doing("open", &home.log())?;
        let data = home.data();
        if options.fresh {
            initdb::remove(&data)?;
        }
        let major = installation.major();
        match initdb::version_of(&data)? {
            Some(found) if found == major.to_string() => {}
            Some(found) => {
                return Err(StartError::OtherMajor {
                    data,
                    found,
                    bin: installation.bin().to_owned(),
                    installed: major,
                });
            }
            None if data.exists() => return Err(StartError::NotOurs { directory: data }),
            None => {
                progress(&Progress::Initialising { data, major });
                initdb::run(installation, &home, &log, &options.user)?;
            }
        }
        let socket_directory = home.prepare_socket_directory()?;
        progress(&Progress::Starting { major });
        let server = launch(installation, options, &home, &socket_directory, &log)?;
        Ok(Self {
            server,
            home,
            socket_directory,
            user: options.user.clone(),
            database: options.database.clone(),
            major,
            _lock: lock,
        })
    }

    /// A URL of the database that the cluster was started with, in the form that libpq and tokio-postgres read.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_for(&self.database)
    }

    /// A URL of another database of the cluster.
    #[must_use]
    pub fn url_for(&self, database: &str) -> String {
        format!(
            "postgres://{}@/{}?host={}",
            percent_encoded(self.user.as_bytes()),
            percent_encoded(database.as_bytes()),
            percent_encoded(self.socket_directory.as_os_str().as_bytes())
        )
    }

    /// The directory of the server's socket.
    #[must_use]
    pub fn socket_directory(&self) -> &Path {
        &self.socket_directory
    }

    /// The data directory.
    #[must_use]
    pub fn data_directory(&self) -> PathBuf {
        self.home.data()
    }

    /// The file to which the server writes its log.
    #[must_use]
    pub fn log_file(&self) -> PathBuf {
        self.home.log()
    }

    /// The server's major version.
    #[must_use]
    pub fn major(&self) -> u32 {
        self.major
    }

    /// The server's process.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.server.pid().as_raw_nonzero().get()
    }

    /// Whether the server's process still runs; it ends by itself only through a fault or by somebody's hand.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.server.ended().is_none()
    }

    /// Stops the server: ends its connections, writes a checkpoint, and waits for its end. One that ended before is stopped.
    ///
    /// # Errors
    /// [`StopError`] when a fast shutdown did not do it within 30 seconds, or the server could not be signalled.
    pub fn stop(mut self) -> Result<(), StopError> {
        stop(&mut self.server)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Nobody is left to be told; the next start copes with whatever remains.
        drop(stop(&mut self.server));
        if !self.socket_directory.starts_with(self.home.root()) {
            drop(fs::remove_dir(&self.socket_directory));
        }
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("url", &self.url())
            .field("pid", &self.pid())
            .finish_non_exhaustive()
    }
}

fn stop(server: &mut Server) -> Result<(), StopError> {
    server.signal(Signal::INT).map_err(StopError::Signal)?;
    if server.wait(FAST) {
        return Ok(());
    }
    for signal in [Signal::QUIT, Signal::KILL] {
        server.signal(signal).map_err(StopError::Signal)?;
        if server.wait(IMMEDIATE) {
            break;
        }
    }
    Err(StopError::Forced(FAST))
}

/// Starts the server. One that finds the shared memory of a killed predecessor still in use is started again.
fn launch(
    installation: &Installation,
    options: &Options,
    home: &Home,
    socket_directory: &Path,
    log: &LogFile,
) -> Result<Server, StartError> {
    let began = Instant::now();
    loop {
        let command = server_command(installation, options, home, socket_directory);
        let mut server = Server::spawn(command, log).map_err(|source| StartError::Io {
            action: "run",
            path: installation.bin().join("postgres"),
            source,
        })?;
        match until_ready(&server, options, &socket_directory.join(SOCKET), log) {
            Ok(()) => return Ok(server),
            Err(StartError::NotStarted { log, .. })
                if log.contains("shared memory block") && began.elapsed() < LEFT_OVER_BACKENDS =>
            {
                thread::sleep(Duration::from_millis(100));
            }
            Err(error) => {
                // The first error is the one to tell.
                drop(stop(&mut server));
                return Err(error);
            }
        }
    }
}

fn server_command(
    installation: &Installation,
    options: &Options,
    home: &Home,
    socket_directory: &Path,
) -> Command {
    let mut command = home.account.command(&installation.bin().join("postgres"));
    command.current_dir(home.root()).arg("-D").arg(home.data());
    let given = options
        .settings
        .iter()
        .map(|(name, value)| (name.as_str(), OsString::from(value)));
    for (name, value) in defaults()
        .into_iter()
        .chain(given)
        .chain(fixed(socket_directory))
    {
        let mut setting = OsString::from(name);
        setting.push("=");
        setting.push(value);
        command.arg("-c").arg(setting);
    }
    command
}

/// What a caller's settings may change.
fn defaults() -> [(&'static str, OsString); 4] {
    [
        ("fsync", "on"),
        ("timezone", "UTC"),
        ("log_timezone", "UTC"),
        ("log_line_prefix", "%m [%p] %q%u@%d "),
    ]
    .map(|(name, value)| (name, value.into()))
}

/// What nobody may change: the server is private, and its log is ours.
fn fixed(socket_directory: &Path) -> [(&'static str, OsString); 6] {
    // The value is a list, in which quotes keep commas and spaces together.
    let mut quoted_directory = OsString::from("\"");
    for (index, part) in socket_directory
        .as_os_str()
        .as_bytes()
        .split(|byte| *byte == b'"')
        .enumerate()
    {
        if index > 0 {
            quoted_directory.push("\"\"");
        }
        quoted_directory.push(std::ffi::OsStr::from_bytes(part));
    }
    quoted_directory.push("\"");
    [
        ("listen_addresses", "".into()),
        ("port", "5432".into()),
        ("unix_socket_directories", quoted_directory),
        ("unix_socket_permissions", "0700".into()),
        ("logging_collector", "off".into()),
        ("log_destination", "stderr".into()),
    ]
}

/// Waits until the server accepts connections to the database, which is created if it doesn't exist.
fn until_ready(
    server: &Server,
    options: &Options,
    socket: &Path,
    log: &LogFile,
) -> Result<(), StartError> {
    let not_started = |reason: String| StartError::NotStarted {
        reason,
        log: log.tail(),
    };
    let began = Instant::now();
    loop {
        if let Some(how) = server.ended() {
            return Err(not_started(how));
        }
        match Connection::open(socket, &options.user, &options.database, ANSWER) {
            Ok(_) => return Ok(()),
            Err(WireError::Refused { sqlstate, .. }) if sqlstate == INVALID_CATALOG_NAME => {
                return create_database(socket, options).map_err(|error| match error {
                    WireError::Refused { sqlstate, message } => {
                        StartError::Refused { sqlstate, message }
                    }
                    WireError::Nobody => not_started("it closed its socket".to_owned()),
                    WireError::Unclear(error) => {
                        not_started(format!("creating the database failed: {error}"))
                    }
                });
            }
            Err(WireError::Refused { sqlstate, message }) if sqlstate != CANNOT_CONNECT_NOW => {
                return Err(StartError::Refused { sqlstate, message });
            }
            // Not there yet, starting up, or recovering.
            Err(_) => {}
        }
        if began.elapsed() > options.start_limit {
            return Err(not_started(format!(
                "it accepted no connection within {:?}",
                options.start_limit
            )));
        }
        thread::sleep(POLL);
    }
}

/// SQLSTATE of a database that doesn't exist.
const INVALID_CATALOG_NAME: &str = "3D000";
/// SQLSTATE of a server that is starting, recovering or stopping.
const CANNOT_CONNECT_NOW: &str = "57P03";

fn create_database(socket: &Path, options: &Options) -> Result<(), WireError> {
    let mut connection = Connection::open(socket, &options.user, "postgres", CREATE_DATABASE)?;
    connection.execute(&format!("CREATE DATABASE {}", quoted(&options.database)))
}

/// Everything but letters, digits and `-._~` as `%XX`.
fn percent_encoded(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        let letter = char::from(*byte);
        if letter.is_ascii_alphanumeric() || "-._~".contains(letter) {
            text.push(letter);
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_percent_encoded() {
        assert_eq!(
            percent_encoded("/my data/ü&?@%".as_bytes()),
            "%2Fmy%20data%2F%C3%BC%26%3F%40%25"
        );
        assert_eq!(percent_encoded(b"aZ09-._~"), "aZ09-._~");
    }

    #[test]
    fn a_socket_directory_is_one_element_of_the_list() {
        let [_, _, (name, value), ..] = fixed(Path::new("/a, b/\"c\""));
        assert_eq!(
            (name, value),
            (
                "unix_socket_directories",
                OsString::from("\"/a, b/\"\"c\"\"\"")
            )
        );
    }

    #[test]
    fn progress_is_said_in_words() {
        let elsewhere = Progress::Elsewhere {
            directory: "/var/lib/x/1".into(),
        };
        assert!(elsewhere.to_string().contains("/var/lib/x/1"));
        assert_eq!(
            Progress::Starting { major: 17 }.to_string(),
            "starting PostgreSQL 17"
        );
    }
}
