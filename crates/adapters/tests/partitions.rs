//! Partitions of months and of weeks, and the change from the ones to the others.

#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use deed_adapters::ids::SystemIds;
use deed_adapters::postgres::housekeeping::{
    Term, drop_expired, make_partitions, missing_partitions,
};
use deed_adapters::postgres::migrate;
use deed_testkit::TestDatabase;
use tokio_postgres::Client;

const DAY: Duration = Duration::from_secs(24 * 3600);
const MONTH: Duration = Duration::from_secs(30 * 24 * 3600);
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);
const TABLES: [&str; 3] = ["actions", "action_results", "action_events"];

/// A database without partitions.
struct Bare {
    test: TestDatabase,
    client: Client,
}

impl Bare {
    async fn new() -> Self {
        let test = TestDatabase::empty().await;
        migrate::up(&test.database()).await.unwrap();
        Self {
            client: test.client().await,
            test,
        }
    }

    async fn make(&self, now: &str, retention: Duration) -> usize {
        let made = make_partitions(&self.test.database(), at(now), retention).await;
        let made = made.unwrap();
        self.check(at(now)).await;
        made.len()
    }

    /// The days on which the partitions of `actions` begin, and the day on which the last one ends. Checks that each
    /// begins where the one before ends, and that the three tables have the same.
    async fn days(&self) -> Vec<String> {
        let sql = "SELECT p.relname::text, array_agg(bounds ORDER BY bounds) FROM (
                     SELECT i.inhparent, ARRAY[substr(b[1], 1, 13), substr(b[2], 1, 13)] AS bounds
                     FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid,
                       regexp_match(pg_get_expr(c.relpartbound, c.oid), 'FROM \\(''(.*)''\\) TO \\(''(.*)''\\)') AS b
                     WHERE c.relkind = 'r' AND c.relispartition AND c.relnamespace = current_schema()::regnamespace
                   ) spans JOIN pg_class p ON p.oid = spans.inhparent GROUP BY 1";
        let sql =
            format!("SELECT relname, to_json(array_agg)::text FROM ({sql}) one ORDER BY relname");
        let rows = self.client.query(&sql, &[]).await.unwrap();
        let tables: Vec<Vec<[String; 2]>> = rows
            .iter()
            .map(|row| serde_json::from_str(row.get(1)).unwrap())
            .collect();
        let first = tables.first().cloned().unwrap_or_default();
        assert!(tables.iter().all(|table| *table == first), "{tables:?}");
        for pair in first.windows(2) {
            let ([_, end], [start, _]) = (&pair[0], &pair[1]);
            assert_eq!(end, start, "a hole or an overlap");
        }
        let ends = first.last().map(|[_, to]| to.clone());
        let starts = first.into_iter().map(|[from, _]| from);
        starts.chain(ends).map(|id| day(&id)).collect()
    }

    /// That there is room for four weeks, and not for more than may be.
    async fn check(&self, now: DateTime<Utc>) {
        let database = self.test.database();
        for days in [0, 14] {
            let then = now + TimeDelta::days(days);
            assert_eq!(missing_partitions(&database, then).await.unwrap(), []);
        }
        let days = self.days().await;
        assert!(days.len() <= 16, "{days:?}");
        for (days, is_taken) in [(0, true), (28, true), (400, false)] {
            let then = now + TimeDelta::days(days);
            for table in TABLES {
                let column = if table == "actions" {
                    "id"
                } else {
                    "action_id"
                };
                // As a plan: the only partition, or none at all.
                let sql = format!(
                    "EXPLAIN (COSTS OFF) SELECT FROM {table} WHERE {column} = uuid_floor('{then}')"
                );
                let plan = self.client.query(&sql, &[]).await.unwrap();
                let plan: String = plan.iter().map(|row| row.get::<_, String>(0)).collect();
                assert_eq!(
                    plan.contains(&format!("{table}_2")),
                    is_taken,
                    "{then} {plan}"
                );
            }
        }
    }
}

fn at(now: &str) -> DateTime<Utc> {
    now.parse().unwrap()
}

/// The day of an id's first twelve digits.
fn day(id: &str) -> String {
    let millis = i64::from_str_radix(&id.replace('-', ""), 16).unwrap();
    let at = DateTime::from_timestamp_millis(millis).unwrap();
    assert_eq!(
        at,
        at.date_naive().and_time(chrono::NaiveTime::MIN).and_utc()
    );
    at.date_naive().to_string()
}

#[tokio::test]
async fn a_short_retention_has_weeks() {
    let bare = Bare::new().await;
    assert_eq!(bare.make("2026-11-22T10:00:00Z", WEEK).await, 18);
    let weeks = [
        "2026-11-16",
        "2026-11-23",
        "2026-11-30",
        "2026-12-07",
        "2026-12-14",
        "2026-12-21",
        "2026-12-28",
    ];
    assert_eq!(bare.days().await, weeks);
    assert_eq!(bare.make("2026-11-22T23:59:59Z", WEEK).await, 0);
    assert_eq!(bare.make("2026-11-23T00:00:00Z", WEEK).await, 3);
}

#[tokio::test]
async fn from_months_to_weeks_and_back() {
    let bare = Bare::new().await;
    bare.make("2026-11-22T10:00:00Z", MONTH).await;
    let months = [
        "2026-11-01",
        "2026-12-01",
        "2027-01-01",
        "2027-02-01",
        "2027-03-01",
    ];
    assert_eq!(bare.days().await, months);
    // What is there stays; weeks begin where it ends, on a Monday as it happens.
    assert_eq!(bare.make("2026-11-22T11:00:00Z", WEEK).await, 0);
    assert_eq!(bare.make("2027-02-01T00:00:00Z", WEEK).await, 6);
    let days = bare.days().await;
    assert_eq!(days[4..], ["2027-03-01", "2027-03-08", "2027-03-15"]);
    // And months where the last week ends, up to the end of its month first.
    assert_eq!(bare.make("2027-02-01T01:00:00Z", MONTH).await, 9);
    let days = bare.days().await;
    let months = ["2027-03-15", "2027-04-01", "2027-05-01", "2027-06-01"];
    assert_eq!(days[6..], months);
    assert_eq!(bare.make("2027-02-01T02:00:00Z", WEEK).await, 0);
    assert_eq!(bare.make("2027-05-10T00:00:00Z", WEEK).await, 9);
    // The first of June is a Tuesday.
    let days = bare.days().await;
    assert_eq!(
        days[9..],
        ["2027-06-01", "2027-06-07", "2027-06-14", "2027-06-21"]
    );
}

#[tokio::test]
async fn weeks_and_months_are_dropped_alike() {
    let bare = Bare::new().await;
    bare.make("2025-01-15T00:00:00Z", MONTH).await;
    bare.make("2025-04-25T00:00:00Z", WEEK).await;
    let before = bare.days().await;
    assert!(before.len() > 6, "{before:?}");
    let database = bare.test.database();
    let term = Term::new(database.clone(), &SystemIds, Duration::from_secs(600));
    assert!(term.take().await.unwrap());
    // An action of the week from the 12th of May that is not over.
    bare.client
        .batch_execute(
            "INSERT INTO action_queue (action_id, user_id, rank, type_id, next_seq, priority, attempt, max_attempts)
             SELECT uuid_floor('2025-05-14'), gen_random_uuid(), 1, 1, 2, 5, 0, 3",
        )
        .await
        .unwrap();
    let gone = drop_expired(&database, &term, DAY).await.unwrap();
    for name in ["202501", "202504", "20250505", "20250519"] {
        for table in TABLES {
            let name = format!("{table}_{name}");
            assert!(gone.contains(&name), "{name} of {gone:?}");
        }
    }
    assert_eq!(bare.days().await, ["2025-05-12", "2025-05-19"]);
    bare.client
        .batch_execute("DELETE FROM action_queue")
        .await
        .unwrap();
    let gone = drop_expired(&database, &term, DAY).await.unwrap();
    assert_eq!(gone.len(), 3);
    assert!(bare.days().await.is_empty());
}

/// What a server does that knows of months only.
async fn make_month(client: &Client, month: &str, to: &str) -> Result<(), tokio_postgres::Error> {
    for table in TABLES {
        let name = format!("{table}_{}", month.replace('-', ""));
        client
            .batch_execute(&format!(
                "DO $$ BEGIN
                   PERFORM pg_advisory_xact_lock(hashtextextended('deed partitions in ' || current_schema(), 0));
                   IF NOT EXISTS (SELECT FROM pg_inherits WHERE inhparent = '{table}'::regclass AND inhrelid = to_regclass('{name}')) THEN
                     CREATE TABLE IF NOT EXISTS {name} (LIKE {table} INCLUDING ALL);
                     EXECUTE format('ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM (%L) TO (%L)',
                                    uuid_floor('{month}-01 00:00Z'), uuid_floor('{to}-01 00:00Z'));
                   END IF;
                 END $$"
            ))
            .await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_server_that_knows_of_months_only_does_no_harm_beside() {
    let bare = Bare::new().await;
    // It had the database to itself.
    for (month, to) in [
        ("2026-11", "2026-12"),
        ("2026-12", "2027-01"),
        ("2027-01", "2027-02"),
    ] {
        make_month(&bare.client, month, to).await.unwrap();
    }
    assert_eq!(bare.make("2026-11-22T10:00:00Z", WEEK).await, 0);
    // As long as these months last it finds what it wants, and after them nothing of what is there changes.
    make_month(&bare.client, "2026-12", "2027-01")
        .await
        .unwrap();
    bare.make("2027-01-01T00:00:00Z", WEEK).await;
    let days = bare.days().await;
    assert!(
        make_month(&bare.client, "2027-02", "2027-03")
            .await
            .is_err()
    );
    assert_eq!(bare.days().await, days);
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_of_different_retentions_make_them_side_by_side() {
    for now in [
        "2026-11-22T10:00:00Z",
        "2026-12-31T23:59:59Z",
        "2027-02-01T00:00:00Z",
    ] {
        let bare = Bare::new().await;
        let making: Vec<_> = (0..6)
            .map(|n| {
                let database = bare.test.database();
                let retention = if n % 2 == 0 { WEEK } else { MONTH };
                tokio::spawn(async move { make_partitions(&database, at(now), retention).await })
            })
            .collect();
        let mut made = 0;
        for task in making {
            made += usize::from(!task.await.unwrap().unwrap().is_empty());
        }
        assert!(made >= 1);
        bare.check(at(now)).await;
    }
}
