//! Programs that may take so long and no longer.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;

/// How often a running program is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// By itself.
    With(ExitStatus),
    /// It took too long and was killed.
    Overdue,
}

impl Ended {
    pub(super) fn is_success(self) -> bool {
        matches!(self, Self::With(status) if status.success())
    }
}

/// A program that is killed when this is dropped.
pub(super) struct Running {
    child: Child,
}

impl Running {
    /// Starts it with nothing on its standard input, and both its outputs in the file `log`.
    pub(super) fn start(mut command: Command, log: &Path) -> anyhow::Result<Self> {
        let file =
            File::create(log).with_context(|| format!("{} can't be written", log.display()))?;
        let program = command.get_program().to_owned();
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("{} can't be run", program.display()))?;
        Ok(Self { child })
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub(super) fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Waits for its end, and kills it when `limit` is up.
    pub(super) fn wait(mut self, limit: Duration) -> anyhow::Result<Ended> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.ended()? {
                return Ok(Ended::With(status));
            }
            if Instant::now() >= deadline {
                return Ok(Ended::Overdue);
            }
            thread::sleep(LOOK);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended needs no killing.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Asks `found` until it answers something, or fails when `limit` is up.
pub(super) fn until<T>(
    limit: Duration,
    what: &str,
    mut found: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = found()? {
            return Ok(found);
        }
        if Instant::now() >= deadline {
            anyhow::bail!("{what} did not come within {} s", limit.as_secs());
        }
        thread::sleep(LOOK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn what_takes_too_long_is_killed() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let began = Instant::now();
        let running = Running::start(shell("echo here; exec sleep 60"), &log).unwrap();
        let ended = running.wait(Duration::from_millis(300)).unwrap();
        assert_eq!(ended, Ended::Overdue);
        assert!(began.elapsed() < Duration::from_secs(30) && !ended.is_success());
        assert_eq!(std::fs::read_to_string(&log).unwrap(), "here\n");
    }

    #[test]
    fn an_exit_code_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let end = |script| {
            let log = directory.path().join("log");
            let running = Running::start(shell(script), &log).unwrap();
            running.wait(Duration::from_secs(30)).unwrap().is_success()
        };
        assert!(end("true") && !end("exit 3"));
    }

    #[test]
    fn waiting_for_what_never_comes_ends() {
        let never = until(Duration::from_millis(1), "rain", || Ok(None::<()>));
        assert_eq!(
            never.unwrap_err().to_string(),
            "rain did not come within 0 s"
        );
    }
}
