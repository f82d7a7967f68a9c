//! What deleted users leave behind, seen from inside the database.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use deed_adapters::ids::SystemIds;
use deed_adapters::postgres::{PgErasure, PgUsers, WakeupHub};
use deed_domain::caller::Attribution;
use deed_domain::email::Email;
use deed_domain::id::UserId;
use deed_domain::password::PasswordHash;
use deed_domain::ports::{Erasure as _, Ids as _, UserRepository as _};
use deed_domain::user::{DisplayName, NewUser};
use deed_testkit::TestDatabase;
use tokio_postgres::Client;

struct Fixture {
    test: TestDatabase,
    users: PgUsers,
    erasure: PgErasure,
}

impl Fixture {
    async fn new() -> Self {
        let test = TestDatabase::fresh().await;
        let database = test.database();
        let hub = WakeupHub::new(database.clone(), &SystemIds);
        Self {
            users: PgUsers::new(database.clone(), hub, Arc::new(SystemIds)),
            erasure: PgErasure::new(database),
            test,
        }
    }

    async fn user(&self, address: &str) -> UserId {
        let id = UserId::from_uuid(SystemIds.time_ordered());
        let user = NewUser {
            id,
            email: Email::parse(address).unwrap(),
            name: DisplayName::parse("Ada").unwrap(),
            password_hash: PasswordHash::from_phc("$"),
            external_id: None,
        };
        let by = Attribution::OPERATOR;
        self.users.create(user, &by, None).await.unwrap();
        id
    }

    async fn delete(&self, user: UserId) {
        let by = Attribution::OPERATOR;
        assert!(self.users.delete(user, &by).await.unwrap());
    }

    /// To the end, and how long the longest step took.
    async fn erase(&self, user: UserId) -> (u64, Duration) {
        let mut gone = 0;
        let mut longest = Duration::ZERO;
        loop {
            let began = Instant::now();
            let step = self.erasure.erase(user).await.unwrap();
            longest = longest.max(began.elapsed());
            gone += step.actions;
            if step.is_over {
                return (gone, longest);
            }
        }
    }
}

/// Gives the user that many actions, a third each waiting, running and finished, each with so many events and an
/// idempotency key.
async fn give_actions(client: &Client, user: UserId, actions: i32, events: i32) {
    let sql = format!(
        "INSERT INTO action_types (name, performed_by, max_attempts, attempt_timeout_ms, lease_ms, retry_initial_ms, retry_factor, retry_max_ms)
           VALUES ('t', 'handler', 3, 1000, 1000, 0, 1, 0) ON CONFLICT DO NOTHING;
         CREATE TEMP TABLE seed AS SELECT n, '{user}'::uuid AS user_id, (SELECT id FROM action_types WHERE name = 't') AS type_id,
           (substr(uuid_floor(clock_timestamp())::text, 1, 15) || '7' || substr(gen_random_uuid()::text, 17))::uuid AS id
           FROM generate_series(1, {actions}) n;
         INSERT INTO actions (id, user_id, type_id, priority, max_attempts, input) SELECT id, user_id, type_id, 5, 3, '{{}}' FROM seed;
         INSERT INTO action_results (action_id, user_id, last_seq, attempt, status)
           SELECT id, user_id, {events}, 1, 'succeeded' FROM seed WHERE n % 3 = 0;
         INSERT INTO action_queue (action_id, user_id, rank, type_id, next_seq, priority, attempt, max_attempts)
           SELECT id, user_id, n, type_id, {events} + 1, 5, 0, 3 FROM seed WHERE n % 3 = 1;
         INSERT INTO action_leases (action_id, user_id, lease_id, granted_at, expires_at, deadline_at, type_id, next_seq, attempt,
                                    max_attempts, priority, lease_for, worker)
           SELECT id, user_id, gen_random_uuid(), now(), now(), now(), type_id, {events} + 1, 1, 3, 5, '1 s', 'w' FROM seed WHERE n % 3 = 2;
         INSERT INTO action_events (action_id, seq, event, data)
           SELECT id, seq, 'message', '{{\"text\":\"hello\"}}' FROM seed, generate_series(1, {events}) seq;
         INSERT INTO idempotency_keys (scope, key, resource_id, request_hash) SELECT sha256(id::text::bytea), 'k', id, '' FROM seed;
         DROP TABLE seed"
    );
    client.batch_execute(&sql).await.unwrap();
}

/// How many rows there are of each kind.
async fn rows(client: &Client) -> [i64; 6] {
    let sql = "SELECT (SELECT count(*) FROM actions), (SELECT count(*) FROM action_results), (SELECT count(*) FROM action_queue),
                      (SELECT count(*) FROM action_leases), (SELECT count(*) FROM action_events), (SELECT count(*) FROM idempotency_keys)";
    let row = client.query_one(sql, &[]).await.unwrap();
    std::array::from_fn(|at| row.get(at))
}

#[tokio::test]
async fn nothing_is_left_of_a_deleted_user() {
    let fixture = Fixture::new().await;
    let client = fixture.test.client().await;
    let ada = fixture.user("ada@example.com").await;
    let bea = fixture.user("bea@example.com").await;
    give_actions(&client, bea, 9, 4).await;
    let of_bea = rows(&client).await;
    assert_eq!(of_bea, [9, 3, 3, 3, 36, 9]);
    // More actions than a step takes, and more events.
    give_actions(&client, ada, 600, 40).await;
    fixture.delete(ada).await;
    let (gone, _) = fixture.erase(ada).await;
    assert_eq!(gone, 600);
    assert_eq!(rows(&client).await, of_bea);
}

#[tokio::test]
async fn large_data_goes_in_small_steps() {
    let fixture = Fixture::new().await;
    let client = fixture.test.client().await;
    let ada = fixture.user("ada@example.com").await;
    give_actions(&client, ada, 3, 1).await;
    // 60 MB that can't be compressed: four steps by their size.
    let large = "INSERT INTO action_events (action_id, seq, event, data)
       SELECT a.id, 1 + n, 'message', (SELECT string_agg(md5(a.id::text || n || i), '') FROM generate_series(1, 31250) i)
       FROM (SELECT action_id AS id FROM action_results) a, generate_series(1, 60) n";
    client.batch_execute(large).await.unwrap();
    fixture.delete(ada).await;
    let mut left = Vec::new();
    while !fixture.erasure.erase(ada).await.unwrap().is_over {
        left.push(rows(&client).await[4]);
    }
    assert_eq!(rows(&client).await, [0; 6]);
    assert!(left.len() >= 5, "{left:?}");
    for step in left.windows(2) {
        assert!(step[0] - step[1] <= 30, "{left:?}");
    }
}

#[tokio::test]
async fn many_actions_hold_no_transaction_for_long() {
    let fixture = Fixture::new().await;
    let client = fixture.test.client().await;
    let ada = fixture.user("ada@example.com").await;
    client
        .batch_execute("SET synchronous_commit = off")
        .await
        .unwrap();
    give_actions(&client, ada, 10_000, 3).await;
    client.batch_execute("ANALYZE").await.unwrap();
    fixture.delete(ada).await;
    let (gone, longest) = fixture.erase(ada).await;
    assert_eq!((gone, rows(&client).await), (10_000, [0; 6]));
    // A step's work does not grow with what there is: on the slowest machine it stays far below the 5 s that a
    // statement may take.
    assert!(longest < Duration::from_secs(3), "{longest:?}");
}

#[tokio::test]
async fn deleted_users_are_told_in_pages() {
    let fixture = Fixture::new().await;
    let mut users = Vec::new();
    for address in ["ada@example.com", "bea@example.com", "cleo@example.com"] {
        users.push(fixture.user(address).await);
    }
    for user in users.iter().rev() {
        fixture.delete(*user).await;
    }
    let page = async |after, limit| fixture.erasure.pending(after, limit).await.unwrap();
    assert_eq!(page(None, 2).await, users[..2]);
    assert_eq!(page(Some(users[1]), 2).await, users[2..]);
    assert_eq!(page(Some(users[2]), 2).await, []);
}

#[tokio::test]
async fn a_deleted_user_is_forgotten_when_nothing_can_come_any_more() {
    let fixture = Fixture::new().await;
    let client = fixture.test.client().await;
    let ada = fixture.user("ada@example.com").await;
    fixture.delete(ada).await;
    fixture.erase(ada).await;
    assert_eq!(fixture.erasure.pending(None, 10).await.unwrap(), [ada]);
    let later = "UPDATE user_deletions SET deleted_at = deleted_at - interval '10 minutes'";
    client.batch_execute(later).await.unwrap();
    // One that came late is still removed first.
    give_actions(&client, ada, 1, 1).await;
    assert_eq!(fixture.erase(ada).await.0, 1);
    assert_eq!(fixture.erasure.pending(None, 10).await.unwrap(), []);
    assert_eq!(rows(&client).await, [0; 6]);
}

#[tokio::test]
async fn what_a_crash_has_left_is_found_by_the_next() {
    let fixture = Fixture::new().await;
    let client = fixture.test.client().await;
    let ada = fixture.user("ada@example.com").await;
    give_actions(&client, ada, 30, 300).await;
    fixture.delete(ada).await;
    // After this step the actions are gone, and their events are not.
    assert_eq!(fixture.erasure.erase(ada).await.unwrap().actions, 30);
    let [actions, results, queue, leases, events, _] = rows(&client).await;
    assert_eq!([actions, results, queue, leases], [0; 4]);
    assert!(events >= 9_000);
    let next = PgErasure::new(fixture.test.database());
    for _ in 0..4 {
        next.erase(ada).await.unwrap();
    }
    assert_eq!(rows(&client).await, [0; 6]);
}
