//! A child process whose output is kept line by line, and which does not outlive its test.

use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use crate::wait::within;

/// Where a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A child process.
pub struct Process {
    child: Child,
    pid: Pid,
    lines: watch::Receiver<Vec<(Output, String)>>,
}

impl Process {
    /// Starts it, with its output captured and nothing on its standard input.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let pid = i32::try_from(child.id().unwrap()).unwrap();
        let (sender, lines) = watch::channel(Vec::new());
        let sender = Arc::new(sender);
        let stdout = child.stdout.take().unwrap();
        let stderr = child.stderr.take().unwrap();
        tokio::spawn(keep(Output::Stdout, stdout, Arc::clone(&sender)));
        tokio::spawn(keep(Output::Stderr, stderr, sender));
        Self {
            child,
            pid: Pid::from_raw(pid).unwrap(),
            lines,
        }
    }

    /// Waits until `find` finds what it looks for in a line.
    pub async fn line<T>(&self, limit: Duration, find: impl Fn(Output, &str) -> Option<T>) -> T {
        let mut lines = self.lines.clone();
        let found = async {
            loop {
                let found = lines
                    .borrow_and_update()
                    .iter()
                    .find_map(|(output, line)| find(*output, line));
                if let Some(found) = found {
                    return found;
                }
                if lines.changed().await.is_err() {
                    panic!("the process ended without saying it:\n{}", self.output());
                }
            }
        };
        match tokio::time::timeout(limit, found).await {
            Ok(found) => found,
            Err(_) => panic!("not said within {limit:?}:\n{}", self.output()),
        }
    }

    /// All that it has said so far, both outputs together.
    #[must_use]
    pub fn output(&self) -> String {
        let lines = self.lines.borrow();
        lines.iter().map(|(_, line)| format!("{line}\n")).collect()
    }

    /// All lines that it has written to one output so far.
    #[must_use]
    pub fn lines(&self, output: Output) -> Vec<String> {
        let lines = self.lines.borrow();
        lines
            .iter()
            .filter(|(from, _)| *from == output)
            .map(|(_, line)| line.clone())
            .collect()
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Whether it runs; a frozen one does.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).unwrap();
    }

    /// Waits for its end.
    pub async fn ended(&mut self, limit: Duration) -> ExitStatus {
        let status = within(limit, "the end of the process", self.child.wait())
            .await
            .unwrap();
        // What it said last is read before anybody looks at it.
        let mut lines = self.lines.clone();
        let drained = async { while lines.changed().await.is_ok() {} };
        drop(tokio::time::timeout(Duration::from_secs(5), drained).await);
        status
    }

    /// Ends it at once (SIGKILL) and waits until it is gone.
    pub async fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.ended(Duration::from_secs(10)).await;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "--- what the process {} said:\n{}---",
                self.id(),
                self.output()
            );
        }
    }
}

async fn keep(
    output: Output,
    stream: impl AsyncRead + Unpin,
    sender: Arc<watch::Sender<Vec<(Output, String)>>>,
) {
    let mut lines = BufReader::new(stream).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        sender.send_modify(|lines| lines.push((output, line)));
    }
}
