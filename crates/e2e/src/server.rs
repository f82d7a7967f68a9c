//! The binary, as a process.

use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use tokio::process::Command;

use crate::client::Client;
use crate::database::Database;
use crate::environment::variable;
use crate::process::{Output, Process};
use crate::wait::SOON;

/// The operator's key of every server here.
pub const ROOT_KEY: &str = "the-root-key-of-the-end-to-end-tests";

/// How long a drained server may take to end.
pub const DRAIN: Duration = Duration::from_secs(30);

/// `deed serve`, running.
pub struct Server {
    /// The process.
    pub process: Process,
    /// Where it serves, as `http://address:port`.
    pub base: String,
}

/// What a server is started with.
pub struct Setup<'a> {
    database: &'a Database,
    listen: String,
    environment: Vec<(String, String)>,
    runner_slots: Option<u16>,
}

impl Server {
    /// A server on `database` with the defaults, at a port that the system chooses.
    pub async fn start(binary: &str, database: &Database) -> Self {
        Self::setup(database).start(binary).await
    }

    /// A server on `database`, otherwise than by the defaults.
    #[must_use]
    pub fn setup(database: &Database) -> Setup<'_> {
        Setup {
            database,
            listen: "127.0.0.1:0".to_owned(),
            environment: Vec::new(),
            runner_slots: None,
        }
    }

    /// Somebody without a key.
    #[must_use]
    pub fn anonymous(&self) -> Client {
        Client::anonymous(&self.base)
    }

    /// The operator.
    #[must_use]
    pub fn root(&self) -> Client {
        self.anonymous().with_key(ROOT_KEY)
    }

    /// A new user's client, with these scopes.
    pub async fn user(&self, scopes: &[&str]) -> Client {
        let user = self.root().new_user().await;
        self.root().new_key(&user, scopes).await
    }

    /// Where it listens, without the scheme.
    #[must_use]
    pub fn address(&self) -> &str {
        self.base.strip_prefix("http://").unwrap()
    }

    /// Where its metrics are, without the path; switched on by `DEED_METRICS_LISTEN=127.0.0.1:0`.
    pub async fn metrics_base(&self) -> String {
        let find = |_, line: &str| {
            let (_, rest) = line.split_once("metrics are at ")?;
            Some(rest.split_once("/metrics")?.0.to_owned())
        };
        self.process.line(SOON, find).await
    }

    /// Asks it to stop, as a service manager does.
    pub fn terminate(&self) {
        self.process.signal(Signal::TERM);
    }
}

impl Setup<'_> {
    /// One more variable.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Where to listen.
    #[must_use]
    pub fn listen(mut self, address: &str) -> Self {
        address.clone_into(&mut self.listen);
        self
    }

    /// How many actions it performs at a time.
    #[must_use]
    pub fn runner_slots(mut self, slots: u16) -> Self {
        self.runner_slots = Some(slots);
        self
    }

    /// Starts it and waits until it is ready.
    pub async fn start(self, binary: &str) -> Server {
        let mut command = deed(binary);
        command
            .args(["serve", "--migrate", "--listen", &self.listen])
            .env("DATABASE_URL", self.database.url())
            .env("DEED_ROOT_KEY", ROOT_KEY)
            .env("DEED_POOL_SIZE", "8")
            // Many servers run at once, and only one could have the standard address.
            .env("DEED_METRICS_LISTEN", "off")
            .envs(self.environment);
        if let Some(slots) = self.runner_slots {
            command.env("DEED_RUNNER_SLOTS", slots.to_string());
        }
        let process = Process::start(&mut command);
        let base = process.line(SOON, listening).await;
        Server { process, base }
    }
}

/// The command `deed` with an environment of its own: nothing of the tester's settings reaches it.
#[must_use]
pub fn deed(binary: &str) -> Command {
    let mut command = Command::new(binary);
    command
        .env_clear()
        .env("RUST_LOG", "info")
        .env("PATH", variable("PATH").unwrap_or_default());
    command
}

/// `deed dev`, running in `directory`.
pub struct Dev {
    /// The process.
    pub process: Process,
    /// Where it serves.
    pub base: String,
}

impl Dev {
    /// Starts it at a port that the system chooses, and waits until it has said all that it says.
    pub async fn start(binary: &str, directory: &Path) -> Self {
        let mut command = deed(binary);
        command
            .args(["dev", "--listen", "127.0.0.1:0", "--metrics-listen", "off"])
            .current_dir(directory);
        let process = Process::start(&mut command);
        let base = process.line(Duration::from_secs(60), listening).await;
        process
            .line(SOON, |output, line| {
                (output == Output::Stdout && line.contains("-d '{")).then_some(())
            })
            .await;
        Self { process, base }
    }

    /// Stops it, and its PostgreSQL with it.
    pub async fn stop(mut self) {
        self.process.signal(Signal::INT);
        let status = self.process.ended(DRAIN + Duration::from_secs(15)).await;
        assert!(status.success(), "{status}: {}", self.process.output());
    }
}

/// A directory for `deed dev` that the account of PostgreSQL can enter too, when the tests run as root.
#[must_use]
pub fn open_directory() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt as _;
    let mut builder = tempfile::Builder::new();
    builder
        .prefix("deed-e2e-")
        .permissions(std::fs::Permissions::from_mode(0o755))
        .tempdir()
        .unwrap()
}

fn listening(_: Output, line: &str) -> Option<String> {
    let (_, rest) = line.split_once("listening on ")?;
    let base = rest.split(['"', ' ']).next()?;
    Some(base.to_owned())
}
