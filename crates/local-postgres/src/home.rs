//! Where a cluster's files lie, and the lock that gives them to one process.

use std::fs::{self, DirBuilder, File, Permissions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, symlink,
};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

use crate::account::Account;
use crate::error::Doing as _;
use crate::{Options, Progress, StartError};

/// The name of a server's socket, which clients derive from the port.
pub(crate) const SOCKET: &str = ".s.PGSQL.5432";
/// The longest path of a socket that every system takes is 103 bytes; this leaves some room.
const SOCKET_PATH_MAX: usize = 99;
/// A process that was killed a moment ago may still hold its lock.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);
/// The link that leads to the data where the server's account can't enter the directory that was asked for.
const ELSEWHERE: &str = "elsewhere";
const LOCK: &str = "lock";
const DATA: &str = "data";
const UNFINISHED: &str = "data.unfinished.";

/// A cluster's files: `data/`, `socket/`, `postgres.log` and `lock`, in a directory that only the server's account enters.
pub(crate) struct Home {
    /// The directory that the caller named.
    pub(crate) directory: PathBuf,
    /// Where the files are: that directory, or one elsewhere that its link names.
    root: PathBuf,
    pub(crate) account: Account,
}

impl Home {
    /// Makes the directories, as far as they don't exist.
    pub(crate) fn prepare(
        options: &Options,
        progress: &mut dyn FnMut(&Progress),
    ) -> Result<Self, StartError> {
        let asked = &options.directory;
        fs::create_dir_all(asked).doing("create", asked)?;
        let directory = fs::canonicalize(asked).doing("find", asked)?;
        let link = directory.join(ELSEWHERE);
        let linked = fs::read_link(&link).ok();
        if linked.is_none() {
            refuse_foreign_files(&directory)?;
        }
        let here = linked.clone().unwrap_or_else(|| directory.clone());
        let account = Account::choose(&here.join(DATA))?;
        let reachable = account == Account::Own
            || directory
                .parent()
                .is_none_or(|parent| account.can_enter(parent));
        let root = match linked {
            // Only a link of ours is followed: what it leads to changes its owner.
            Some(root) if root.parent() == Some(&options.unreachable_base) => root,
            Some(_) => return Err(StartError::NotOurs { directory }),
            None if reachable => directory.clone(),
            None if directory.join(DATA).exists() => {
                return Err(StartError::Unreachable {
                    directory,
                    uid: account.uid(),
                });
            }
            None => {
                let root = settle_elsewhere(&options.unreachable_base, &directory, &link)?;
                progress(&Progress::Elsewhere {
                    directory: root.clone(),
                });
                root
            }
        };
        if !root.is_dir() {
            fs::create_dir_all(&root).doing("create", &root)?;
        }
        account.give(&root)?;
        fs::set_permissions(&root, Permissions::from_mode(0o700))
            .doing("close to others", &root)?;
        Ok(Self {
            directory,
            root,
            account,
        })
    }

    /// Takes the directory for this process, until the answer is dropped.
    pub(crate) fn lock(&self) -> Result<File, StartError> {
        let path = self.root.join(LOCK);
        let mut file = File::options()
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .doing("open", &path)?;
        let deadline = Instant::now() + LOCK_PATIENCE;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                    thread::sleep(Duration::from_millis(20))
                }
                Err(TryLockError::WouldBlock) => {
                    let mut text = String::new();
                    let holder = file
                        .read_to_string(&mut text)
                        .ok()
                        .and_then(|_| text.trim().parse().ok());
                    return Err(StartError::AlreadyRunning {
                        directory: self.directory.clone(),
                        holder,
                    });
                }
                Err(TryLockError::Error(source)) => {
                    return Err(StartError::Io {
                        action: "lock",
                        path,
                        source,
                    });
                }
            }
        }
        let written = file
            .set_len(0)
            .and_then(|()| writeln!(file, "{}", std::process::id()));
        written.doing("write", &path)?;
        Ok(file)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.root.join(DATA)
    }

    /// Where `initdb` works; it becomes [`Home::data`] when it is complete. The name is this process's own: an `initdb`
    /// whose owner was killed deletes its directory when it notices, and must not meet this one.
    pub(crate) fn unfinished_data(&self) -> PathBuf {
        self.root
            .join(format!("{UNFINISHED}{}", std::process::id()))
    }

    /// What earlier runs of `initdb` did not complete.
    pub(crate) fn abandoned_data(&self) -> Result<Vec<PathBuf>, StartError> {
        let entries = fs::read_dir(&self.root).doing("read", &self.root)?;
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        Ok(names
            .filter(|name| name.starts_with(UNFINISHED))
            .map(|name| self.root.join(name))
            .collect())
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.root.join("postgres.log")
    }

    /// The directory of the socket: beside the data, or a short one by a digest where that path is too long for a socket.
    pub(crate) fn socket_directory(&self) -> PathBuf {
        let beside = self.root.join("socket");
        if beside.join(SOCKET).as_os_str().len() <= SOCKET_PATH_MAX {
            beside
        } else {
            Path::new("/tmp").join(format!("local-postgres-{}", digest(&self.root)))
        }
    }

    /// Makes the socket's directory, or makes sure that an existing one is closed to others.
    pub(crate) fn prepare_socket_directory(&self) -> Result<PathBuf, StartError> {
        let directory = self.socket_directory();
        match DirBuilder::new().mode(0o700).create(&directory) {
            Ok(()) => self.account.give(&directory)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(source) => {
                return Err(StartError::Io {
                    action: "create",
                    path: directory,
                    source,
                });
            }
        }
        // Not followed: in /tmp a link could have been laid by anybody.
        let metadata = fs::symlink_metadata(&directory).doing("look at", &directory)?;
        let uid = self.account.uid();
        if metadata.is_dir() && metadata.uid() == uid && metadata.mode() & 0o077 == 0 {
            Ok(directory)
        } else {
            Err(StartError::NotPrivate { directory, uid })
        }
    }
}

/// A directory that already holds something is ours only if it holds our lock: nobody's files change their owner.
fn refuse_foreign_files(directory: &Path) -> Result<(), StartError> {
    let mut entries = fs::read_dir(directory).doing("read", directory)?;
    if entries.next().is_some() && !directory.join(LOCK).is_file() {
        return Err(StartError::NotOurs {
            directory: directory.to_owned(),
        });
    }
    Ok(())
}

/// Makes a directory under `base` for the data of `directory`, and a link to it.
///
/// It is named by a digest of the path. A name that is taken belonged to a directory that has since been deleted or moved;
/// its data are left alone.
fn settle_elsewhere(base: &Path, directory: &Path, link: &Path) -> Result<PathBuf, StartError> {
    if !base.exists() {
        fs::create_dir_all(base).doing("create", base)?;
        // The server's account has to pass through, whatever the umask says.
        fs::set_permissions(base, Permissions::from_mode(0o755)).doing("open to others", base)?;
    }
    let digest = digest(directory);
    let mut number = 1;
    loop {
        let name = if number == 1 {
            digest.clone()
        } else {
            format!("{digest}-{number}")
        };
        let root = base.join(name);
        match DirBuilder::new().mode(0o700).create(&root) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                number += 1;
                continue;
            }
            Err(source) => {
                return Err(StartError::Io {
                    action: "create",
                    path: root,
                    source,
                });
            }
        }
        match symlink(&root, link) {
            Ok(()) => return Ok(root),
            // Another process was faster.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                fs::remove_dir(&root).doing("remove", &root)?;
                return fs::read_link(link).doing("read", link);
            }
            Err(source) => {
                return Err(StartError::Io {
                    action: "create",
                    path: link.to_owned(),
                    source,
                });
            }
        }
    }
}

/// 16 hexadecimal digits of the path's SHA-256.
fn digest(path: &Path) -> String {
    Sha256::digest(path.as_os_str().as_bytes())
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(root: &Path) -> Home {
        Home {
            directory: root.to_owned(),
            root: root.to_owned(),
            account: Account::Own,
        }
    }

    #[test]
    fn a_socket_lies_beside_the_data_while_its_path_is_short() {
        let fits =
            Path::new("/").join("x".repeat(SOCKET_PATH_MAX - "//socket/.s.PGSQL.5432".len()));
        let socket = home(&fits).socket_directory();
        assert_eq!(socket, fits.join("socket"));
        assert_eq!(socket.join(SOCKET).as_os_str().len(), SOCKET_PATH_MAX);
    }

    #[test]
    fn a_socket_moves_to_a_short_directory_when_its_path_is_long() {
        let long =
            Path::new("/").join("x".repeat(SOCKET_PATH_MAX - "//socket/.s.PGSQL.5432".len() + 1));
        let socket = home(&long).socket_directory();
        assert!(socket.starts_with("/tmp"), "{socket:?}");
        assert!(socket.join(SOCKET).as_os_str().len() < 100);
        assert_ne!(socket, home(&long.join("other")).socket_directory());
    }

    #[test]
    fn a_socket_directory_that_others_can_enter_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let home = home(directory.path());
        let socket = home.prepare_socket_directory().unwrap();
        assert_eq!(fs::metadata(&socket).unwrap().mode() & 0o777, 0o700);
        fs::set_permissions(&socket, Permissions::from_mode(0o701)).unwrap();
        assert!(matches!(
            home.prepare_socket_directory(),
            Err(StartError::NotPrivate { .. })
        ));
    }

    #[test]
    fn a_link_in_place_of_the_socket_directory_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let home = home(directory.path());
        fs::create_dir(directory.path().join("target")).unwrap();
        symlink(directory.path().join("target"), home.socket_directory()).unwrap();
        assert!(matches!(
            home.prepare_socket_directory(),
            Err(StartError::NotPrivate { .. })
        ));
    }

    #[test]
    fn the_lock_names_its_holder() {
        let directory = tempfile::tempdir().unwrap();
        let home = home(directory.path());
        let held = home.lock().unwrap();
        let Err(StartError::AlreadyRunning { holder, .. }) = home.lock() else {
            panic!("locked twice")
        };
        assert_eq!(holder, Some(std::process::id()));
        drop(held);
        home.lock().unwrap();
    }

    #[test]
    fn a_directory_with_files_of_others_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("thesis.txt"), "mine").unwrap();
        let before = fs::metadata(directory.path()).unwrap();
        let result = Home::prepare(&Options::new(directory.path()), &mut |_| {});
        assert!(matches!(result, Err(StartError::NotOurs { .. })));
        let after = fs::metadata(directory.path()).unwrap();
        assert_eq!((before.uid(), before.mode()), (after.uid(), after.mode()));
    }

    #[test]
    fn a_link_that_leads_out_of_the_base_is_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let strange = tempfile::tempdir().unwrap();
        symlink(strange.path(), directory.path().join(ELSEWHERE)).unwrap();
        let before = fs::metadata(strange.path()).unwrap();
        let result = Home::prepare(&Options::new(directory.path()), &mut |_| {});
        assert!(matches!(result, Err(StartError::NotOurs { .. })));
        assert_eq!(before.uid(), fs::metadata(strange.path()).unwrap().uid());
    }

    #[test]
    fn a_name_elsewhere_that_is_taken_is_not_used_again() {
        let base = tempfile::tempdir().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let link = directory.path().join(ELSEWHERE);
        let first = settle_elsewhere(base.path(), directory.path(), &link).unwrap();
        assert_eq!(fs::read_link(&link).unwrap(), first);
        fs::remove_file(&link).unwrap();
        let second = settle_elsewhere(base.path(), directory.path(), &link).unwrap();
        assert_ne!(first, second);
        assert!(first.is_dir() && second.is_dir());
    }
}
