//! What statements cost: how many are sent, and by which plans they run.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::sync::Arc;

use deed_adapters::ids::SystemIds;
use deed_adapters::postgres::{
    Database, PgActionReader, PgActionTypes, PgEventLog, PgLeases, PgSubmissions, PgUsers,
    WakeupHub,
};
use deed_domain::action::{
    ActionFilter, ActionType, ActionTypeName, LeaseRef, NewAction, Outcome, Payload, PerformedBy,
    Priority, Sequence,
};
use deed_domain::caller::{Attribution, Reach};
use deed_domain::email::Email;
use deed_domain::id::{ActionId, UserId};
use deed_domain::page::{Limit, PageRequest};
use deed_domain::password::PasswordHash;
use deed_domain::ports::{
    ActionReader as _, ActionTypes as _, Beat, ClaimRequest, EventLog as _, Finish,
    HeartbeatVerdict, Ids as _, Leases as _, Submissions as _, UserRepository as _,
};
use deed_domain::scope::TypeReach;
use deed_domain::user::{DisplayName, NewUser};
use deed_testkit::TestDatabase;
use futures_util::future::join_all;
use tokio_postgres::Client;
use uuid::Uuid;

struct Fixture {
    test: TestDatabase,
    database: Database,
    hub: WakeupHub,
    user: UserId,
}

impl Fixture {
    async fn new() -> Self {
        let test = TestDatabase::fresh().await;
        let database = test.database();
        let hub = WakeupHub::new(database.clone(), &SystemIds);
        let echo = ActionType::new(echo(), PerformedBy::Handler);
        PgActionTypes::new(database.clone())
            .register_handlers(&[echo])
            .await
            .unwrap();
        let user = NewUser {
            id: UserId::from_uuid(SystemIds.time_ordered()),
            email: Email::parse("ada@example.com").unwrap(),
            name: DisplayName::parse("Ada").unwrap(),
            password_hash: PasswordHash::from_phc("$"),
            external_id: None,
        };
        let id = user.id;
        let users = PgUsers::new(database.clone(), hub.clone(), Arc::new(SystemIds));
        users
            .create(user, &Attribution::OPERATOR, None)
            .await
            .unwrap();
        Self {
            test,
            database,
            hub,
            user: id,
        }
    }

    async fn submit(&self) -> ActionId {
        let id = ActionId::from_uuid(SystemIds.time_ordered());
        let action = NewAction {
            id,
            user_id: self.user,
            api_key_id: None,
            action_type: echo(),
            priority: Priority::default(),
            max_attempts: 3,
            run_at: None,
            retry_of: None,
            input: Payload::empty_object(),
            traceparent: None,
            max_queued: None,
        };
        PgSubmissions::new(self.database.clone(), self.hub.clone())
            .submit(action, None)
            .await
            .unwrap();
        id
    }
}

fn echo() -> ActionTypeName {
    ActionTypeName::parse("echo").unwrap()
}

#[tokio::test]
async fn each_call_is_one_statement() {
    let fixture = Fixture::new().await;
    let leases = PgLeases::new(fixture.database.clone(), fixture.hub.clone());
    let reader = PgActionReader::new(fixture.database.clone());
    let log = PgEventLog::new(fixture.database.clone());
    let reach = Reach::EVERYTHING;
    let mut before = fixture.database.statements();
    let mut check = |what: &str| {
        let now = fixture.database.statements();
        assert_eq!(now - before, 1, "{what}");
        before = now;
    };
    let id = fixture.submit().await;
    check("submit");
    for _ in 0..20 {
        fixture.submit().await;
        check("submit");
    }
    let page = PageRequest {
        limit: Limit::default(),
        after: None,
    };
    let listed = reader
        .list(&ActionFilter::default(), &reach, page)
        .await
        .unwrap();
    assert_eq!(listed.items.len(), 21);
    check("list");
    reader.find(id, &reach).await.unwrap();
    check("find");
    log.read(id, &reach, Sequence::START, 100).await.unwrap();
    check("read");
    let request = ClaimRequest {
        types: vec![echo()],
        max: 21,
        worker: "w".to_owned(),
        lease: None,
    };
    let grants = leases.claim(&request).await.unwrap();
    assert_eq!(grants.len(), 21);
    check("claim");
    let finishes: Vec<Finish> = grants
        .iter()
        .map(|grant| Finish {
            lease: grant.lease.id,
            from_seq: None,
            events: vec![],
            outcome: Outcome::Cancelled,
        })
        .collect();
    leases.finish(&finishes).await.unwrap();
    check("finish");
}

/// Leases on so many actions.
async fn leased(fixture: &Fixture, leases: &PgLeases, count: usize) -> Vec<LeaseRef> {
    for _ in 0..count {
        fixture.submit().await;
    }
    let request = ClaimRequest {
        types: vec![echo()],
        max: count,
        worker: "w".to_owned(),
        lease: None,
    };
    let grants = leases.claim(&request).await.unwrap();
    assert_eq!(grants.len(), count);
    grants.into_iter().map(|grant| grant.lease.id).collect()
}

#[tokio::test]
async fn heartbeats_of_many_workers_are_one_statement_a_second() {
    let fixture = Fixture::new().await;
    let leases = PgLeases::new(fixture.database.clone(), fixture.hub.clone());
    let held = leased(&fixture, &leases, 40).await;
    // Each of twenty workers names two leases of its own, and one that all of them name.
    let workers: Vec<Vec<Beat>> = held
        .chunks(2)
        .map(|own| {
            let named = own.iter().chain([&held[0]]);
            let once: BTreeSet<LeaseRef> = named.copied().collect();
            once.into_iter()
                .map(|lease| Beat {
                    lease,
                    reach: TypeReach::All,
                })
                .collect()
        })
        .collect();
    let before = fixture.database.statements();
    for round in 1..=2 {
        let answers = workers.iter().map(|beats| leases.heartbeat(beats));
        for (beats, answer) in workers.iter().zip(join_all(answers).await) {
            let answer = answer.unwrap();
            assert_eq!(answer.len(), beats.len());
            let is_held = |one: &HeartbeatVerdict| matches!(one, HeartbeatVerdict::Held { .. });
            assert!(answer.iter().all(is_held), "{answer:?}");
        }
        assert_eq!(fixture.database.statements() - before, round);
    }
}

/// A new version of a lease that had to be put into its index, too, would cost twice as much, and leave more behind.
#[tokio::test]
async fn renewing_and_reporting_are_hot_updates() {
    let fixture = Fixture::new().await;
    let leases = PgLeases::new(fixture.database.clone(), fixture.hub.clone());
    // So few that all their versions fit on one page: within one transaction nothing can be pruned.
    let held = leased(&fixture, &leases, 8).await;
    let list = |ids: Vec<Uuid>| {
        let ids: Vec<String> = ids.iter().map(Uuid::to_string).collect();
        format!("'{{{}}}'", ids.join(","))
    };
    let actions = list(held.iter().map(|one| one.action_id.as_uuid()).collect());
    let tokens = list(held.iter().map(|one| one.lease_id.as_uuid()).collect());
    let each = |value: &str| format!("'{{{}}}'", vec![value; held.len()].join(","));
    let renew = include_str!("../src/postgres/sql/heartbeat.sql");
    let append = include_str!("../src/postgres/sql/append.sql");
    let (threes, nothing, state) = (each("3"), each("0"), each("[1]"));
    let sql = format!(
        "BEGIN; PREPARE renew AS {renew}; PREPARE append AS {append};
         EXECUTE renew({actions}, {tokens}, {nulls});
         EXECUTE append({actions}, {tokens}, {threes}, {nothing}, {state}, '{{}}', '{{}}', '{{}}', '{{}}', NULL);
         EXECUTE renew({actions}, {tokens}, {nulls})",
        nulls = each("NULL"),
    );
    let client = fixture.test.client().await;
    client.batch_execute(&sql).await.unwrap();
    let sql = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_xact_user_tables
               WHERE relid = 'action_leases'::regclass";
    let row = client.query_one(sql, &[]).await.unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (24, 24));
    client.batch_execute("COMMIT").await.unwrap();
    let sql = "SELECT count(*) FROM action_leases WHERE checkpoint = '[1]'";
    let row = client.query_one(sql, &[]).await.unwrap();
    assert_eq!(row.get::<_, i64>(0), 8);
}

/// What decides about plans in the pool's sessions.
const SESSION: &str =
    "SET plan_cache_mode = force_generic_plan; SET jit = off; SET enable_seqscan = off;";

/// The generic plan of a statement, as the pool's sessions run it.
async fn plan(client: &Client, sql: &str, parameters: usize) -> String {
    let nulls = vec!["NULL"; parameters].join(", ");
    let arguments = if parameters == 0 {
        String::new()
    } else {
        format!("({nulls})")
    };
    client
        .batch_execute(&format!("{SESSION} PREPARE one AS {sql}"))
        .await
        .unwrap();
    let rows = client
        .query(&format!("EXPLAIN (COSTS OFF) EXECUTE one{arguments}"), &[])
        .await
        .unwrap();
    client.batch_execute("DEALLOCATE one").await.unwrap();
    rows.iter()
        .map(|row| row.get::<_, String>(0))
        .collect::<Vec<_>>()
        .join("\n")
}

/// A thousand finished actions, a thousand that wait and some in flight, known to the planner.
async fn aged() -> (Fixture, Client) {
    let fixture = Fixture::new().await;
    let client = fixture.test.client().await;
    let sql = "
      CREATE TEMP TABLE seed AS SELECT n, (substr(uuid_floor(clock_timestamp())::text, 1, 15) || '7' || substr(gen_random_uuid()::text, 17))::uuid AS id
        FROM generate_series(1, 3000) n;
      INSERT INTO actions (id, user_id, type_id, priority, max_attempts, input)
        SELECT seed.id, u.id, t.id, 5, 3, '{}' FROM seed, users u, action_types t;
      INSERT INTO action_results (action_id, user_id, last_seq, attempt, status)
        SELECT seed.id, u.id, 1, 1, 'succeeded' FROM seed, users u WHERE n <= 1000;
      INSERT INTO action_queue (action_id, user_id, rank, type_id, next_seq, priority, attempt, max_attempts)
        SELECT seed.id, u.id, n, t.id, 2, 5, 0, 3 FROM seed, users u, action_types t WHERE n BETWEEN 1001 AND 2000;
      INSERT INTO action_leases (action_id, user_id, lease_id, granted_at, expires_at, deadline_at, type_id, next_seq, attempt,
                                 max_attempts, priority, lease_for, worker)
        SELECT seed.id, u.id, gen_random_uuid(), now(), now(), now(), t.id, 3, 1, 3, 5, '1 s', 'w'
        FROM seed, users u, action_types t WHERE n > 2000;
      INSERT INTO action_events (action_id, seq, event, data) SELECT id, 1, 'created', '{}' FROM seed;
      ANALYZE";
    client.batch_execute(sql).await.unwrap();
    (fixture, client)
}

#[tokio::test]
async fn hot_statements_read_by_index_whatever_the_age_of_the_tables() {
    let (_fixture, client) = aged().await;
    for (name, sql, parameters) in [
        ("submit", include_str!("../src/postgres/sql/submit.sql"), 19),
        ("claim", include_str!("../src/postgres/sql/claim.sql"), 9),
        ("ready", include_str!("../src/postgres/sql/ready.sql"), 4),
        ("below", include_str!("../src/postgres/sql/below.sql"), 4),
        ("due", include_str!("../src/postgres/sql/due.sql"), 1),
        ("append", include_str!("../src/postgres/sql/append.sql"), 10),
        (
            "messages",
            include_str!("../src/postgres/sql/messages.sql"),
            2,
        ),
        ("finish", include_str!("../src/postgres/sql/finish.sql"), 11),
        (
            "finished_by",
            include_str!("../src/postgres/sql/finished_by.sql"),
            3,
        ),
        (
            "heartbeat",
            include_str!("../src/postgres/sql/heartbeat.sql"),
            3,
        ),
        (
            "release",
            include_str!("../src/postgres/sql/release.sql"),
            4,
        ),
        (
            "requeue",
            include_str!("../src/postgres/sql/requeue.sql"),
            4,
        ),
        ("cancel", include_str!("../src/postgres/sql/cancel.sql"), 4),
        (
            "promote",
            include_str!("../src/postgres/sql/promote.sql"),
            5,
        ),
        (
            "give_up",
            include_str!("../src/postgres/sql/give_up.sql"),
            3,
        ),
        (
            "next_due",
            include_str!("../src/postgres/sql/next_due.sql"),
            0,
        ),
        ("action", include_str!("../src/postgres/sql/action.sql"), 3),
        (
            "overviews",
            include_str!("../src/postgres/sql/overviews.sql"),
            3,
        ),
        ("events", include_str!("../src/postgres/sql/events.sql"), 6),
        (
            "belongings",
            include_str!("../src/postgres/sql/belongings.sql"),
            2,
        ),
        (
            "erasure_look",
            include_str!("../src/postgres/sql/erasure_look.sql"),
            2,
        ),
        (
            "erasure_stop",
            include_str!("../src/postgres/sql/erasure_stop.sql"),
            2,
        ),
        (
            "erasure_remove",
            include_str!("../src/postgres/sql/erasure_remove.sql"),
            2,
        ),
        (
            "erasure_events",
            include_str!("../src/postgres/sql/erasure_events.sql"),
            4,
        ),
        (
            "erasure_end",
            include_str!("../src/postgres/sql/erasure_end.sql"),
            2,
        ),
        (
            "keys_prune",
            include_str!("../src/postgres/sql/keys_prune.sql"),
            2,
        ),
        (
            "unfinished",
            include_str!("../src/postgres/sql/unfinished.sql"),
            2,
        ),
    ] {
        let plan = plan(&client, sql, parameters).await;
        assert!(
            !plan.contains("Seq Scan"),
            "{name} reads all of a table:\n{plan}"
        );
    }
}

#[tokio::test]
async fn the_claim_reads_lane_by_lane_in_order() {
    let (_fixture, client) = aged().await;
    let plan = plan(&client, include_str!("../src/postgres/sql/claim.sql"), 9).await;
    assert!(
        plan.contains("Index Scan using action_queue_ready on action_queue"),
        "{plan}"
    );
    // Sorting a lane would read all of it.
    let (_, lanes) = plan.split_once("action_queue_ready").unwrap();
    assert!(
        lanes.contains("type_id = ") && lanes.contains("priority = ") && lanes.contains("rank >= "),
        "{plan}"
    );
    let sorts = plan.matches("Sort").count();
    assert_eq!(
        sorts,
        plan.matches("Sort Key: u.place").count() * 2,
        "only the lanes themselves are sorted:\n{plan}"
    );
}

/// A limit costs as many rows as it allows, whatever else waits; without one, none.
#[tokio::test]
async fn what_waits_of_a_key_is_counted_by_its_index_up_to_the_limit() {
    let (_fixture, client) = aged().await;
    let plan = plan(&client, include_str!("../src/postgres/sql/submit.sql"), 19).await;
    let (before, after) = plan.split_once("action_queue_counted").unwrap();
    assert!(after.contains("counted_for = "), "{plan}");
    let limits = before.rsplit("SubPlan").next().unwrap();
    assert!(limits.contains("Limit"), "it counts all:\n{plan}");
}

/// The sweeper asks once a second, whatever is held.
#[tokio::test]
async fn what_limits_hold_is_found_type_by_type() {
    let (_fixture, client) = aged().await;
    let sql = include_str!("../src/postgres/sql/limited.sql");
    let plan = plan(&client, sql, 0).await;
    assert!(!plan.contains("Seq Scan on action_queue"), "{plan}");
    assert!(!plan.contains("hashed"), "{plan}");
    assert_eq!(
        plan.matches("Index Cond: (type_id = t.id)").count(),
        2,
        "{plan}"
    );
}

/// Whoever changes one of these statements sees what it does to its plan.
#[tokio::test]
async fn the_plans_of_claim_append_and_takeover_are_known() {
    let (_fixture, client) = aged().await;
    for (name, sql, parameters) in [
        ("claim", include_str!("../src/postgres/sql/claim.sql"), 9),
        ("append", include_str!("../src/postgres/sql/append.sql"), 10),
        (
            "takeover",
            include_str!("../src/postgres/sql/rescue.sql"),
            10,
        ),
    ] {
        let plan = plan(&client, sql, parameters).await;
        insta::assert_snapshot!(format!("plan_of_{name}"), plan);
    }
}

/// Else the sweeper would look at everything that is scheduled, or that has a limit, once a second.
#[tokio::test]
async fn what_is_due_is_found_without_a_look_at_the_rest() {
    let (_fixture, client) = aged().await;
    for (sql, parameters, bound) in [
        (
            include_str!("../src/postgres/sql/due.sql"),
            1,
            "Index Cond: (run_at <= statement_timestamp())",
        ),
        (
            include_str!("../src/postgres/sql/give_up.sql"),
            3,
            "Index Cond: ((give_up_at IS NOT NULL) AND (give_up_at <= statement_timestamp()))",
        ),
    ] {
        let plan = plan(&client, sql, parameters).await;
        assert!(plan.contains(bound), "{plan}");
    }
}

/// It counts everything that waits, so it reads no rows for that: only the index.
#[tokio::test]
async fn the_queue_is_counted_in_its_index() {
    let (_fixture, client) = aged().await;
    let sql = include_str!("../src/postgres/sql/queue_sample.sql");
    let plan = plan(&client, sql, 0).await;
    assert!(
        plan.contains("Index Only Scan using action_queue_ready"),
        "{plan}"
    );
    assert!(!plan.contains("Seq Scan on action_queue"), "{plan}");
}

#[tokio::test]
async fn a_look_by_id_touches_one_partition() {
    let (fixture, client) = aged().await;
    let id = fixture.submit().await;
    let sql = format!(
        "{SESSION} PREPARE look AS {}",
        include_str!("../src/postgres/sql/action.sql")
    );
    client.batch_execute(&sql).await.unwrap();
    let explain = format!(
        "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) EXECUTE look('{id}', NULL, NULL)"
    );
    let rows = client.query(&explain, &[]).await.unwrap();
    let plan: String = rows
        .iter()
        .map(|row| row.get::<_, String>(0) + "\n")
        .collect();
    assert!(plan.contains("Subplans Removed"), "{plan}");
    assert!(!plan.contains("Seq Scan"), "{plan}");
}
