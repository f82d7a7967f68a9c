//! What the operating system allows this process, and how much room there is.

use std::path::Path;

/// How many files this process may have open, once it has asked for all that it may; `None` is without limit.
#[cfg(unix)]
pub(crate) fn open_files() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum
}

/// Raises the limit of open files to all that this process may have: each stream is one, and the usual first limit
/// of 1024 is there for programs that use `select`.
#[cfg(unix)]
pub(crate) fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return;
    }
    let wanted = Rlimit {
        current: maximum,
        maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, wanted) {
        log::warn!(error:err = error; "the limit of open files stays at {current:?}");
    }
}

/// A file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Disk {
    /// What may still be written, in bytes.
    pub(crate) free: u64,
    /// Altogether, in bytes.
    pub(crate) size: u64,
}

/// The file system of `path`, or of the nearest directory above it that this process may look at.
pub(crate) fn disk(path: &Path) -> Option<Disk> {
    let found = path
        .ancestors()
        .find_map(|path| rustix::fs::statvfs(path).ok())?;
    Some(Disk {
        free: found.f_bavail.saturating_mul(found.f_frsize),
        size: found.f_blocks.saturating_mul(found.f_frsize),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_to_all_that_is_allowed() {
        raise_open_files();
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }

    #[test]
    fn a_directory_that_can_not_be_reached_is_on_the_disk_of_one_above_it() {
        let disk = disk(Path::new("/nowhere/at/all")).unwrap();
        assert!(disk.size > 0 && disk.free <= disk.size);
    }
}
