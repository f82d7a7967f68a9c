//! The conformance suites on PostgreSQL.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use deed_adapters::clock::SystemClock;
use deed_adapters::ids::SystemIds;
use deed_adapters::postgres::{
    Database, PgActionReader, PgActionTypes, PgApiKeys, PgAuditLog, PgAuthenticator, PgErasure,
    PgEventLog, PgLeases, PgSubmissions, PgUsers, WakeupHub,
};
use deed_conformance::{Hearing, Ports, ROOT_KEY, Store, suites};
use deed_domain::secret::RootKey;
use deed_testkit::TestDatabase;
use tokio::task::JoinSet;

struct Postgres {
    database: TestDatabase,
    background: Mutex<JoinSet<()>>,
}

#[async_trait]
impl Store for Postgres {
    async fn fresh() -> Self {
        Self {
            database: TestDatabase::fresh().await,
            background: Mutex::default(),
        }
    }

    async fn replica(&self, hearing: Hearing) -> Ports {
        let database = Database::new(&self.database.url(), 8).unwrap();
        let (clock, ids) = (Arc::new(SystemClock), Arc::new(SystemIds));
        let hub = WakeupHub::new(database.clone(), &SystemIds);
        match hearing {
            Hearing::Good => {
                self.background.lock().unwrap().spawn(hub.clone().run());
                let listening = async {
                    while !hub.is_listening() {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                };
                // Without a bound, a listener that never comes up would hang the suite instead of failing it.
                tokio::time::timeout(Duration::from_secs(20), listening)
                    .await
                    .unwrap();
            }
            Hearing::Deaf => {
                self.background
                    .lock()
                    .unwrap()
                    .spawn(hub.clone().run_deaf());
            }
        }
        let root = RootKey::parse(ROOT_KEY).unwrap();
        Ports {
            users: Arc::new(PgUsers::new(database.clone(), hub.clone(), ids.clone())),
            api_keys: Arc::new(PgApiKeys::new(database.clone(), hub.clone(), ids.clone())),
            authenticator: Arc::new(PgAuthenticator::new(
                database.clone(),
                hub.clone(),
                clock.clone(),
                Some(root),
            )),
            audit_log: Arc::new(PgAuditLog::new(database.clone())),
            erasure: Arc::new(PgErasure::new(database.clone())),
            action_types: Arc::new(PgActionTypes::new(database.clone())),
            submissions: Arc::new(PgSubmissions::new(database.clone(), hub.clone())),
            action_reader: Arc::new(PgActionReader::new(database.clone())),
            event_log: Arc::new(PgEventLog::new(database.clone())),
            leases: Arc::new(PgLeases::new(database, hub.clone())),
            wakeups: Arc::new(hub),
            clock,
            ids,
        }
    }
}

suites!(Postgres);
