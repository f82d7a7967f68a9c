//! What is removed from the database with age, and who may do it.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Datelike as _, Months, TimeDelta, Utc};
use deed_adapters::clock::SystemClock;
use deed_adapters::ids::SystemIds;
use deed_adapters::postgres::PgStreamTickets;
use deed_adapters::postgres::housekeeping::{
    Housekeeper, Pace, Term, drop_expired, make_partitions, missing_partitions,
    prune_idempotency_keys, prune_stream_tickets,
};
use deed_domain::ports::{Clock as _, StreamTickets as _};
use deed_domain::secret::SecretDigest;
use deed_testkit::{ManualClock, TestDatabase};
use tokio::task::JoinHandle;
use tokio_postgres::Client;

const DAY: Duration = Duration::from_secs(24 * 3600);
const TABLES: [&str; 3] = ["actions", "action_results", "action_events"];
/// No names.
const NONE: [String; 0] = [];

/// A database that has been in use for half a year.
struct Aged {
    test: TestDatabase,
    client: Client,
    term: Term,
}

impl Aged {
    async fn new() -> Self {
        let test = TestDatabase::fresh().await;
        for months in [6, 5, 4, 3, 2, 1] {
            let then = SystemClock.now() - Months::new(months);
            make_partitions(&test.database(), then, 30 * DAY)
                .await
                .unwrap();
        }
        let term = Term::new(test.database(), &SystemIds, Duration::from_secs(600));
        assert!(term.take().await.unwrap());
        Self {
            client: test.client().await,
            term,
            test,
        }
    }

    async fn drop_expired(&self, retention: Duration) -> Vec<String> {
        drop_expired(&self.test.database(), &self.term, retention)
            .await
            .unwrap()
    }

    async fn partitions(&self) -> Vec<String> {
        let sql = "SELECT inhrelid::regclass::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhparent
                   WHERE c.relkind = 'p' AND c.relnamespace = current_schema()::regnamespace ORDER BY 1";
        let rows = self.client.query(sql, &[]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// An action made in the middle of the month so many months ago, with a result or in one of the tables of those
    /// that are not over.
    async fn action(&self, months: u32, stands_in: &str) {
        let day = month(months, 0) + TimeDelta::days(14);
        let row = match stands_in {
            "action_results" => {
                "INSERT INTO action_results (action_id, user_id, last_seq, attempt, status) SELECT id, id, 1, 1, 'succeeded' FROM made"
            }
            "action_queue" => {
                "INSERT INTO action_queue (action_id, user_id, rank, run_at, type_id, next_seq, priority, attempt, max_attempts)
                 SELECT id, id, 1, now() + interval '1 month', 1, 2, 5, 0, 3 FROM made"
            }
            _ => {
                "INSERT INTO action_leases (action_id, user_id, lease_id, granted_at, expires_at, deadline_at, type_id, next_seq, attempt,
                                            max_attempts, priority, lease_for, worker)
                 SELECT id, id, id, now(), now(), now(), 1, 2, 1, 3, 5, '1 s', 'w' FROM made"
            }
        };
        let sql = format!(
            "WITH made AS MATERIALIZED (SELECT (substr(uuid_floor('{day}')::text, 1, 14) || '7' || substr(gen_random_uuid()::text, 16))::uuid AS id),
               asked AS (INSERT INTO actions (id, user_id, type_id, priority, max_attempts, input) SELECT id, id, 1, 5, 3, '1' FROM made),
               said AS (INSERT INTO action_events (action_id, seq, event, data) SELECT id, 1, 'created', '{{}}' FROM made)
             {row}"
        );
        self.client.batch_execute(&sql).await.unwrap();
    }

    async fn count(&self, table: &str) -> i64 {
        let sql = format!("SELECT count(*) FROM {table}");
        self.client.query_one(&sql, &[]).await.unwrap().get(0)
    }
}

/// The first moment of the month so many months ago, or ahead of that.
fn month(ago: u32, ahead: u32) -> DateTime<Utc> {
    let now = SystemClock.now();
    let first = now.date_naive().with_day(1).unwrap();
    let first = first - Months::new(ago) + Months::new(ahead);
    first.and_time(chrono::NaiveTime::MIN).and_utc()
}

/// The partitions of that month.
fn of_month(ago: u32) -> Vec<String> {
    let month = month(ago, 0).format("%Y%m");
    let mut names = TABLES.map(|table| format!("{table}_{month}")).to_vec();
    names.sort();
    names
}

/// A retention that ended in the middle of the month so many months ago.
fn retention(months: u32) -> Duration {
    let kept_from = month(months, 0) + TimeDelta::days(14);
    (SystemClock.now() - kept_from).to_std().unwrap()
}

async fn until<F: AsyncFn() -> bool>(what: &str, is_so: F) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so().await {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn months_go_as_a_whole_once_they_lie_before_the_retention() {
    let aged = Aged::new().await;
    for months in [5, 4, 3, 0] {
        aged.action(months, "action_results").await;
    }
    let before = aged.partitions().await;
    let gone = aged.drop_expired(retention(3)).await;
    let mut expected: Vec<String> = [6, 5, 4].into_iter().flat_map(of_month).collect();
    expected.sort();
    assert_eq!(gone, expected);
    let left: Vec<String> = before
        .into_iter()
        .filter(|name| !gone.contains(name))
        .collect();
    assert_eq!(aged.partitions().await, left);
    for table in TABLES {
        assert_eq!(aged.count(table).await, 2, "{table}");
    }
    assert_eq!(aged.drop_expired(retention(3)).await, NONE);
}

#[tokio::test]
async fn a_month_with_an_unfinished_action_is_kept_whole() {
    let aged = Aged::new().await;
    aged.action(5, "action_queue").await;
    aged.action(4, "action_leases").await;
    let gone = aged.drop_expired(DAY).await;
    for kept in [of_month(5), of_month(4)].concat() {
        assert!(!gone.contains(&kept), "{kept} of {gone:?}");
        assert!(aged.partitions().await.contains(&kept), "{kept}");
    }
    assert!(gone.contains(&of_month(6)[0]) && gone.contains(&of_month(3)[0]));
    // Over at last.
    aged.client
        .batch_execute("DELETE FROM action_queue; DELETE FROM action_leases")
        .await
        .unwrap();
    let mut rest = [of_month(5), of_month(4)].concat();
    rest.sort();
    assert_eq!(aged.drop_expired(DAY).await, rest);
}

#[tokio::test]
async fn what_a_crash_or_a_hand_has_left_of_a_month_goes_too() {
    let aged = Aged::new().await;
    let [events, results, actions]: [String; 3] = of_month(5).try_into().unwrap();
    aged.client
        .batch_execute(&format!("DROP TABLE {results}, {actions}"))
        .await
        .unwrap();
    let gone = aged.drop_expired(retention(4)).await;
    assert_eq!(gone.len(), 4, "{gone:?}");
    assert!(gone.contains(&events), "{gone:?}");
}

#[tokio::test]
async fn a_month_whose_tables_are_held_is_left_whole_and_found_the_next_time() {
    let aged = Aged::new().await;
    let mut other = aged.test.client().await;
    let reading = other.transaction().await.unwrap();
    // The last of the three: the others would be gone if each went for itself.
    let held = of_month(6)[1].clone();
    reading
        .query(&format!("SELECT FROM {held}"), &[])
        .await
        .unwrap();
    let before = aged.partitions().await;
    let database = aged.test.database();
    let refused = drop_expired(&database, &aged.term, retention(5)).await;
    assert!(refused.is_err(), "{refused:?}");
    assert_eq!(aged.partitions().await, before);
    reading.rollback().await.unwrap();
    let mut gone = aged.drop_expired(retention(5)).await;
    gone.sort();
    assert_eq!(gone, of_month(6));
}

#[tokio::test]
async fn nothing_is_dropped_without_the_term() {
    let aged = Aged::new().await;
    let database = aged.test.database();
    let other = Term::new(database.clone(), &SystemIds, Duration::from_secs(600));
    assert!(!other.take().await.unwrap());
    let gone = drop_expired(&database, &other, DAY).await.unwrap();
    assert_eq!(gone, NONE);
    assert!(!aged.drop_expired(DAY).await.is_empty());
}

#[tokio::test]
async fn a_term_has_one_holder_and_passes_on_when_it_ends() {
    let test = TestDatabase::fresh().await;
    let length = Duration::from_millis(400);
    let (one, two) = (
        Term::new(test.database(), &SystemIds, length),
        Term::new(test.database(), &SystemIds, length),
    );
    assert!(one.take().await.unwrap());
    assert!(!two.take().await.unwrap());
    assert!(one.take().await.unwrap(), "it is renewed");
    until("the other takes over", async || two.take().await.unwrap()).await;
    assert!(!one.take().await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_that_ask_at_once_one_gets_the_term() {
    let test = TestDatabase::fresh().await;
    for _ in 0..5 {
        let asking: Vec<_> = (0..8)
            .map(|_| {
                let term = Term::new(test.database(), &SystemIds, Duration::from_secs(600));
                tokio::spawn(async move { term.take().await.unwrap() })
            })
            .collect();
        let mut holders = 0;
        for asked in asking {
            holders += i32::from(asked.await.unwrap());
        }
        assert_eq!(holders, 1);
        test.client()
            .await
            .batch_execute("UPDATE housekeeping SET term_ends_at = '-infinity'")
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn keys_are_remembered_for_a_day_and_then_forgotten() {
    let test = TestDatabase::fresh().await;
    let client = test.client().await;
    // More than a batch. The last two: a replica's clock was late, and the database's.
    client
        .batch_execute(
            "INSERT INTO idempotency_keys (scope, key, resource_id, created_at, request_hash)
             SELECT sha256('s'), n::text, uuid_floor(now() - age), now() - age, ''
             FROM generate_series(1, 4500) n, LATERAL (SELECT CASE WHEN n <= 3 THEN interval '23 h 59 min' ELSE interval '24 h 1 min' END AS age) a;
             INSERT INTO idempotency_keys (scope, key, resource_id, created_at, request_hash) VALUES
               (sha256('s'), 'late replica', uuid_floor(now() - interval '25 h'), now() - interval '23 h', ''),
               (sha256('s'), 'late database', uuid_floor(now() - interval '23 h'), now() - interval '25 h', '')",
        )
        .await
        .unwrap();
    assert_eq!(
        prune_idempotency_keys(&test.database()).await.unwrap(),
        4497
    );
    let rows = client
        .query("SELECT key FROM idempotency_keys ORDER BY key", &[])
        .await
        .unwrap();
    let left: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(left, ["1", "2", "3", "late database", "late replica"]);
    assert_eq!(prune_idempotency_keys(&test.database()).await.unwrap(), 0);
}

#[tokio::test]
async fn a_key_that_somebody_uses_is_not_waited_for() {
    let test = TestDatabase::fresh().await;
    let mut client = test.client().await;
    client
        .batch_execute(
            "INSERT INTO idempotency_keys (scope, key, resource_id, created_at, request_hash)
             SELECT sha256('s'), n::text, uuid_floor(now() - interval '2 d'), now() - interval '2 d', '' FROM generate_series(1, 2) n",
        )
        .await
        .unwrap();
    let using = client.transaction().await.unwrap();
    using
        .query(
            "SELECT FROM idempotency_keys WHERE key = '1' FOR UPDATE",
            &[],
        )
        .await
        .unwrap();
    let database = test.database();
    assert_eq!(prune_idempotency_keys(&database).await.unwrap(), 1);
    using.rollback().await.unwrap();
    assert_eq!(prune_idempotency_keys(&database).await.unwrap(), 1);
}

#[tokio::test]
async fn tickets_whose_time_is_over_are_forgotten() {
    let test = TestDatabase::fresh().await;
    let client = test.client().await;
    // More than a batch.
    client
        .batch_execute(
            "INSERT INTO stream_tickets (digest, action_id, user_id, expires_at)
             SELECT sha256(n::text::bytea), gen_random_uuid(), gen_random_uuid(), now() + CASE WHEN n <= 3 THEN interval '30 s' ELSE interval '-1 s' END
             FROM generate_series(1, 4500) n",
        )
        .await
        .unwrap();
    let database = test.database();
    assert_eq!(prune_stream_tickets(&database).await.unwrap(), 4497);
    let left = "SELECT count(*) FROM stream_tickets WHERE expires_at > now()";
    let left: i64 = client.query_one(left, &[]).await.unwrap().get(0);
    assert_eq!(left, 3);
    assert_eq!(prune_stream_tickets(&database).await.unwrap(), 0);
}

/// Used or not: its time is over by the database's clock, whether anybody has tidied up or not.
#[tokio::test]
async fn a_ticket_whose_time_is_over_opens_nothing() {
    let test = TestDatabase::fresh().await;
    let client = test.client().await;
    let insert = "INSERT INTO stream_tickets (digest, action_id, user_id, expires_at)
        VALUES ($1, '0198c0de-0000-7000-8000-000000000001', gen_random_uuid(), now() + make_interval(secs => $2))";
    let tickets = PgStreamTickets::new(test.database());
    let action = "0198c0de-0000-7000-8000-000000000001".parse().unwrap();
    for (secret, seconds, is_good) in [("over", -1.0, false), ("good", 59.0, true)] {
        let digest = SecretDigest::of(secret);
        let bytes = digest.as_bytes().to_vec();
        client.execute(insert, &[&bytes, &seconds]).await.unwrap();
        let taken = tickets.take(&digest, action).await.unwrap();
        assert_eq!(taken.is_some(), is_good, "{secret}");
    }
}

const PACE: Pace = Pace {
    term: Duration::from_millis(500),
    renewal: Duration::from_millis(50),
    question: Duration::from_millis(50),
    round: Duration::from_millis(100),
};

fn keep(test: &TestDatabase, clock: Arc<ManualClock>) -> JoinHandle<()> {
    let housekeeper = Housekeeper::new(test.database(), clock, &SystemIds, DAY, PACE);
    tokio::spawn(async move { housekeeper.run().await })
}

async fn holder(client: &Client) -> Option<String> {
    let sql = "SELECT holder::text FROM housekeeping WHERE term_ends_at > clock_timestamp()";
    Some(client.query_opt(sql, &[]).await.unwrap()?.get(0))
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_housekeepers_one_works_and_the_other_follows_when_it_dies() {
    let aged = Aged::new().await;
    aged.client
        .batch_execute("UPDATE housekeeping SET term_ends_at = '-infinity'")
        .await
        .unwrap();
    let clock = Arc::new(ManualClock::at(SystemClock.now()));
    let dropped = async |ago| !aged.partitions().await.contains(&of_month(ago)[0]);
    let first = keep(&aged.test, Arc::clone(&clock));
    until("old months are gone", async || dropped(2).await).await;
    let of_first = holder(&aged.client).await;
    let second = keep(&aged.test, Arc::clone(&clock));
    // Several terms pass: the first keeps renewing its own.
    for _ in 0..10 {
        aged.client
            .batch_execute(
                "INSERT INTO idempotency_keys (scope, key, resource_id, created_at, request_hash)
                 SELECT sha256('s'), 'k', uuid_floor(now() - interval '2 d'), now() - interval '2 d', ''",
            )
            .await
            .unwrap();
        until("the key is pruned", async || {
            aged.count("idempotency_keys").await == 0
        })
        .await;
    }
    assert_eq!(holder(&aged.client).await, of_first);
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    until("the second has taken over", async || {
        holder(&aged.client)
            .await
            .is_some_and(|now| Some(now) != of_first)
    })
    .await;
    // It works: a year later by the replicas' clock the partitions ahead are others.
    clock.advance(365 * DAY);
    until("partitions are made ahead", async || {
        let database = aged.test.database();
        let missing = missing_partitions(&database, clock.now()).await;
        missing.unwrap().is_empty()
    })
    .await;
    second.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_hands_over_is_followed_long_before_its_term_ends() {
    let test = TestDatabase::fresh().await;
    let client = test.client().await;
    let pace = Pace {
        term: Duration::from_secs(3600),
        ..PACE
    };
    let housekeeper = || {
        let clock = Arc::new(ManualClock::at(SystemClock.now()));
        Arc::new(Housekeeper::new(
            test.database(),
            clock,
            &SystemIds,
            30 * DAY,
            pace,
        ))
    };
    let run = |housekeeper: &Arc<Housekeeper>| {
        let housekeeper = Arc::clone(housekeeper);
        tokio::spawn(async move { housekeeper.run().await })
    };
    let (first, second) = (housekeeper(), housekeeper());
    let running = run(&first);
    until("the first holds the term", async || {
        holder(&client).await.is_some()
    })
    .await;
    let of_first = holder(&client).await;
    let following = run(&second);
    // Who holds none has none to give.
    let idle = housekeeper();
    idle.hand_over().await.unwrap();
    assert_eq!(holder(&client).await, of_first);

    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    first.hand_over().await.unwrap();
    until("the second has taken over", async || {
        let now = holder(&client).await;
        now.is_some() && now != of_first
    })
    .await;
    // What was given back is not another's.
    let of_second = holder(&client).await;
    first.hand_over().await.unwrap();
    assert_eq!(holder(&client).await, of_second);
    following.abort();
}
