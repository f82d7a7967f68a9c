//! Creating a data directory.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::error::Doing as _;
use crate::home::Home;
use crate::log_file::LogFile;
use crate::{Installation, StartError, process};

/// It takes about a second on a laptop, and some tens of seconds on the slowest disks.
const LIMIT: Duration = Duration::from_secs(180);
/// How long programs of an `initdb` that was killed may go on writing.
const LEFT_OVER: Duration = Duration::from_secs(5);

/// The major version that wrote the data, or `None` where there are none.
pub(crate) fn version_of(data: &Path) -> Result<Option<String>, StartError> {
    let file = data.join("PG_VERSION");
    match fs::read_to_string(&file) {
        Ok(version) => Ok(Some(version.trim().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(StartError::Io {
            action: "read",
            path: file,
            source,
        }),
    }
}

/// Creates the data directory, or leaves none: it is made beside its place and moved there when it is complete.
///
/// The encoding is UTF-8. The locale is C, which every system has and which sorts alike everywhere. Whoever can enter the
/// socket's directory is let in without password as any role.
pub(crate) fn run(
    installation: &Installation,
    home: &Home,
    log: &LogFile,
    user: &str,
) -> Result<(), StartError> {
    for abandoned in home.abandoned_data()? {
        remove(&abandoned)?;
    }
    let unfinished = home.unfinished_data();
    let mut command = home.account.command(&installation.bin().join("initdb"));
    command
        .current_dir(home.root())
        .arg("--pgdata")
        .arg(&unfinished)
        .args(["--username", user])
        .args([
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--data-checksums",
            "--no-instructions",
        ]);
    process::run(command, log, LIMIT).map_err(|reason| StartError::Initdb {
        reason,
        log: log.tail(),
    })?;
    let data = home.data();
    fs::rename(&unfinished, &data).doing("move", &unfinished)?;
    File::open(home.root())
        .and_then(|root| root.sync_all())
        .doing("write", home.root())
}

/// Deletes a directory with all that is in it, if it exists.
///
/// An `initdb` whose owner was killed a moment ago may still be writing into it, or be deleting it as well.
pub(crate) fn remove(directory: &Path) -> Result<(), StartError> {
    let began = Instant::now();
    loop {
        match fs::remove_dir_all(directory) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !directory.exists() => {
                return Ok(());
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotFound
                ) && began.elapsed() < LEFT_OVER => {}
            Err(source) => {
                return Err(StartError::Io {
                    action: "remove",
                    path: directory.to_owned(),
                    source,
                });
            }
        }
        thread::sleep(Duration::from_millis(10));
    }
}
