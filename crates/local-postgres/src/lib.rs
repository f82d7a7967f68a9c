//! A private PostgreSQL server as a child process, from the server package installed on the machine.
//!
//! For development and for tests: nothing to set up, nothing to clean up. [`Installation::find`] looks for an installed
//! server, and [`Cluster::start`] runs it on a data directory of its own, reachable through a Unix socket in a directory
//! that only its owner can enter, and through nothing else. The data stay until somebody deletes the directory.
//!
//! ```no_run
//! use local_postgres::{Cluster, Installation, Options};
//!
//! let installation = Installation::find(None)?;
//! let cluster = Cluster::start(&installation, &Options::new("./.data/pg"), &mut |_| {})?;
//! let url = cluster.url(); // postgres://postgres@/postgres?host=%2Fhome%2Fme%2F.data%2Fpg%2Fsocket
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The server lives no longer than the process that started it. Dropping the [`Cluster`] stops it in PostgreSQL's fast
//! mode. When the process dies without a word (`kill -9`), Linux signals the server, which then stops in the same mode;
//! elsewhere the next start on the directory stops it. Nothing that was committed is lost either way: `fsync` is on.
//!
//! Every call blocks, with a bound; call from a thread that may block.

#![deny(unsafe_code)]

mod account;
mod cluster;
mod error;
mod home;
mod initdb;
mod installation;
mod log_file;
mod predecessor;
mod process;
mod wire;

pub use cluster::{Cluster, Options, Progress};
pub use error::{FindError, StartError, StopError};
pub use installation::{Installation, OLDEST_MAJOR};
