//! A server that was started from a package, until it is stopped.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::bail;

use crate::cargo::output;
use crate::http::Request;

/// How long it may take until it is ready, and until it has drained.
const READY: Duration = Duration::from_secs(30);
const DRAIN: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);

pub(super) struct Service {
    child: Child,
    address: SocketAddr,
    log: PathBuf,
}

impl Service {
    /// Starts `command` with its output in the file `log`, and waits until `/readyz` at `address` answers 200.
    pub(super) fn start(
        mut command: Command,
        address: SocketAddr,
        log: PathBuf,
    ) -> anyhow::Result<Self> {
        let output = fs::File::create(&log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()?;
        let mut service = Self {
            child,
            address,
            log,
        };
        service.until_ready()?;
        Ok(service)
    }

    fn until_ready(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY;
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("it has ended ({status}):\n{}", self.said());
            }
            match status(self.address, "/readyz") {
                Ok(200) => return Ok(()),
                Ok(_) | Err(_) if Instant::now() < deadline => thread::sleep(POLL),
                other => bail!("/readyz answered {other:?} for {READY:?}:\n{}", self.said()),
            }
        }
    }

    /// Stops it as a service manager does, and fails unless it ends well and in time.
    pub(super) fn stop(self) -> anyhow::Result<()> {
        let log = self.log.clone();
        let status = self.end()?;
        if !status.success() {
            bail!(
                "the server ended with {status}:\n{}",
                fs::read_to_string(log).unwrap_or_default()
            );
        }
        Ok(())
    }

    /// Asks it to stop, and waits for its end, be it a good one or not.
    pub(super) fn end(mut self) -> anyhow::Result<ExitStatus> {
        let mut kill = Command::new("kill");
        kill.args(["-TERM", &self.child.id().to_string()]);
        output(kill)?;
        let deadline = Instant::now() + DRAIN;
        loop {
            match self.child.try_wait()? {
                Some(status) => return Ok(status),
                None if Instant::now() < deadline => thread::sleep(POLL),
                None => bail!("it did not stop within {DRAIN:?}:\n{}", self.said()),
            }
        }
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // One that has ended needs no more.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// An address of loopback that nobody listened on a moment ago.
pub(super) fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?)
}

/// The status of GET `path`.
pub(super) fn status(address: SocketAddr, path: &str) -> anyhow::Result<u16> {
    Ok(Request::get(path).send(address)?.status)
}
