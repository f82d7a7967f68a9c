//! The processes that may be struck: servers and external workers.

use std::fs::{File, OpenOptions};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdout};
use tokio::time::{Instant, sleep, timeout};

use super::child::guarded;
use super::history::{Record, Recorder};
use super::worker;
use crate::environment::variable;
use crate::server::ROOT_KEY;

/// How long a server may take until it is ready.
const START: Duration = Duration::from_secs(60);
/// How long a process may take to end that has no choice.
const END: Duration = Duration::from_secs(20);

/// The name of a server.
#[must_use]
pub fn replica_name(number: usize) -> String {
    format!("replica {number}")
}

/// What a process is, and how it is started.
#[derive(Debug, Clone)]
pub enum Role {
    /// `deed serve`.
    Replica {
        /// The program.
        server: String,
        /// Where it serves, without the scheme.
        address: String,
        /// Its database.
        database: String,
        /// Where its log goes.
        log: PathBuf,
    },
    /// An external worker.
    Worker {
        /// What it has to know; each process gets a name of its own.
        settings: worker::Settings,
        /// Where its complaints go.
        log: PathBuf,
    },
}

/// A process that is started anew whenever it has ended.
pub struct Member {
    /// What it is called.
    pub name: String,
    role: Role,
    recorder: Arc<Recorder>,
    starts: u32,
    child: Option<Child>,
}

impl Member {
    /// One that isn't started yet.
    #[must_use]
    pub fn new(name: String, role: Role, recorder: Arc<Recorder>) -> Self {
        Self {
            name,
            role,
            recorder,
            starts: 0,
            child: None,
        }
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// When it isn't in time.
    pub async fn start(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + START;
        self.starts += 1;
        loop {
            self.spawn().await?;
            // Its port may be lent to a connection that goes out while nobody listens there; that passes.
            match self.ready(deadline).await? {
                true => return Ok(()),
                false => sleep(Duration::from_millis(100)).await,
            }
        }
    }

    async fn spawn(&mut self) -> anyhow::Result<()> {
        match &self.role {
            Role::Replica {
                server,
                address,
                database,
                log,
            } => {
                let log = append(log)?;
                let child = guarded(server)
                    .args(["serve", "--migrate", "--listen", address])
                    .env("DATABASE_URL", database)
                    .env("DEED_ROOT_KEY", ROOT_KEY)
                    .env("DEED_POOL_SIZE", "8")
                    .env("DEED_METRICS_LISTEN", "off")
                    .env("RUST_LOG", "info")
                    .env("PATH", variable("PATH").unwrap_or_default())
                    .stdin(Stdio::null())
                    .stdout(log.try_clone()?)
                    .stderr(log)
                    .spawn()
                    .with_context(|| format!("{} can't be started", self.name))?;
                self.child = Some(child);
            }
            Role::Worker { settings, log } => {
                let settings = worker::Settings {
                    name: format!("{}.{}", settings.name, self.starts),
                    ..settings.clone()
                };
                let program = std::env::current_exe()?;
                let mut child = guarded(&program.to_string_lossy())
                    .arg("worker")
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .stderr(append(log)?)
                    .spawn()
                    .with_context(|| format!("{} can't be started", self.name))?;
                let line = format!("{}\n", serde_json::to_string(&settings)?);
                let mut stdin = child.stdin.take().context("no standard input")?;
                stdin.write_all(line.as_bytes()).await?;
                let stdout = child.stdout.take().context("no standard output")?;
                tokio::spawn(keep(stdout, Arc::clone(&self.recorder)));
                self.child = Some(child);
            }
        }
        Ok(())
    }

    /// Whether it is ready to work; not if it has ended before.
    async fn ready(&mut self, deadline: Instant) -> anyhow::Result<bool> {
        let Role::Replica { address, log, .. } = &self.role else {
            return Ok(true);
        };
        let url = format!("http://{address}/readyz");
        let http = reqwest::Client::new();
        let log = log.display().to_string();
        while Instant::now() < deadline {
            let asked = http.get(&url).timeout(Duration::from_secs(2)).send().await;
            if asked.is_ok_and(|answer| answer.status() == 200) {
                return Ok(true);
            }
            if let Some(child) = &mut self.child
                && child.try_wait()?.is_some()
            {
                return Ok(false);
            }
            sleep(Duration::from_millis(20)).await;
        }
        bail!("{} was not ready within {START:?}; see {log}", self.name);
    }

    /// Sends it a signal. One that has ended by itself is complained of.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&mut self, signal: Signal) -> anyhow::Result<()> {
        let child = self.child.as_mut().context("it was never started")?;
        if let Some(status) = child.try_wait()? {
            self.recorder.record(Record::Died {
                victim: self.name.clone(),
                how: format!("it ended by itself: {status}"),
            });
            bail!("{} ended by itself: {status}", self.name);
        }
        let pid = i32::try_from(child.id().context("it has ended")?)?;
        kill_process(Pid::from_raw(pid).context("no process")?, signal)?;
        Ok(())
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it doesn't come within `limit`.
    pub async fn ended(&mut self, limit: Duration) -> anyhow::Result<ExitStatus> {
        let child = self.child.as_mut().context("it was never started")?;
        let status = timeout(limit, child.wait()).await;
        Ok(status.with_context(|| format!("{} did not end within {limit:?}", self.name))??)
    }

    /// Ends it at once, and waits until it is gone.
    ///
    /// # Errors
    /// When it can't be ended.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::KILL)?;
        self.ended(END).await?;
        Ok(())
    }

    /// What its log says of panics.
    ///
    /// # Errors
    /// When the log can't be read.
    pub fn complaints(&self) -> anyhow::Result<Vec<String>> {
        let (Role::Replica { log, .. } | Role::Worker { log, .. }) = &self.role;
        let text = String::from_utf8_lossy(&std::fs::read(log)?).into_owned();
        let lines = text.lines().filter(|line| line.contains("panicked"));
        Ok(lines.map(str::to_owned).collect())
    }
}

/// An address on loopback that is free just now.
///
/// # Errors
/// When there is none.
pub fn free_address() -> anyhow::Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

fn append(file: &Path) -> anyhow::Result<File> {
    let opened = OpenOptions::new().create(true).append(true).open(file);
    opened.with_context(|| format!("{} can't be written", file.display()))
}

/// Writes down what a worker says. The last line of one that was killed may be cut off.
async fn keep(stdout: ChildStdout, recorder: Arc<Recorder>) {
    let mut lines = BufReader::new(stdout).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if let Ok(entry) = serde_json::from_str(&line) {
            recorder.entry(entry);
        }
    }
}
