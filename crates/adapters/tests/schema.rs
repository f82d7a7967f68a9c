//! What the migrations make, compared with what the code believes.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, Utc};
use deed_adapters::clock::SystemClock;
use deed_adapters::postgres::{Database, housekeeping, migrate};
use deed_domain::action::{
    ActionType, ActionTypeName, Concurrency, Lease, PerformedBy, Priority, RetryPolicy, Status,
};
use deed_domain::api_key::KeyName;
use deed_domain::caller::Actor;
use deed_domain::email::Email;
use deed_domain::error::StoreError;
use deed_domain::id::ApiKeyId;
use deed_domain::ports::Clock as _;
use deed_domain::trace::TraceParent;
use deed_domain::user::{DisplayName, ExternalId, UserStatus};
use deed_testkit::TestDatabase;
use uuid::Uuid;

/// No names.
const NONE: [String; 0] = [];
/// A retention for which partitions are of months.
const MONTH: Duration = Duration::from_secs(30 * 24 * 3600);

/// Tables and their columns, with types and nullability, as the catalog has them.
async fn catalog(database: &TestDatabase) -> BTreeMap<String, BTreeMap<String, String>> {
    let sql = "SELECT table_name::text, column_name::text, udt_name::text, is_nullable = 'YES'
               FROM information_schema.columns WHERE table_schema = current_schema()";
    let mut tables: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for row in database.client().await.query(sql, &[]).await.unwrap() {
        let (table, column, udt, is_nullable): (String, String, String, bool) =
            (row.get(0), row.get(1), row.get(2), row.get(3));
        let name = match udt.as_str() {
            "uuid" => "Uuid",
            "text" => "Text",
            "_text" => "Array<Text>",
            "timestamptz" => "Timestamptz",
            "int2" => "Int2",
            "int4" => "Int4",
            "int8" => "Int8",
            "float8" => "Float8",
            other => other,
        };
        let name = if is_nullable {
            format!("Nullable<{name}>")
        } else {
            name.to_owned()
        };
        tables.entry(table).or_default().insert(column, name);
    }
    tables
}

/// The same as `schema.rs` has them.
fn schema() -> BTreeMap<String, BTreeMap<String, String>> {
    let mut tables: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    let mut table = String::new();
    for line in include_str!("../src/postgres/schema.rs").lines() {
        let line = line.trim();
        if let Some(name) = line.strip_suffix(" (id) {") {
            table = name.to_owned();
        } else if let Some((column, kind)) = line
            .strip_suffix(',')
            .and_then(|line| line.split_once(" -> "))
        {
            tables
                .entry(table.clone())
                .or_default()
                .insert(column.to_owned(), kind.to_owned());
        }
    }
    tables
}

#[tokio::test]
async fn the_schema_in_the_code_is_the_one_in_the_catalog() {
    let database = TestDatabase::fresh().await;
    let catalog = catalog(&database).await;
    let schema = schema();
    assert!(schema.len() >= 4);
    for (table, columns) in schema {
        assert_eq!(catalog.get(&table), Some(&columns), "{table}");
    }
}

#[tokio::test]
async fn each_check_is_the_twin_of_a_rule_of_the_domain() {
    let between =
        |what: &str, least: i64, most: i64| format!("(({what} >= {least}) AND ({what} <= {most}))");
    let length = |column: &str, least: usize, most: usize| {
        between(
            &format!("char_length({column})"),
            i64::try_from(least).unwrap(),
            i64::try_from(most).unwrap(),
        )
    };
    let one_of = |column: &str, names: Vec<&str>| {
        let names: Vec<String> = names
            .into_iter()
            .map(|name| format!("'{name}'::text"))
            .collect();
        format!("({column} = ANY (ARRAY[{}]))", names.join(", "))
    };
    let checkpoint = format!(
        "(octet_length(checkpoint) <= {})",
        Lease::CHECKPOINT_MAX_BYTES
    );
    let day = i64::try_from(RetryPolicy::MAX_LIMIT.as_millis()).unwrap();
    let actors = [
        Actor::Anonymous,
        Actor::Operator,
        Actor::Root,
        Actor::Key(ApiKeyId::from_uuid(Uuid::nil())),
    ];
    let over = Status::ALL.into_iter().filter(|status| status.is_over());
    let expected: BTreeMap<&str, String> = [
        ("users_email_length", length("email", 1, Email::MAX)),
        ("users_name_length", length("name", DisplayName::MIN, DisplayName::MAX)),
        ("users_external_id_length", length("external_id", ExternalId::MIN, ExternalId::MAX)),
        ("users_status_known", one_of("status", UserStatus::ALL.map(UserStatus::as_str).to_vec())),
        ("api_keys_name_length", length("name", KeyName::MIN, KeyName::MAX)),
        ("api_keys_scopes_not_empty", "(cardinality(scopes) > 0)".to_owned()),
        ("api_key_secrets_slot_known", "(slot = ANY (ARRAY[1, 2]))".to_owned()),
        ("api_key_secrets_digest_length", "(octet_length(digest) = 32)".to_owned()),
        ("audit_events_actor_known", one_of("actor", actors.map(Actor::kind).to_vec())),
        ("audit_events_actor_key", "((actor = 'key'::text) = (actor_key_id IS NOT NULL))".to_owned()),
        ("idempotency_keys_scope_length", "(octet_length(scope) = 32)".to_owned()),
        ("server_secrets_length", "(octet_length(secret) >= 32)".to_owned()),
        ("stream_tickets_digest_length", "(octet_length(digest) = 32)".to_owned()),
        ("identity_generation_one_row", "is_only".to_owned()),
        ("housekeeping_one_row", "is_only".to_owned()),
        ("action_types_name_length", length("name", 1, ActionTypeName::MAX)),
        ("action_types_performed_by_known", one_of("performed_by", PerformedBy::ALL.map(PerformedBy::as_str).to_vec())),
        ("action_types_max_attempts_range", between("max_attempts", 1, ActionType::MAX_ATTEMPTS_LIMIT.into())),
        (
            "action_types_attempt_timeout_range",
            between("attempt_timeout_ms", 1, i64::try_from(ActionType::ATTEMPT_TIMEOUT_LIMIT.as_millis()).unwrap()),
        ),
        (
            "action_types_lease_range",
            between("lease_ms", 1_000, i64::try_from(ActionType::LEASE_LIMIT.as_millis()).unwrap()),
        ),
        ("action_types_retry_initial_range", between("retry_initial_ms", 0, day)),
        (
            "action_types_retry_factor_range",
            format!(
                "((retry_factor >= (1)::double precision) AND (retry_factor <= ({})::double precision))",
                RetryPolicy::FACTOR_LIMIT
            ),
        ),
        ("action_types_retry_max_range", between("retry_max_ms", 0, day)),
        (
            "action_types_time_limit_range",
            between("time_limit_ms", 1, i64::try_from(ActionType::TIME_LIMIT_LIMIT.as_millis()).unwrap()).replace("2592000000", "'2592000000'::bigint"),
        ),
        ("action_types_max_running_range", between("max_running", 1, Concurrency::LIMIT.into())),
        ("action_types_max_running_per_user_range", between("max_running_per_user", 1, Concurrency::LIMIT.into())),
        ("action_types_max_running_per_replica_range", between("max_running_per_replica", 1, Concurrency::LIMIT.into())),
        ("action_queue_checkpoint_length", checkpoint.clone()),
        ("action_leases_checkpoint_length", checkpoint),
        ("action_leases_request_whole", "((request IS NULL) = (request_place IS NULL))".to_owned()),
        ("action_leases_request_length", "(octet_length(request) = 32)".to_owned()),
        ("actions_priority_range", between("priority", 0, Priority::MAX.into())),
        ("actions_traceparent_length", format!("(char_length(traceparent) = {})", TraceParent::LENGTH)),
        ("action_results_status_known", one_of("status", over.map(Status::as_str).collect())),
        ("action_events_seq_positive", "(seq > 0)".to_owned()),
    ]
    .into();
    let database = TestDatabase::fresh().await;
    // Partitions repeat their parents' checks.
    let sql = "SELECT conname::text, pg_get_constraintdef(c.oid) FROM pg_constraint c
               WHERE contype = 'c' AND connamespace = current_schema()::regnamespace AND coninhcount = 0";
    let rows = database.client().await.query(sql, &[]).await.unwrap();
    let found: BTreeMap<String, String> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let names: BTreeSet<&str> = found.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        expected.keys().copied().collect(),
        "each check is known here"
    );
    for (name, rule) in expected {
        let check = found[name]
            .strip_prefix("CHECK (")
            .and_then(|check| check.strip_suffix(')'))
            .expect("a check");
        assert_eq!(check, rule, "{name}");
    }
}

#[tokio::test]
async fn every_constraint_has_a_name_of_ours() {
    let database = TestDatabase::fresh().await;
    let sql = "SELECT c.relname::text, conname::text FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
               WHERE connamespace = current_schema()::regnamespace AND NOT c.relispartition
                 AND c.relname <> '__diesel_schema_migrations'";
    for row in database.client().await.query(sql, &[]).await.unwrap() {
        let (table, name): (String, String) = (row.get(0), row.get(1));
        let generated = ["_pkey", "_fkey", "_check", "_key1"];
        assert!(
            name.starts_with(&table) && !generated.iter().any(|end| name.ends_with(end)),
            "{name}"
        );
    }
}

/// Takes the newest migration back.
async fn down(database: &Database) -> Vec<String> {
    let newest = migrate::would_go_down(database, 1).await.unwrap();
    migrate::down(database, &newest, migrate::PATIENCE, &mut |_| ())
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_was_named_is_taken_back() {
    let test = TestDatabase::empty().await;
    let database = test.database();
    migrate::up(&database).await.unwrap();
    let newest = migrate::would_go_down(&database, 1).await.unwrap();
    assert_eq!(down(&database).await, newest);
    // Somebody else, who was told the same.
    let left = migrate::status(&database).await.unwrap();
    let late = migrate::down(&database, &newest, migrate::PATIENCE, &mut |_| ()).await;
    assert!(
        matches!(late, Err(migrate::MigrateError::Overtaken(_))),
        "{late:?}"
    );
    assert_eq!(migrate::status(&database).await.unwrap(), left);
}

#[tokio::test(flavor = "multi_thread")]
async fn migrations_go_up_down_and_up_again() {
    let test = TestDatabase::empty().await;
    let database = test.database();
    let all = migrate::lacking(&database).await.unwrap();
    assert!(all.len() >= 2);
    assert_eq!(migrate::up(&database).await.unwrap(), all);
    let first = catalog(&test).await;
    assert_eq!(migrate::up(&database).await.unwrap(), NONE);
    assert_eq!(migrate::lacking(&database).await.unwrap(), NONE);
    for expected in all.iter().rev() {
        assert_eq!(down(&database).await, [expected.as_str()]);
        let status = migrate::status(&database).await.unwrap();
        assert!(
            status
                .iter()
                .any(|one| &one.name == expected && !one.is_applied)
        );
    }
    assert_eq!(down(&database).await, NONE);
    let left: Vec<String> = catalog(&test).await.into_keys().collect();
    assert_eq!(left, ["__diesel_schema_migrations"]);
    let functions =
        "SELECT count(*) FROM pg_proc WHERE pronamespace = current_schema()::regnamespace";
    assert_eq!(
        test.client()
            .await
            .query_one(functions, &[])
            .await
            .unwrap()
            .get::<_, i64>(0),
        0
    );
    assert_eq!(migrate::up(&database).await.unwrap(), all);
    assert_eq!(catalog(&test).await, first);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_finds_another_migrating_waits_for_it() {
    let test = TestDatabase::empty().await;
    let holder = test.client().await;
    let key = "hashtextextended('deed migrations in ' || current_schema(), 0)";
    holder
        .batch_execute(&format!("SELECT pg_advisory_lock({key})"))
        .await
        .unwrap();
    let database = test.database();
    let migrating = tokio::spawn(async move { migrate::up(&database).await });
    // Longer than requests wait for a lock (2 s) or for a statement (5 s).
    holder.batch_execute("SELECT pg_sleep(6)").await.unwrap();
    assert!(!migrating.is_finished());
    // Who only looks doesn't wait.
    assert!(!migrate::lacking(&test.database()).await.unwrap().is_empty());
    holder
        .batch_execute(&format!("SELECT pg_advisory_unlock({key})"))
        .await
        .unwrap();
    assert!(migrating.await.unwrap().unwrap().len() >= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_start_together_migrate_once() {
    let test = TestDatabase::empty().await;
    let starts: Vec<_> = (0..4)
        .map(|_| {
            let database = test.database();
            tokio::spawn(async move {
                let done = migrate::up(&database).await.unwrap().len();
                housekeeping::make_partitions(&database, SystemClock.now(), MONTH)
                    .await
                    .unwrap();
                done
            })
        })
        .collect();
    let mut migrated = Vec::new();
    for start in starts {
        migrated.push(start.await.unwrap());
    }
    migrated.sort_unstable();
    assert_eq!(migrated[..3], [0, 0, 0]);
    assert!(migrated[3] >= 2);
}

#[tokio::test]
async fn partitions_are_made_ahead_and_told_of_when_missing() {
    let test = TestDatabase::empty().await;
    let database = test.database();
    migrate::up(&database).await.unwrap();
    let now = "2026-11-22T10:00:00Z".parse().unwrap();
    assert_eq!(missing(&database, now).await.len(), 3);
    let made = housekeeping::make_partitions(&database, now, MONTH)
        .await
        .unwrap();
    assert_eq!(made.len(), 12);
    assert!(made.contains(&"action_events_202702".to_owned()));
    assert_eq!(
        housekeeping::make_partitions(&database, now, MONTH)
            .await
            .unwrap(),
        NONE
    );
    assert_eq!(missing(&database, now).await, NONE);
    let two_weeks_before = "2027-02-15T00:00:00Z".parse().unwrap();
    assert_eq!(missing(&database, two_weeks_before).await, NONE);
    let february = "2027-02-28T23:59:59Z".parse().unwrap();
    let without_room = ["actions", "action_results", "action_events"]
        .map(|table| format!("{table} from 2027-03-01 00:00Z to 2027-03-14 23:59Z"));
    assert_eq!(missing(&database, february).await, without_room);
    assert_eq!(
        housekeeping::make_partitions(&database, february, MONTH)
            .await
            .unwrap()
            .len(),
        9
    );
}

async fn missing(database: &Database, now: DateTime<Utc>) -> Vec<String> {
    let missing = housekeeping::missing_partitions(database, now).await;
    missing.unwrap().iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn partitions_wait_for_who_holds_a_table_but_not_for_long() {
    let test = TestDatabase::empty().await;
    let database = Database::new(&test.url(), 1).unwrap();
    migrate::up(&database).await.unwrap();
    let now = "2026-11-22T10:00:00Z".parse().unwrap();
    let holder = test.client().await;
    holder
        .batch_execute("BEGIN; LOCK TABLE actions IN SHARE UPDATE EXCLUSIVE MODE")
        .await
        .unwrap();
    let started = tokio::time::Instant::now();
    let refused = housekeeping::make_partitions(&database, now, MONTH).await;
    assert!(
        matches!(refused, Err(StoreError::Unavailable(_))),
        "{refused:?}"
    );
    let taken = started.elapsed();
    assert!(
        taken > Duration::from_secs(1) && taken < Duration::from_secs(5),
        "{taken:?}"
    );
    // The pool's only connection is as good as before.
    let making =
        tokio::spawn(async move { housekeeping::make_partitions(&database, now, MONTH).await });
    holder.batch_execute("COMMIT").await.unwrap();
    assert_eq!(making.await.unwrap().unwrap().len(), 12);
}

#[tokio::test]
async fn partitions_meet_at_the_first_moment_of_a_month() {
    let test = TestDatabase::empty().await;
    let database = test.database();
    migrate::up(&database).await.unwrap();
    housekeeping::make_partitions(&database, "2026-11-22T10:00:00Z".parse().unwrap(), MONTH)
        .await
        .unwrap();
    let client = test.client().await;
    for (moment, partition) in [
        ("2026-11-01T00:00:00.000Z", Some("action_events_202611")),
        ("2026-11-30T23:59:59.999Z", Some("action_events_202611")),
        ("2026-12-01T00:00:00.000Z", Some("action_events_202612")),
        ("2026-10-31T23:59:59.999Z", None),
    ] {
        let sql = format!(
            "INSERT INTO action_events (action_id, seq, event, data) VALUES (uuid_floor('{moment}'), 1, 'created', '{{}}')
             RETURNING tableoid::regclass::text"
        );
        let row = client.query_one(&sql, &[]).await.ok();
        assert_eq!(
            row.map(|row| row.get::<_, String>(0)).as_deref(),
            partition,
            "{moment}"
        );
    }
}

#[tokio::test]
async fn a_key_has_at_most_two_secrets() {
    let test = TestDatabase::fresh().await;
    let client = test.client().await;
    client
        .batch_execute(
            "INSERT INTO users (id, email, email_key, name, status, password_hash, created_at, updated_at)
             VALUES (gen_random_uuid(), 'a@b.c', 'a@b.c', 'a', 'active', '', now(), now());
             INSERT INTO api_keys (id, user_id, name, scopes, created_at)
             SELECT id, id, 'k', '{users:read}', now() FROM users",
        )
        .await
        .unwrap();
    let insert = "INSERT INTO api_key_secrets (api_key_id, slot, digest, created_at)
                  SELECT id, $1, sha256($2), now() FROM api_keys";
    for (slot, secret, is_kept) in [
        (1_i16, "a", true),
        (2, "b", true),
        (2, "c", false),
        (3, "d", false),
    ] {
        let inserted = client.execute(insert, &[&slot, &secret.as_bytes()]).await;
        assert_eq!(inserted.is_ok(), is_kept, "{slot}");
    }
}
