use std::thread;
use std::time::Duration;

use deed_adapters::clock::SystemClock;
use deed_adapters::ids::SystemIds;
use deed_adapters::postgres::{Database, housekeeping, migrate};
use deed_domain::ports::{Clock as _, Ids as _};
use tokio_postgres::{Client, NoTls};

use crate::cluster;

/// How many connections a test may hold through one pool.
const POOL: usize = 8;

/// How long actions are kept there: partitions are of months.
const RETENTION: Duration = Duration::from_secs(30 * 24 * 3600);

/// A schema of its own in the shared cluster, migrated and with this month's partitions. Dropped with everything in
/// it when the test ends, however it ends.
pub struct TestDatabase {
    schema: String,
    database: Database,
}

impl TestDatabase {
    /// A fresh schema.
    pub async fn fresh() -> Self {
        let this = Self::empty().await;
        migrate::up(&this.database).await.expect("migrations run");
        housekeeping::make_partitions(&this.database, SystemClock.now(), RETENTION)
            .await
            .expect("partitions are made");
        this
    }

    /// A schema with nothing in it.
    pub async fn empty() -> Self {
        let random = SystemIds.random_bytes();
        let name: String = random
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let schema = format!("test_{name}");
        connect(&cluster_url().await)
            .await
            .batch_execute(&format!("CREATE SCHEMA {schema}"))
            .await
            .expect("a schema can be created");
        let url = within(&cluster_url().await, &schema);
        let database = Database::new(&url, POOL).expect("the URL is valid");
        Self { schema, database }
    }

    /// The pool.
    #[must_use]
    pub fn database(&self) -> Database {
        self.database.clone()
    }

    /// The URL of this schema, for another pool or another process.
    #[must_use]
    pub fn url(&self) -> String {
        within(cluster::url(), &self.schema)
    }

    /// A connection of its own, to look at what is stored.
    pub async fn client(&self) -> Client {
        connect(&self.url()).await
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        self.database.close();
        let schema = self.schema.clone();
        // A runtime can't be blocked on from inside another one.
        let dropped = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.expect("a runtime can be made").block_on(async {
                let client = connect(cluster::url()).await;
                let sql = format!("SET lock_timeout = '10s'; DROP SCHEMA {schema} CASCADE");
                client.batch_execute(&sql).await
            })
        })
        .join();
        // What the test left running may look at the tables just now, and PostgreSQL has to refuse one of the two.
        // That is no fault of the test, and the whole cluster is thrown away soon.
        if !matches!(dropped, Ok(Ok(()))) {
            eprintln!("the schema {} was not dropped: {dropped:?}", self.schema);
        }
    }
}

/// Starting the cluster blocks.
async fn cluster_url() -> String {
    tokio::task::spawn_blocking(|| cluster::url().to_owned())
        .await
        .expect("PostgreSQL is there")
}

fn within(url: &str, schema: &str) -> String {
    let separator = if url.contains('?') { '&' } else { '?' };
    format!("{url}{separator}options=-csearch_path%3D{schema}")
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls)
        .await
        .expect("PostgreSQL answers");
    tokio::spawn(connection);
    client
}
