//! The file to which the server writes its log.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

/// A log that has grown past this many bytes is set aside at the next start; the one set aside before is deleted.
const ROTATE_AT: u64 = 16 * 1024 * 1024;
/// How much of the end is shown in an error.
const TAIL_LINES: usize = 20;
const TAIL_BYTES: u64 = 8 * 1024;

/// The log as it stood when this start began, so that an error shows only what this start wrote.
pub(crate) struct LogFile {
    path: PathBuf,
    start: u64,
}

impl LogFile {
    pub(crate) fn open(path: PathBuf) -> io::Result<Self> {
        if fs::metadata(&path).is_ok_and(|metadata| metadata.len() > ROTATE_AT) {
            fs::rename(&path, path.with_extension("log.1"))?;
        }
        let log = Self { path, start: 0 };
        let start = log.writer()?.metadata()?.len();
        Ok(Self { start, ..log })
    }

    /// A handle that appends; for the standard output of a program.
    pub(crate) fn writer(&self) -> io::Result<File> {
        File::options()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&self.path)
    }

    /// The last lines that were written since [`LogFile::open`].
    pub(crate) fn tail(&self) -> String {
        self.read_tail()
            .unwrap_or_else(|error| format!("({} cannot be read: {error})", self.path.display()))
    }

    fn read_tail(&self) -> io::Result<String> {
        let mut file = File::open(&self.path)?;
        let end = file.metadata()?.len();
        file.seek(SeekFrom::Start(
            self.start.max(end.saturating_sub(TAIL_BYTES)),
        ))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        let skipped = lines.len().saturating_sub(TAIL_LINES);
        Ok(lines
            .into_iter()
            .skip(skipped)
            .collect::<Vec<_>>()
            .join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn the_tail_is_what_this_start_wrote() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("postgres.log");
        fs::write(&path, "an earlier start\n").unwrap();
        let log = LogFile::open(path).unwrap();
        assert_eq!(log.tail(), "");
        for number in 1..=30 {
            writeln!(log.writer().unwrap(), "line {number}").unwrap();
        }
        let tail = log.tail();
        assert!(
            tail.starts_with("line 11\n") && tail.ends_with("line 30"),
            "{tail}"
        );
    }

    #[test]
    fn a_long_log_is_set_aside() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("postgres.log");
        File::create(&path).unwrap().set_len(ROTATE_AT + 1).unwrap();
        let log = LogFile::open(path.clone()).unwrap();
        assert_eq!(fs::metadata(&log.path).unwrap().len(), 0);
        assert_eq!(
            fs::metadata(path.with_extension("log.1")).unwrap().len(),
            ROTATE_AT + 1
        );
    }
}
