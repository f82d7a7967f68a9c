//! The conformance suites on PostgreSQL.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use chrono::TimeDelta;
use deed_adapters::clock::SystemClock;
use deed_adapters::ids::SystemIds;
use deed_adapters::postgres::{
    Database, PgActionReader, PgActionTypes, PgApiKeys, PgAuditLog, PgAuthenticator, PgErasure,
    PgEventLog, PgLeases, PgStreamTickets, PgSubmissions, PgUsers, WakeupHub,
};
use deed_conformance::model::{self, Holder, Workbench};
use deed_conformance::{Hearing, Ports, ROOT_KEY, Store, suites};
use deed_domain::caller::Attribution;
use deed_domain::id::{ActionId, UserId};
use deed_domain::ports::UserChanged;
use deed_domain::secret::RootKey;
use deed_domain::user::{DisplayName, UserChange, UserCondition, UserVersions};
use deed_testkit::TestDatabase;
use tokio::runtime::Runtime;
use tokio::sync::OnceCell;
use tokio::task::JoinSet;
use tokio_postgres::Client;

struct Postgres {
    database: TestDatabase,
    /// Reads and changes the tables beside the ports.
    beside: OnceCell<Client>,
    background: Mutex<JoinSet<()>>,
}

#[async_trait]
impl Store for Postgres {
    async fn fresh() -> Self {
        Self {
            database: TestDatabase::fresh().await,
            beside: OnceCell::new(),
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
            stream_tickets: Arc::new(PgStreamTickets::new(database.clone())),
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

impl Postgres {
    async fn beside(&self) -> &Client {
        self.beside.get_or_init(|| self.database.client()).await
    }
}

#[async_trait]
impl Workbench for Postgres {
    async fn pass(&self, time: Duration) {
        // What a limit of concurrency holds waits for no time: it stays at the end of all times.
        let sql = "WITH leases AS (
             UPDATE action_leases
             SET granted_at = granted_at - make_interval(secs => $1), expires_at = expires_at - make_interval(secs => $1),
                 deadline_at = deadline_at - make_interval(secs => $1), give_up_at = give_up_at - make_interval(secs => $1))
           UPDATE action_queue
           SET run_at = CASE WHEN run_at < '9999-01-01' THEN run_at - make_interval(secs => $1) ELSE run_at END,
               give_up_at = give_up_at - make_interval(secs => $1)";
        let seconds = time.as_secs_f64();
        self.beside().await.execute(sql, &[&seconds]).await.unwrap();
    }

    async fn holders(&self, actions: &[ActionId]) -> Vec<(ActionId, Holder)> {
        let sql = "SELECT id, holder, (extract(epoch FROM expires_at - clock_timestamp()) * 1000)::int8,
                     (extract(epoch FROM deadline_at - clock_timestamp()) * 1000)::int8
                   FROM (SELECT action_id, 'queue', NULL::timestamptz, NULL::timestamptz FROM action_queue
                         UNION ALL SELECT action_id, 'lease', expires_at, deadline_at FROM action_leases
                         UNION ALL SELECT action_id, 'result', NULL, NULL FROM action_results)
                     AS held(action_id, holder, expires_at, deadline_at)
                   JOIN unnest($1::text[]) AS asked(id) ON id::uuid = action_id";
        let ids: Vec<String> = actions.iter().map(ActionId::to_string).collect();
        let rows = self.beside().await.query(sql, &[&ids]).await.unwrap();
        rows.iter()
            .map(|row| {
                let holder = match row.get(1) {
                    "queue" => Holder::Queue,
                    "lease" => Holder::Lease {
                        expires_in: TimeDelta::milliseconds(row.get(2)),
                        deadline_in: TimeDelta::milliseconds(row.get(3)),
                    },
                    _ => Holder::Result,
                };
                (row.get::<_, &str>(0).parse().unwrap(), holder)
            })
            .collect()
    }
}

suites!(Postgres);

#[test]
fn actions_live_as_the_contract_says() {
    let runtime = Runtime::new().unwrap();
    model::check::<Postgres>(|case| runtime.block_on(case));
}

/// A clock that was set back leaves every change a version that is greater than the last one.
#[tokio::test]
async fn versions_of_users_grow_while_the_clock_goes_back() {
    let store = Postgres::fresh().await;
    let ports = store.replica(Hearing::Good).await;
    let id = UserId::from_uuid(ports.ids.time_ordered());
    let sql = "INSERT INTO users (id, email, email_key, name, status, password_hash, created_at, updated_at)
               VALUES ($1::text::uuid, 'a@b.co', 'a@b.co', 'A', 'active', '$', clock_timestamp(), clock_timestamp() + interval '1 hour')";
    let client = store.beside().await;
    client.execute(sql, &[&id.to_string()]).await.unwrap();
    let mut last = ports.users.find(id).await.unwrap().unwrap().version();
    for name in ["B", "C"] {
        let change = UserChange {
            name: Some(DisplayName::parse(name).unwrap()),
            ..UserChange::default()
        };
        let condition = UserCondition {
            one_of: UserVersions::These(vec![last]),
            ..UserCondition::default()
        };
        let changed = ports
            .users
            .change(id, &change, &condition, &Attribution::OPERATOR)
            .await;
        let UserChanged::Changed(user) = changed.unwrap() else {
            panic!("{name}")
        };
        assert_eq!(user.version().get(), last.get() + 1);
        last = user.version();
    }
}
