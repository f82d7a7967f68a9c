//! How many actions of a type are performed at a time.

#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use deed_adapters::ids::SystemIds;
use deed_adapters::postgres::{
    Database, PgActionReader, PgActionTypes, PgLeases, PgSubmissions, WakeupHub,
};
use deed_adapters::runner::sweep;
use deed_domain::action::state::RetryReason;
use deed_domain::action::{
    ActionFilter, ActionType, ActionTypeName, Concurrency, Grant, NewAction, Outcome, Payload,
    PerformedBy, Priority, Status,
};
use deed_domain::caller::Reach;
use deed_domain::id::{ActionId, UserId};
use deed_domain::page::{Limit, PageRequest};
use deed_domain::ports::{
    ActionReader as _, ActionTypes as _, BatchSubmitted, CancelVerdict, ClaimRequest, Finish,
    Ids as _, Leases as _, Released, Requeue, Submissions as _, TypeRemoved,
};
use deed_testkit::TestDatabase;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

/// How long anything may take that is to happen at all.
const SOON: Duration = Duration::from_secs(20);

struct Replica {
    types: PgActionTypes,
    submissions: PgSubmissions,
    leases: Arc<PgLeases>,
    reader: PgActionReader,
    database: Database,
}

impl Replica {
    fn over(test: &TestDatabase) -> Self {
        Self::at(&test.url())
    }

    fn at(url: &str) -> Self {
        let database = Database::new(url, 8).unwrap();
        let hub = WakeupHub::new(database.clone(), &SystemIds);
        Self {
            types: PgActionTypes::new(database.clone()),
            submissions: PgSubmissions::new(database.clone(), hub.clone()),
            leases: Arc::new(PgLeases::new(database.clone(), hub)),
            reader: PgActionReader::new(database.clone()),
            database,
        }
    }

    async fn limit(&self, total: Option<u16>, per_user: Option<u16>) {
        let action_type = ActionType {
            concurrency: Concurrency {
                total,
                per_user,
                per_replica: None,
            },
            ..ActionType::new(name(), PerformedBy::Workers)
        };
        self.types.define(&action_type).await.unwrap();
    }

    /// So many at once.
    async fn submit(&self, user: UserId, count: usize) -> Vec<ActionId> {
        let actions: Vec<NewAction> = (0..count).map(|_| new_action(user)).collect();
        for some in actions.chunks(500) {
            let submitted = self.submissions.submit_batch(some, None).await;
            assert_eq!(submitted.unwrap(), BatchSubmitted::New);
        }
        actions.into_iter().map(|action| action.id).collect()
    }

    async fn claim(&self, max: usize) -> Vec<Grant> {
        let request = ClaimRequest {
            types: vec![name()],
            max,
            worker: "w".to_owned(),
            lease: Some(Duration::from_secs(60)),
        };
        self.leases.claim(&request).await.unwrap()
    }

    async fn finish(&self, grant: &Grant) {
        let finish = Finish {
            lease: grant.lease.id,
            from_seq: None,
            events: vec![],
            outcome: Outcome::Succeeded(Payload::empty_object()),
        };
        self.leases.finish(&[finish]).await.unwrap();
    }

    async fn status(&self, id: ActionId) -> Status {
        let action = self.reader.find(id, &Reach::EVERYTHING).await.unwrap();
        action.unwrap().overview.status
    }

    async fn listed(&self, status: Status) -> usize {
        let filter = ActionFilter {
            status: Some(status),
            ..ActionFilter::default()
        };
        let page = PageRequest {
            limit: Limit::new(200).unwrap(),
            after: None,
        };
        let reach = Reach::EVERYTHING;
        let page = self.reader.list(&filter, &reach, page).await.unwrap();
        page.items.len()
    }
}

fn name() -> ActionTypeName {
    ActionTypeName::parse("limited").unwrap()
}

fn user() -> UserId {
    UserId::from_uuid(SystemIds.time_ordered())
}

fn new_action(user: UserId) -> NewAction {
    NewAction {
        id: ActionId::from_uuid(SystemIds.time_ordered()),
        user_id: user,
        api_key_id: None,
        action_type: name(),
        priority: Priority::default(),
        max_attempts: 100,
        run_at: None,
        retry_of: None,
        input: Payload::empty_object(),
        traceparent: None,
        max_queued: None,
    }
}

#[tokio::test]
async fn so_many_are_granted_and_another_one_as_one_ends() {
    let test = TestDatabase::fresh().await;
    let replica = Replica::over(&test);
    replica.limit(Some(3), None).await;
    replica.submit(user(), 10).await;
    let first = replica.claim(10).await;
    assert_eq!(first.len(), 3);
    assert_eq!(replica.claim(10).await.len(), 0);
    replica.finish(&first[0]).await;
    assert_eq!(replica.claim(10).await.len(), 1);
    // Back in the queue it makes room, too, for itself or another.
    let released = replica.leases.release(&[first[1].lease.id]).await.unwrap();
    assert_eq!(released, [Released::Released]);
    assert_eq!(replica.claim(10).await.len(), 1);
    let pause = |pause| Requeue {
        lease: first[2].lease.id,
        pause,
        reason: RetryReason::Failed,
        error: None,
    };
    let requeue = pause(Duration::from_secs(60));
    replica.leases.requeue(&[requeue]).await.unwrap();
    assert_eq!(replica.claim(10).await.len(), 1);
}

#[tokio::test]
async fn each_user_has_so_many_and_none_is_in_anothers_way() {
    let test = TestDatabase::fresh().await;
    let replica = Replica::over(&test);
    replica.limit(None, Some(2)).await;
    let (first, other) = (user(), user());
    replica.submit(first, 1_000).await;
    replica.submit(other, 3).await;
    let mut granted: HashMap<UserId, Vec<Grant>> = HashMap::new();
    for grant in replica.claim(100).await {
        granted.entry(grant.user_id).or_default().push(grant);
    }
    assert_eq!((granted[&first].len(), granted[&other].len()), (2, 2));
    replica.finish(&granted[&other][0]).await;
    let next = replica.claim(100).await;
    assert_eq!(next.len(), 1);
    assert_eq!(next[0].user_id, other);
}

#[tokio::test]
async fn both_limits_hold_together_and_users_take_turns() {
    let test = TestDatabase::fresh().await;
    let replica = Replica::over(&test);
    replica.limit(Some(3), Some(2)).await;
    let (first, other) = (user(), user());
    replica.submit(first, 50).await;
    replica.submit(other, 50).await;
    let grants = replica.claim(100).await;
    assert_eq!(grants.len(), 3);
    let of_first = grants.iter().filter(|grant| grant.user_id == first);
    assert!((1..=2).contains(&of_first.count()));
    let mut users = Vec::new();
    let mut running = grants;
    for _ in 0..40 {
        replica.finish(&running.remove(0)).await;
        let next = replica.claim(100).await;
        assert_eq!(next.len(), 1);
        users.push(next[0].user_id);
        running.extend(next);
    }
    let share = users.iter().filter(|one| **one == first).count();
    assert!((18..=22).contains(&share), "{share} of 40");
}

#[tokio::test]
async fn what_is_held_is_queued_wherever_it_is_shown() {
    let test = TestDatabase::fresh().await;
    let replica = Replica::over(&test);
    replica.limit(Some(1), None).await;
    let ids = replica.submit(user(), 3).await;
    let later = NewAction {
        run_at: Some("2100-01-01T00:00:00Z".parse().unwrap()),
        ..new_action(user())
    };
    replica
        .submissions
        .submit(later.clone(), None)
        .await
        .unwrap();
    assert_eq!(replica.status(ids[2]).await, Status::Queued);
    let action = replica
        .reader
        .find(ids[2], &Reach::EVERYTHING)
        .await
        .unwrap();
    assert_eq!(action.unwrap().overview.run_at, None);
    assert_eq!(replica.listed(Status::Queued).await, 3);
    assert_eq!(replica.listed(Status::Scheduled).await, 1);
    assert_eq!(replica.status(later.id).await, Status::Scheduled);
    // Nothing but what is scheduled is ever due.
    let promoted = replica.leases.promote(10).await.unwrap();
    assert_eq!(promoted.count, 0);
    assert!(promoted.next_due_in.unwrap() < Duration::from_secs(100 * 366 * 86_400));
}

#[tokio::test]
async fn what_is_held_can_be_cancelled_and_keeps_its_type_from_being_removed() {
    let test = TestDatabase::fresh().await;
    let replica = Replica::over(&test);
    replica.limit(Some(1), None).await;
    let ids = replica.submit(user(), 3).await;
    let reach = Reach::EVERYTHING;
    assert_eq!(replica.claim(1).await.len(), 1);
    let cancelled = replica.submissions.cancel(ids[1], &reach).await.unwrap();
    assert_eq!(cancelled, CancelVerdict::Cancelled);
    assert_eq!(replica.status(ids[1]).await, Status::Cancelled);
    let running = replica.submissions.cancel(ids[0], &reach).await.unwrap();
    assert_eq!(running, CancelVerdict::Asked);
    let removed = replica.types.remove(&name()).await.unwrap();
    assert_eq!(removed, TypeRemoved::HasActions);
}

/// A claimable one that is cancelled leaves its place to the next.
#[tokio::test]
async fn a_cancelled_one_makes_room() {
    let test = TestDatabase::fresh().await;
    let replica = Replica::over(&test);
    replica.limit(Some(1), None).await;
    let ids = replica.submit(user(), 2).await;
    let reach = Reach::EVERYTHING;
    replica.submissions.cancel(ids[0], &reach).await.unwrap();
    let granted = replica.claim(5).await;
    assert_eq!(granted.len(), 1);
    assert_eq!(granted[0].lease.id.action_id, ids[1]);
}

#[tokio::test]
async fn what_becomes_due_waits_for_room_like_any_other() {
    let test = TestDatabase::fresh().await;
    let replica = Replica::over(&test);
    replica.limit(Some(2), None).await;
    let later = || NewAction {
        run_at: Some("2100-01-01T00:00:00Z".parse().unwrap()),
        ..new_action(user())
    };
    for _ in 0..5 {
        replica.submissions.submit(later(), None).await.unwrap();
    }
    let client = test.client().await;
    let due = "UPDATE action_queue SET run_at = clock_timestamp()";
    client.batch_execute(due).await.unwrap();
    assert_eq!(replica.leases.promote(10).await.unwrap().count, 5);
    assert_eq!(replica.claim(10).await.len(), 2);
}

#[tokio::test]
async fn a_limit_that_changes_counts_at_the_next_look() {
    let test = TestDatabase::fresh().await;
    let replica = Replica::over(&test);
    replica.limit(None, None).await;
    replica.submit(user(), 3_000).await;
    // A new one holds what is claimable already.
    replica.limit(Some(5), None).await;
    replica.leases.admit().await.unwrap();
    let first = replica.claim(100).await;
    assert_eq!(first.len(), 5);
    // A higher one lets more in.
    replica.limit(Some(8), None).await;
    assert_eq!(replica.leases.admit().await.unwrap(), 3);
    assert_eq!(replica.claim(100).await.len(), 3);
    // Under a lower one nothing is taken away from who performs, but nothing comes after it.
    replica.limit(Some(6), None).await;
    replica.leases.admit().await.unwrap();
    for grant in &first[..2] {
        replica.finish(grant).await;
    }
    assert_eq!(replica.claim(100).await.len(), 0);
    replica.finish(&first[2]).await;
    assert_eq!(replica.claim(100).await.len(), 1);
    // Without one everything is claimable.
    replica.limit(None, None).await;
    replica.leases.admit().await.unwrap();
    assert_eq!(replica.claim(5_000).await.len(), 3_000 - 9);
}

/// As when it is set for the first time while a long queue waits.
#[tokio::test]
async fn a_limit_that_is_new_to_many_holds_them_in_good_time() {
    let test = TestDatabase::fresh().await;
    let replica = Replica::over(&test);
    replica.limit(None, None).await;
    replica.submit(user(), 1).await;
    let sql = "INSERT INTO action_queue (action_id, user_id, rank, type_id, next_seq, priority, attempt, max_attempts)
               SELECT gen_random_uuid(), gen_random_uuid(), n, type_id, 2, 5, 0, 3 FROM action_queue, generate_series(1, 25000) n";
    test.client().await.batch_execute(sql).await.unwrap();
    replica.limit(Some(2), Some(1)).await;
    let admitted = timeout(SOON, replica.leases.admit()).await.unwrap();
    admitted.unwrap();
    let count = "SELECT count(*) FROM action_queue WHERE run_at IS NULL";
    let row = test.client().await.query_one(count, &[]).await.unwrap();
    assert_eq!(row.get::<_, i64>(0), 2);
}

#[tokio::test]
async fn types_without_limits_cost_no_further_statement() {
    let test = TestDatabase::fresh().await;
    let replica = Replica::over(&test);
    replica.limit(None, None).await;
    let before = replica.database.statements();
    replica.submit(user(), 1).await;
    let grant = replica.claim(1).await.remove(0);
    replica.finish(&grant).await;
    assert_eq!(replica.database.statements() - before, 3);
}

/// What is held counts as ready, and its wait from when it could have been claimed but for the limit.
#[tokio::test]
async fn what_is_held_is_counted_as_ready() {
    let test = TestDatabase::fresh().await;
    let replica = Replica::over(&test);
    replica.limit(Some(1), None).await;
    replica.submit(user(), 3).await;
    let sql = "UPDATE action_queue SET ready_at = clock_timestamp() - interval '100 s'";
    test.client().await.batch_execute(sql).await.unwrap();
    let rows = test
        .client()
        .await
        .query(include_str!("../src/postgres/sql/queue_sample.sql"), &[])
        .await
        .unwrap();
    let row = rows
        .iter()
        .find(|row| row.get::<_, &str>("type") == "limited")
        .unwrap();
    assert_eq!(row.get::<_, i64>("ready"), 3);
    assert_eq!(row.get::<_, i64>("scheduled"), 0);
    let oldest: i64 = row.get("oldest_us");
    assert!((100_000_000..110_000_000).contains(&oldest), "{oldest}");
}

/// Two that look at the same time, the second one before the first has committed: it waits, and counts what that let in.
#[tokio::test(flavor = "multi_thread")]
async fn who_looks_waits_for_who_looks_already() {
    let test = TestDatabase::fresh().await;
    let replica = Replica::over(&test);
    replica.limit(Some(3), None).await;
    replica.submit(user(), 10).await;
    let (first, second, eye) = (
        test.client().await,
        test.client().await,
        test.client().await,
    );
    let hold = "UPDATE action_queue SET run_at = '9999-12-31Z'";
    first.batch_execute(hold).await.unwrap();
    let pid: i32 = second
        .query_one("SELECT pg_backend_pid()", &[])
        .await
        .unwrap()
        .get(0);
    let look = "SELECT * FROM admit_actions('limited', 100)";
    first.batch_execute("BEGIN").await.unwrap();
    first.batch_execute(look).await.unwrap();
    let other = tokio::spawn(async move { second.batch_execute(look).await });
    let waits = async {
        let sql = "SELECT cardinality(pg_blocking_pids($1)) > 0";
        while !other.is_finished() && !eye.query_one(sql, &[&pid]).await.unwrap().get::<_, bool>(0)
        {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, waits).await.unwrap();
    first.batch_execute("COMMIT").await.unwrap();
    other.await.unwrap().unwrap();
    assert_eq!(replica.claim(10).await.len(), 3);
}

/// Replicas, workers that end their actions in every way or not at all, sweepers, and a database that ends sessions:
/// however they meet, no look at the leases ever finds more than the limits allow.
async fn check_whatever_happens_at_once(total: u16, per_user: Option<u16>) {
    let test = TestDatabase::fresh().await;
    let name = format!("limits-{}", SystemIds.time_ordered().simple());
    let url = format!("{}&application_name={name}", test.url());
    let replicas: Vec<Arc<Replica>> = (0..3).map(|_| Arc::new(Replica::at(&url))).collect();
    replicas[0].limit(Some(total), per_user).await;
    let users: Vec<UserId> = (0..4).map(|_| user()).collect();
    let (done, finished) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let mut tasks = JoinSet::new();
    let mut sweepers = JoinSet::new();
    for (n, replica) in replicas.iter().enumerate() {
        sweepers.spawn(sweep(replica.leases.clone()));
        for worker in 0..3 {
            tasks.spawn(work(
                Arc::clone(replica),
                n * 3 + worker,
                Arc::clone(&done),
                Arc::clone(&finished),
            ));
        }
        let (replica, users, done) = (Arc::clone(replica), users.clone(), Arc::clone(&done));
        tasks.spawn(async move {
            for n in 0.. {
                if done.load(Ordering::Relaxed) {
                    return;
                }
                let action = new_action(users[n % users.len()]);
                // A lost connection is no matter here.
                drop(replica.submissions.submit(action, None).await);
            }
        });
    }
    let killer = tokio::spawn(kill(test.client().await, name, Arc::clone(&done)));
    let client = test.client().await;
    let sql = "SELECT coalesce(sum(n), 0)::int8, coalesce(max(n), 0)::int8
               FROM (SELECT count(*) AS n FROM action_leases GROUP BY user_id) u";
    let look = client.prepare(sql).await.unwrap();
    let (mut looks, mut most, began) = (0, 0, Instant::now());
    while began.elapsed() < Duration::from_secs(5)
        || finished.load(Ordering::Relaxed) < 30
        || looks < 200
        || most < i64::from(total)
    {
        let row = client.query_one(&look, &[]).await.unwrap();
        let (all, of_one): (i64, i64) = (row.get(0), row.get(1));
        assert!(all <= total.into(), "{all} are performed at a time");
        let limit = per_user.unwrap_or(total);
        assert!(of_one <= limit.into(), "{of_one} of one user");
        (looks, most) = (looks + 1, all.max(most));
        assert!(began.elapsed() < Duration::from_secs(60), "it hardly moves");
    }
    done.store(true, Ordering::Relaxed);
    timeout(SOON, tasks.join_all()).await.unwrap();
    killer.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_holds_whatever_happens_at_once() {
    check_whatever_happens_at_once(5, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_for_all_and_for_each_hold_whatever_happens_at_once() {
    check_whatever_happens_at_once(5, Some(2)).await;
}

async fn work(
    replica: Arc<Replica>,
    seed: usize,
    done: Arc<AtomicBool>,
    finished: Arc<AtomicUsize>,
) {
    let mut turn = seed;
    while !done.load(Ordering::Relaxed) {
        let request = ClaimRequest {
            types: vec![name()],
            max: 3,
            worker: "w".to_owned(),
            lease: Some(Duration::from_millis(300)),
        };
        let Ok(grants) = replica.leases.claim(&request).await else {
            continue;
        };
        for grant in grants {
            turn += 1;
            let requeue = |pause| Requeue {
                lease: grant.lease.id,
                pause,
                reason: RetryReason::Failed,
                error: None,
            };
            match turn % 8 {
                0 => drop(replica.leases.release(&[grant.lease.id]).await),
                1 => drop(replica.leases.requeue(&[requeue(Duration::ZERO)]).await),
                2 => drop(
                    replica
                        .leases
                        .requeue(&[requeue(Duration::from_millis(50))])
                        .await,
                ),
                // Left to expire.
                3 => {}
                _ => {
                    let finish = Finish {
                        lease: grant.lease.id,
                        from_seq: None,
                        events: vec![],
                        outcome: Outcome::Succeeded(Payload::empty_object()),
                    };
                    if replica.leases.finish(&[finish]).await.is_ok() {
                        finished.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        }
    }
}

/// Ends a session of the replicas now and then.
async fn kill(client: tokio_postgres::Client, name: String, done: Arc<AtomicBool>) {
    let sql = "SELECT count(pg_terminate_backend(pid)) FROM (SELECT pid FROM pg_stat_activity
               WHERE application_name = $1 AND state = 'active' ORDER BY random() LIMIT 1) one";
    let mut pause = tokio::time::interval(Duration::from_millis(50));
    while !done.load(Ordering::Relaxed) {
        pause.tick().await;
        client.query_one(sql, &[&name]).await.unwrap();
    }
}

/// What is let in may have waited for hours: it lies before everything that claims have read meanwhile.
#[tokio::test]
async fn what_is_let_in_is_found_at_once_however_old_it_is() {
    let test = TestDatabase::fresh().await;
    let replica = Replica::over(&test);
    replica.limit(Some(1), None).await;
    replica.submit(user(), 4).await;
    let sql = "UPDATE action_queue SET rank = rank - 3600000000";
    test.client().await.batch_execute(sql).await.unwrap();
    let mut grants = replica.claim(10).await;
    for _ in 0..3 {
        // Nothing is there, so every lane is known to be read to its end.
        assert_eq!(replica.claim(10).await.len(), 0);
        replica.finish(&grants.remove(0)).await;
        let ready = replica.leases.ready(&[name()]).await.unwrap();
        assert_eq!(ready, [name()]);
        grants = replica.claim(10).await;
        assert_eq!(grants.len(), 1);
    }
}

/// As by an operator's transaction that was left open.
#[tokio::test]
async fn a_type_that_somebody_has_locked_holds_up_no_other() {
    let test = TestDatabase::fresh().await;
    let replica = Replica::over(&test);
    replica.limit(Some(1), None).await;
    replica.submit(user(), 1).await;
    let others = ["due", "held"].map(|name| ActionTypeName::parse(name).unwrap());
    for name in &others {
        let action_type = ActionType {
            concurrency: Concurrency {
                total: Some(1),
                ..Concurrency::default()
            },
            ..ActionType::new(name.clone(), PerformedBy::Workers)
        };
        replica.types.define(&action_type).await.unwrap();
        let action = NewAction {
            action_type: name.clone(),
            ..new_action(user())
        };
        replica.submissions.submit(action, None).await.unwrap();
    }
    let somebody = test.client().await;
    let sql = "UPDATE action_queue q SET run_at = CASE t.name WHEN 'due' THEN clock_timestamp() ELSE '9999-12-31Z' END
               FROM action_types t WHERE t.id = q.type_id AND t.name IN ('due', 'held')";
    somebody.batch_execute(sql).await.unwrap();
    let lock = "BEGIN; SELECT FROM action_types WHERE name = 'limited' FOR UPDATE";
    somebody.batch_execute(lock).await.unwrap();
    let sweeping = tokio::spawn(sweep(replica.leases.clone()));
    for name in others {
        let request = ClaimRequest {
            types: vec![name],
            max: 1,
            worker: "w".to_owned(),
            lease: Some(Duration::from_secs(60)),
        };
        let claimed = async {
            while replica.leases.claim(&request).await.unwrap().is_empty() {
                tokio::task::yield_now().await;
            }
        };
        timeout(SOON, claimed).await.unwrap();
    }
    sweeping.abort();
    somebody.batch_execute("ROLLBACK").await.unwrap();
}
