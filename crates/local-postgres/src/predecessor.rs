//! The server of an earlier start, whose owner was killed: it may still run, still be stopping, or be long gone with its
//! files left behind.
//!
//! All of this happens under the directory's lock, so whatever runs here has no owner any more.

use std::fs;
use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::error::Doing as _;
use crate::home::{Home, SOCKET};
use crate::wire::{Connection, WireError};
use crate::{Progress, StartError};

/// How long a fast shutdown may take, then an immediate one.
const FAST: Duration = Duration::from_secs(20);
const IMMEDIATE: Duration = Duration::from_secs(10);
/// How long to watch for the end of a process of which the system doesn't tell what it is.
#[cfg(not(target_os = "linux"))]
const UNKNOWN: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(10);

/// Waits until nothing serves the data any more, and clears away what a killed server left behind.
pub(crate) fn clear(home: &Home, progress: &mut dyn FnMut(&Progress)) -> Result<(), StartError> {
    let pid_file = home.data().join("postmaster.pid");
    let socket = home.socket_directory().join(SOCKET);
    let began = Instant::now();
    let mut sent = None;
    while let Some(pid) = recorded_pid(&pid_file) {
        if !serves(pid, &home.data(), &socket, began) {
            if test_kill_process(pid) != Err(rustix::io::Errno::SRCH) {
                disown(&pid_file)?;
            }
            break;
        }
        let waited = began.elapsed();
        let due = if waited < FAST {
            Signal::INT
        } else {
            Signal::QUIT
        };
        if sent != Some(due) {
            progress(&Progress::StoppingPredecessor {
                pid: pid.as_raw_nonzero().get(),
            });
            // It may have ended by itself since; whether it has is looked at again above.
            let _ = kill_process(pid, due);
            sent = Some(due);
        }
        if waited > FAST + IMMEDIATE {
            return Err(StartError::WontStop {
                directory: home.directory.clone(),
                pid: pid.as_raw_nonzero().get(),
            });
        }
        thread::sleep(POLL);
    }
    // PostgreSQL would take the number in a socket's lock file for a living server, too.
    remove_file(&socket)?;
    remove_file(&socket.with_file_name(format!("{SOCKET}.lock")))
}

/// The number in the first line of PostgreSQL's own lock file.
fn recorded_pid(file: &Path) -> Option<Pid> {
    let text = fs::read_to_string(file).ok()?;
    Pid::from_raw(
        text.lines()
            .next()?
            .trim()
            .parse()
            .ok()
            .filter(|number| *number > 1)?,
    )
}

/// Whether `pid` is a server on these data. Connecting tells; while a server is closing its socket, its working directory
/// does, which is the data directory.
fn serves(pid: Pid, data: &Path, socket: &Path, _began: Instant) -> bool {
    if !matches!(
        Connection::open(socket, "postgres", "postgres", Duration::from_secs(1)),
        Err(WireError::Nobody)
    ) {
        return true;
    }
    #[cfg(target_os = "linux")]
    {
        let directory = format!("/proc/{}/cwd", pid.as_raw_nonzero());
        fs::read_link(directory).is_ok_and(|directory| directory == data)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = data;
        test_kill_process(pid).is_ok() && _began.elapsed() < UNKNOWN
    }
}

/// Rewrites PostgreSQL's lock file, whose number now belongs to a process that has nothing to do with it.
///
/// PostgreSQL refuses to start while a process of that number lives, unless it is its own parent. The file is not deleted:
/// its other lines lead PostgreSQL to the shared memory of the old server, by which it finds backends that still run.
fn disown(pid_file: &Path) -> Result<(), StartError> {
    let text = fs::read_to_string(pid_file).doing("read", pid_file)?;
    let rest = text.split_once('\n').map_or("", |(_, rest)| rest);
    fs::write(pid_file, format!("{}\n{rest}", std::process::id())).doing("write", pid_file)
}

fn remove_file(file: &Path) -> Result<(), StartError> {
    match fs::remove_file(file) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(StartError::Io {
            action: "remove",
            path: file.to_owned(),
            source,
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_first_line_alone() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("postmaster.pid");
        for (text, expected) in [
            ("4711\n/data\n", Some(4711)),
            ("", None),
            ("0\n", None),
            ("1\n", None),
            ("-5\n", None),
            ("words\n", None),
        ] {
            fs::write(&file, text).unwrap();
            assert_eq!(
                recorded_pid(&file).map(|pid| pid.as_raw_nonzero().get()),
                expected,
                "{text:?}"
            );
        }
        fs::remove_file(&file).unwrap();
        assert_eq!(recorded_pid(&file), None);
    }

    #[test]
    fn a_disowned_file_keeps_the_rest() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("postmaster.pid");
        fs::write(&file, "4711\n/data\n1700000000\n5432\n").unwrap();
        disown(&file).unwrap();
        let expected = format!("{}\n/data\n1700000000\n5432\n", std::process::id());
        assert_eq!(fs::read_to_string(&file).unwrap(), expected);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_process_in_another_directory_serves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let pid = rustix::process::getpid();
        assert!(!serves(
            pid,
            directory.path(),
            &directory.path().join(SOCKET),
            Instant::now()
        ));
        let here = std::env::current_dir().unwrap();
        assert!(serves(
            pid,
            &here,
            &directory.path().join(SOCKET),
            Instant::now()
        ));
    }
}
