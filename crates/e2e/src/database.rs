//! A database for each test: a schema of its own, dropped with the test.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use local_postgres::{Cluster, Installation, Options, Progress};
use rustix::process::{Pid, Signal, kill_process};
use tokio_postgres::{Client, NoTls};

use crate::environment::variable;
use crate::unique;

/// An empty schema of a running PostgreSQL.
pub struct Database {
    /// What its connections are called.
    name: String,
    /// The server that it lies in, where the test shares it with others: then the schema goes with the test.
    shared: Option<String>,
    url: String,
}

impl Database {
    /// Creates it: in the server that `DEED_TEST_DATABASE_URL` names, else in a private one of this test process.
    pub async fn fresh() -> Self {
        let schema = format!("e2e_{}", unique());
        let client = connect(server_url()).await;
        client
            .batch_execute(&format!("CREATE SCHEMA {schema}"))
            .await
            .unwrap();
        let separator = if server_url().contains('?') { '&' } else { '?' };
        // The schema's name is also the connections' name, so that a test can tell its own in `pg_stat_activity`.
        let url = format!(
            "{}{separator}options=-csearch_path%3D{schema}&application_name={schema}",
            server_url()
        );
        Self {
            name: schema,
            shared: Some(server_url().to_owned()),
            url,
        }
    }

    /// The whole database at `url`, of a server that is the test's own.
    pub(crate) fn at(url: &str) -> Self {
        let name = format!("e2e_{}", unique());
        Self {
            url: format!("{url}&application_name={name}"),
            shared: None,
            name,
        }
    }

    /// Where it is, as `DATABASE_URL`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Ends every LISTEN connection of the servers on this database, from outside. Answers how many there were.
    pub async fn kill_listeners(&self) -> usize {
        self.kill("LISTEN%").await
    }

    /// Ends every connection of the servers on this database, from outside. Answers how many there were.
    pub async fn kill_all(&self) -> usize {
        self.kill("%").await
    }

    /// Freezes every LISTEN connection of the servers on this database: it stays open and tells nothing.
    pub async fn freeze_listeners(&self) -> Frozen {
        self.freeze("LISTEN%").await
    }

    /// Freezes every connection that the servers on this database have now: it stays open and answers nothing.
    pub async fn freeze_all(&self) -> Frozen {
        self.freeze("%").await
    }

    async fn kill(&self, doing: &str) -> usize {
        let client = self.outside().await;
        let backends = self.backends(&client, doing).await;
        let statement = "SELECT pg_terminate_backend(pid) FROM unnest($1::int4[]) AS pid";
        client.execute(statement, &[&backends]).await.unwrap();
        backends.len()
    }

    async fn freeze(&self, doing: &str) -> Frozen {
        let backends = self.backends(&self.outside().await, doing).await;
        assert!(!backends.is_empty(), "nobody is connected");
        let mut frozen = Frozen::default();
        for pid in backends {
            frozen.freeze(pid);
        }
        frozen
    }

    /// A connection that is none of its servers'.
    async fn outside(&self) -> Client {
        let url = self.url.replace(&self.name, "outside");
        match &self.shared {
            Some(server) => connect(server).await,
            None => connect(&url).await,
        }
    }

    /// The processes whose last statement is like `doing`.
    async fn backends(&self, client: &Client, doing: &str) -> Vec<i32> {
        let statement = "SELECT pid FROM pg_stat_activity
            WHERE application_name = $1 AND query LIKE $2 AND pid <> pg_backend_pid()";
        let rows = client
            .query(statement, &[&self.name, &doing])
            .await
            .unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// How many connections of the servers on this database are in this state, such as `idle in transaction%`.
    pub async fn sessions(&self, state: &str) -> i64 {
        let statement = "SELECT count(*) FROM pg_stat_activity
            WHERE application_name = $1 AND state LIKE $2 AND pid <> pg_backend_pid()";
        let client = self.outside().await;
        let row = client.query_one(statement, &[&self.name, &state]).await;
        row.unwrap().get(0)
    }

    /// A connection to it, for tests that look or meddle from outside.
    pub async fn connect(&self) -> Client {
        connect(&self.url).await
    }

    /// The same under another name than the servers', or what PostgreSQL says to that.
    pub async fn try_connect(&self) -> Result<Client, String> {
        let url = self.url.replace(&self.name, "outside");
        match tokio_postgres::connect(&url, NoTls).await {
            Ok((client, connection)) => {
                tokio::spawn(connection);
                Ok(client)
            }
            Err(error) => Err(error
                .as_db_error()
                .map_or(error.to_string(), ToString::to_string)),
        }
    }
}

/// Frozen processes of PostgreSQL; dropping this thaws them.
#[derive(Default)]
pub struct Frozen(Vec<Pid>);

impl Frozen {
    /// Freezes one more. One that has just ended needs no freezing.
    pub(crate) fn freeze(&mut self, pid: i32) {
        let pid = Pid::from_raw(pid).unwrap();
        if kill_process(pid, Signal::STOP).is_ok() {
            self.0.push(pid);
        }
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        for pid in &self.0 {
            // One that has ended needs no thawing.
            let _ = kill_process(*pid, Signal::CONT);
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let Some(server) = self.shared.take() else {
            return;
        };
        // A test that has failed may still hold a table of it.
        let drop_schema = format!("SET lock_timeout = '5s'; DROP SCHEMA {} CASCADE", self.name);
        // A test's runtime can't be blocked on from within, so this is done on a thread of its own. A failure is no
        // fault of the test: the whole server is thrown away soon.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async { connect(&server).await.batch_execute(&drop_schema).await })
        })
        .join();
        if !matches!(dropped, Ok(Ok(()))) {
            eprintln!("the schema {} was not dropped: {dropped:?}", self.name);
        }
    }
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

fn server_url() -> &'static str {
    static URL: OnceLock<String> = OnceLock::new();
    URL.get_or_init(|| match variable("DEED_TEST_DATABASE_URL") {
        Some(url) => url,
        None => private_cluster().url(),
    })
}

/// Runs until this process ends, and ends with it.
fn private_cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        // Without the hash that Cargo adds, so that the next build's directory is the same one.
        let executable = std::env::current_exe().unwrap();
        let name = executable.file_stem().unwrap().to_string_lossy();
        let name = name.rsplit_once('-').map_or(&*name, |(name, _)| name);
        private(name, &[("max_connections", "200")])
    })
}

/// A PostgreSQL of one's own, empty, with these settings. Ends when dropped, and with this process.
#[must_use]
pub fn private(name: &str, settings: &[(&str, &str)]) -> Cluster {
    let report = &mut |progress: &Progress| eprintln!("{progress}");
    Cluster::start(&installation(), &options(name, settings), report).unwrap()
}

/// The PostgreSQL that tests start servers of.
pub(crate) fn installation() -> Installation {
    let bin = variable("DEED_PG_BIN").map(PathBuf::from);
    Installation::find(bin.as_deref()).unwrap()
}

/// What a private server of this name is like.
pub(crate) fn options(name: &str, settings: &[(&str, &str)]) -> Options {
    let executable = std::env::current_exe().unwrap();
    let settings = settings
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Options {
        user: "deed".to_owned(),
        database: "deed".to_owned(),
        settings: settings.collect(),
        fresh: true,
        unreachable_base: PathBuf::from("/var/lib/deed-dev"),
        ..Options::new(
            target_directory(&executable)
                .join("e2e-postgres")
                .join(name),
        )
    }
}

/// `target`, from `target/debug/deps/<test>`.
fn target_directory(executable: &Path) -> PathBuf {
    executable.ancestors().nth(3).unwrap().to_owned()
}
