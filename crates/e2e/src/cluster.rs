//! A PostgreSQL of a test's own: what is done to it disturbs nobody else.

use std::fs;
use std::path::PathBuf;

use local_postgres::{Cluster, Installation, Options};
use rustix::process::{Pid, Signal, kill_process};

use crate::database::{Database, Frozen, installation, options};
use crate::wait::{SOON, until};

/// A PostgreSQL that can be stopped, frozen and started again.
pub struct OwnPostgres {
    installation: Installation,
    options: Options,
    url: String,
    /// `None` while it is stopped.
    cluster: Option<Cluster>,
}

impl OwnPostgres {
    /// Starts an empty one with these settings. No two of a run may have the same name.
    pub async fn start(name: &str, settings: &[(&str, &str)]) -> Self {
        let (installation, options) = (installation(), options(name, settings));
        let cluster = start(&installation, &options).await;
        Self {
            url: cluster.url(),
            cluster: Some(cluster),
            options: Options {
                fresh: false,
                ..options
            },
            installation,
        }
    }

    /// Its database. Whoever asks twice gets the same one.
    #[must_use]
    pub fn database(&self) -> Database {
        Database::at(&self.url)
    }

    /// Where its data lie.
    #[must_use]
    pub fn data_directory(&self) -> PathBuf {
        self.cluster.as_ref().unwrap().data_directory()
    }

    /// Ends it as `pg_ctl stop -m immediate` does: at once, without a word, to recover at the next start.
    pub async fn stop(&mut self) {
        let cluster = self.cluster.take().unwrap();
        kill_process(Pid::from_raw(cluster.pid()).unwrap(), Signal::QUIT).unwrap();
        until(SOON, async || {
            if cluster.is_running() {
                Err("it still runs")
            } else {
                Ok(())
            }
        })
        .await;
        tokio::task::spawn_blocking(move || drop(cluster))
            .await
            .unwrap();
    }

    /// Starts it again, and waits until it has recovered and accepts connections.
    pub async fn start_again(&mut self) {
        assert!(self.cluster.is_none(), "it runs");
        self.cluster = Some(start(&self.installation, &self.options).await);
    }

    /// Freezes all its processes: connections stay open, new ones are not refused either, and nothing is answered.
    #[must_use]
    pub fn freeze(&self) -> Frozen {
        let postmaster = self.cluster.as_ref().unwrap().pid();
        // The postmaster first: frozen, it starts no more of them.
        let mut frozen = Frozen::default();
        frozen.freeze(postmaster);
        for child in children(postmaster) {
            frozen.freeze(child);
        }
        frozen
    }
}

async fn start(installation: &Installation, options: &Options) -> Cluster {
    let (installation, options) = (installation.clone(), options.clone());
    tokio::task::spawn_blocking(move || Cluster::start(&installation, &options, &mut |_| {}))
        .await
        .unwrap()
        .unwrap()
}

/// The processes that this one has started.
fn children(parent: i32) -> Vec<i32> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| {
        // Their names, in brackets, may hold anything; state and parent come after.
        let Ok(status) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
            return false;
        };
        let after = status.rsplit_once(") ").map(|(_, after)| after);
        let of = after.and_then(|after| after.split(' ').nth(1)?.parse().ok());
        of == Some(parent)
    })
    .collect()
}
