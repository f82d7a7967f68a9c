//! The server that is judged, on a PostgreSQL of its own.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::bounded::{Ended, Running, until};
use crate::cargo::root;
use crate::environment;

/// The operator's key of these servers, which nobody else reaches.
pub(crate) const ROOT_KEY: &str = "the-root-key-of-the-conformance-run";

/// How long it may take until it listens, and to drain.
const START: Duration = Duration::from_secs(60);
const DRAIN: Duration = Duration::from_secs(40);

/// `deed serve`, killed when dropped.
pub(crate) struct Server {
    process: Running,
    /// What it writes.
    log: PathBuf,
    pub(super) address: SocketAddr,
}

impl Server {
    /// Starts the binary that was built on the database at `url`, listening at `listen`, with these further settings, and
    /// waits until it serves.
    pub(crate) fn start(
        url: &str,
        listen: &str,
        settings: &[(&str, &str)],
        log: &Path,
    ) -> anyhow::Result<Self> {
        let mut command = Command::new(root().join("target/debug/deed"));
        command
            .args(["serve", "--migrate", "--listen", listen])
            .env_clear()
            .env("PATH", environment::path())
            .env("RUST_LOG", "info")
            .env("DATABASE_URL", url)
            .env("DEED_ROOT_KEY", ROOT_KEY)
            .env("DEED_METRICS_LISTEN", "off")
            .envs(settings.iter().copied());
        let mut process = Running::start(command, log)?;
        let address = until(START, "the server's first word", || {
            let said = fs::read_to_string(log)?;
            if let Some(address) = listening(&said) {
                return Ok(Some(address.parse()?));
            }
            match process.ended()? {
                Some(status) => bail!("the server ended ({status}):\n{said}"),
                None => Ok(None),
            }
        })?;
        Ok(Self {
            process,
            log: log.to_owned(),
            address,
        })
    }

    pub(crate) fn base(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Asks it to stop as a service manager does, and waits until it has.
    pub(crate) fn stop(self) -> anyhow::Result<()> {
        let mut kill = Command::new("kill");
        kill.args(["-TERM", &self.process.id().to_string()]);
        crate::cargo::run(kill)?;
        match self.process.wait(DRAIN)? {
            Ended::With(status) if status.success() => Ok(()),
            Ended::With(status) => bail!("the server stopped with {status}"),
            Ended::Overdue => bail!("the server does not stop"),
        }
    }

    /// What it has logged as errors, which are its bugs.
    pub(super) fn errors(&self) -> anyhow::Result<Vec<String>> {
        let said = fs::read_to_string(&self.log)
            .with_context(|| format!("{} can't be read", self.log.display()))?;
        Ok(errors(&said).map(str::to_owned).collect())
    }
}

/// The address in `listening on http://127.0.0.1:41234`.
fn listening(said: &str) -> Option<&str> {
    let (_, rest) = said.split_once("listening on http://")?;
    // The whole line has been written.
    let (address, _) = rest.split_once('\n')?;
    address.split(['"', ' ']).next()
}

fn errors(said: &str) -> impl Iterator<Item = &str> {
    let is_error = |line: &&str| {
        let entry: Result<serde_json::Value, _> = serde_json::from_str(line);
        match entry {
            Ok(entry) => entry.get("level").is_some_and(|level| {
                level
                    .as_str()
                    .is_some_and(|level| level.eq_ignore_ascii_case("error"))
            }),
            // A panic before the log, or a backtrace.
            Err(_) => line.contains("panicked at"),
        }
    };
    said.lines().filter(is_error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_where_it_listens() {
        let line = "{\"message\":\"listening on http://127.0.0.1:41234\",\"a\":1}\n";
        assert_eq!(listening(line), Some("127.0.0.1:41234"));
        assert_eq!(listening("listening on http://127.0.0.1:412"), None);
    }

    #[test]
    fn finds_errors_among_other_lines() {
        let said = "{\"level\":\"info\",\"message\":\"error\"}\n{\"level\":\"ERROR\"}\nthread 'a' panicked at b\nelse\n";
        let found: Vec<_> = errors(said).collect();
        assert_eq!(found, ["{\"level\":\"ERROR\"}", "thread 'a' panicked at b"]);
    }
}
