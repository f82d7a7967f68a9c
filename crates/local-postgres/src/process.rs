//! A child process that does not outlive this one.

use std::io;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use crate::log_file::LogFile;

/// How often a short-lived program is asked whether it has ended.
const POLL: Duration = Duration::from_millis(5);

/// A running server, and the thread that waits for its end.
///
/// Linux sends the death signal when the *thread* that started the child ends, so the child is started by a thread of its
/// own, which lives exactly as long as the child.
pub(crate) struct Server {
    pid: Pid,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Clone, Copy)]
enum State {
    Running,
    /// `None` where somebody else collected the status.
    Ended(Option<ExitStatus>),
}

impl Server {
    /// Starts the command with the death signal SIGINT, in a process group of its own, so that Ctrl-C at a terminal
    /// reaches the owner alone, which stops the server when it no longer needs it.
    pub(crate) fn spawn(mut command: Command, log: &LogFile) -> io::Result<Self> {
        use std::os::unix::process::CommandExt as _;
        command
            .stdin(Stdio::null())
            .stdout(log.writer()?)
            .stderr(log.writer()?)
            .process_group(0);
        die_with_parent(&mut command, Signal::INT);
        let shared = Arc::new(Shared {
            state: Mutex::new(State::Running),
            ended: Condvar::new(),
        });
        let (sender, receiver) = mpsc::channel();
        let theirs = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("local-postgres".to_owned())
            .spawn(move || match command.spawn() {
                Err(error) => drop(sender.send(Err(error))),
                Ok(mut child) => {
                    let pid = Pid::from_child(&child);
                    drop(sender.send(Ok(pid)));
                    // The status is collected under the lock: until then the number can't be given to another process, so
                    // that `signal` never hits a stranger.
                    while matches!(
                        waitid(
                            WaitId::Pid(pid),
                            WaitIdOptions::EXITED | WaitIdOptions::NOWAIT
                        ),
                        Err(rustix::io::Errno::INTR)
                    ) {}
                    *theirs.lock() = State::Ended(child.wait().ok());
                    theirs.ended.notify_all();
                }
            })?;
        let pid = receiver
            .recv()
            .map_err(|_| io::Error::other("the starting thread ended"))??;
        Ok(Self {
            pid,
            shared,
            thread: Some(thread),
        })
    }

    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// How it ended, if it did.
    pub(crate) fn ended(&self) -> Option<String> {
        match *self.shared.lock() {
            State::Running => None,
            State::Ended(status) => {
                Some(status.map_or_else(|| "it ended".to_owned(), |status| status.to_string()))
            }
        }
    }

    /// Sends a signal, unless the server has ended.
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        match *self.shared.lock() {
            State::Running => Ok(kill_process(self.pid, signal)?),
            State::Ended(_) => Ok(()),
        }
    }

    /// Waits for the end; answers whether it came within `limit`.
    pub(crate) fn wait(&mut self, limit: Duration) -> bool {
        let state = self.shared.lock();
        let (state, _) = self
            .shared
            .ended
            .wait_timeout_while(state, limit, |state| matches!(state, State::Running))
            .unwrap_or_else(PoisonError::into_inner);
        let ended = matches!(*state, State::Ended(_));
        drop(state);
        if ended && let Some(thread) = self.thread.take() {
            // The thread has nothing left to do but to return.
            drop(thread.join());
        }
        ended
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs a program to its end within `limit`, its output into the log; answers what went wrong, if anything.
pub(crate) fn run(mut command: Command, log: &LogFile, limit: Duration) -> Result<(), String> {
    let prepared = || -> io::Result<Command> {
        command
            .stdin(Stdio::null())
            .stdout(log.writer()?)
            .stderr(log.writer()?);
        die_with_parent(&mut command, Signal::TERM);
        Ok(command)
    };
    let mut command = prepared().map_err(|error| format!("its log cannot be written: {error}"))?;
    let program = Path::new(command.get_program()).display().to_string();
    let mut child = command
        .spawn()
        .map_err(|error| format!("{program} cannot be run: {error}"))?;
    let deadline = Instant::now() + limit;
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => return Err(status.to_string()),
            Ok(None) if Instant::now() < deadline => thread::sleep(POLL),
            Ok(None) => {
                // Both can fail only if it has just ended, which is as good.
                drop(child.kill());
                drop(child.wait());
                return Err(format!("it took longer than {limit:?}"));
            }
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// Has Linux send `signal` to the child when the thread that starts it ends.
#[cfg(target_os = "linux")]
#[expect(
    unsafe_code,
    reason = "nothing but `pre_exec` runs between the change of account, which clears the death signal, and exec"
)]
fn die_with_parent(command: &mut Command, signal: Signal) {
    use rustix::process::{getpid, getppid, set_parent_process_death_signal};
    use std::os::unix::process::CommandExt as _;

    let parent = getpid();
    let before_exec = move || {
        set_parent_process_death_signal(Some(signal))?;
        // A parent that died before this line sends no signal any more.
        if getppid() == Some(parent) {
            Ok(())
        } else {
            Err(rustix::io::Errno::SRCH.into())
        }
    };
    // SAFETY: between fork and exec only async-signal-safe calls are allowed. The closure makes two plain system calls,
    // allocates nothing, takes no lock, and its errors hold a number. std changes the account before it runs.
    unsafe {
        command.pre_exec(before_exec);
    }
}

/// Other systems have no death signal; the next start on the directory stops a server that was left over.
#[cfg(not(target_os = "linux"))]
fn die_with_parent(_command: &mut Command, _signal: Signal) {}
