//! Processes that do not outlive the one that started them, even when that is killed.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// The word by which the program of this process is asked to become another one, under guard.
pub const GUARD: &str = "guarded";

/// The command that runs `program`, so that it dies with this process. Must be started by a thread that lives as long as
/// the process: Linux looks at the thread.
#[must_use]
pub fn guarded(program: &str) -> tokio::process::Command {
    let mut command = tokio::process::Command::new(std::env::current_exe().unwrap());
    command
        .args([GUARD, &std::process::id().to_string(), program])
        .env_clear()
        // Ctrl-C at a terminal is for the one that started it, which ends the others.
        .process_group(0)
        .kill_on_drop(true);
    command
}

/// What [`guarded`] has started: becomes the program, with the process `parent` as its life line. Returns only when that
/// can't be.
#[must_use]
pub fn become_program(parent: &str, program: &str, arguments: &[String]) -> std::io::Error {
    match tie_to(parent) {
        Ok(()) => Command::new(program).args(arguments).exec(),
        Err(error) => error,
    }
}

/// Has Linux kill this process when the thread that started it ends.
#[cfg(target_os = "linux")]
fn tie_to(parent: &str) -> std::io::Result<()> {
    use rustix::process::{Signal, getppid, set_parent_process_death_signal};
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // A parent that died before this line sends no signal any more.
    match getppid().is_some_and(|pid| pid.as_raw_nonzero().to_string() == parent) {
        true => Ok(()),
        false => Err(std::io::Error::other("the one that started this has ended")),
    }
}

/// Other systems have no such signal: what is left over there has to be ended by hand after a kill.
#[cfg(not(target_os = "linux"))]
fn tie_to(_: &str) -> std::io::Result<()> {
    Ok(())
}
