//! Whose action comes next: between users, whatever one of them piles up, and below the floors of the claims.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use std::time::Duration;

use deed_adapters::ids::SystemIds;
use deed_adapters::postgres::{Database, PgActionTypes, PgLeases, PgSubmissions, WakeupHub};
use deed_domain::action::state::RetryReason;
use deed_domain::action::{
    ActionType, ActionTypeName, Grant, NewAction, Payload, PerformedBy, Priority,
};
use deed_domain::id::{ActionId, UserId};
use deed_domain::ports::{
    ActionTypes as _, BatchSubmitted, ClaimRequest, Ids as _, Leases as _, Requeue, Requeued,
    Submissions as _, Submitted,
};
use deed_testkit::TestDatabase;
use tokio::time::{Instant, timeout};

/// How many one user piles up.
const FLOOD: usize = 10_000;

struct Replica {
    submissions: PgSubmissions,
    leases: PgLeases,
}

struct Fixture {
    test: TestDatabase,
}

impl Fixture {
    async fn new() -> Self {
        let test = TestDatabase::fresh().await;
        PgActionTypes::new(test.database())
            .register_handlers(&[ActionType::new(echo(), PerformedBy::Handler)])
            .await
            .unwrap();
        Self { test }
    }

    /// A server that has just been started.
    fn replica(&self) -> Replica {
        let database = Database::new(&self.test.url(), 8).unwrap();
        let hub = WakeupHub::new(database.clone(), &SystemIds);
        Replica {
            submissions: PgSubmissions::new(database.clone(), hub.clone()),
            leases: PgLeases::new(database, hub),
        }
    }

    async fn sql(&self, sql: &str) {
        self.test.client().await.batch_execute(sql).await.unwrap();
    }
}

impl Replica {
    async fn submit(&self, user: UserId) -> ActionId {
        let action = new_action(user);
        let id = action.id;
        let submitted = self.submissions.submit(action, None).await;
        assert_eq!(submitted.unwrap(), Submitted::New);
        id
    }

    /// So many at once, in requests of 500.
    async fn pile_up(&self, user: UserId, count: usize) {
        let actions: Vec<NewAction> = (0..count).map(|_| new_action(user)).collect();
        for some in actions.chunks(500) {
            let submitted = self.submissions.submit_batch(some, None).await;
            assert_eq!(submitted.unwrap(), BatchSubmitted::New);
        }
    }

    async fn claim(&self, max: usize) -> Vec<Grant> {
        let request = ClaimRequest {
            types: vec![echo()],
            max,
            worker: "w".to_owned(),
            lease: None,
        };
        self.leases.claim(&request).await.unwrap()
    }

    async fn claim_one(&self) -> Option<Grant> {
        self.claim(1).await.pop()
    }

    /// How many are claimed, one after the other, until one of `user` comes.
    async fn claims_until(&self, user: UserId) -> usize {
        for count in 1..=100 {
            let grant = self.claim_one().await;
            if grant.is_some_and(|grant| grant.user_id == user) {
                return count;
            }
        }
        panic!("not among the first hundred");
    }
}

fn echo() -> ActionTypeName {
    ActionTypeName::parse("echo").unwrap()
}

fn user() -> UserId {
    UserId::from_uuid(SystemIds.time_ordered())
}

fn new_action(user: UserId) -> NewAction {
    NewAction {
        id: ActionId::from_uuid(SystemIds.time_ordered()),
        user_id: user,
        api_key_id: None,
        action_type: echo(),
        priority: Priority::default(),
        max_attempts: 3,
        run_at: None,
        retry_of: None,
        input: Payload::empty_object(),
        traceparent: None,
        max_queued: None,
    }
}

#[tokio::test]
async fn what_one_user_piles_up_does_not_delay_another() {
    let fixture = Fixture::new().await;
    let replica = fixture.replica();
    replica.pile_up(user(), FLOOD).await;
    let other = user();
    replica.submit(other).await;
    assert!(replica.claims_until(other).await <= 2);
}

/// Workers so slow that after an hour hardly anything was performed: the flood lies an hour behind the clock.
#[tokio::test]
async fn nor_does_it_when_the_service_is_slow() {
    let fixture = Fixture::new().await;
    fixture.replica().pile_up(user(), FLOOD).await;
    fixture
        .sql("UPDATE action_queue SET rank = rank - 3600000000, ready_at = ready_at - interval '1 h'")
        .await;
    let (replica, worker) = (fixture.replica(), fixture.replica());
    for _ in 0..10 {
        worker.claim_one().await.unwrap();
    }
    let other = user();
    replica.submit(other).await;
    // The worker's floor lies behind nothing that waits.
    assert!(worker.claims_until(other).await <= 2);
}

/// Much of the flood was performed at once: its head is ahead of the clock.
#[tokio::test]
async fn nor_does_it_when_the_service_is_fast() {
    let fixture = Fixture::new().await;
    let replica = fixture.replica();
    let first = user();
    replica.pile_up(first, FLOOD).await;
    while replica.claim(500).await.last().unwrap().user_id == first {
        let other = user();
        replica.submit(other).await;
        if replica.claims_until(other).await > 2 {
            panic!("it was delayed");
        }
        if left(&fixture).await < 1_000 {
            break;
        }
    }
}

async fn left(fixture: &Fixture) -> i64 {
    let client = fixture.test.client().await;
    let row = client.query_one("SELECT count(*) FROM action_queue", &[]);
    row.await.unwrap().get(0)
}

#[tokio::test]
async fn two_who_pile_up_take_turns_whoever_came_first() {
    let fixture = Fixture::new().await;
    let replica = fixture.replica();
    let (first, second) = (user(), user());
    replica.pile_up(first, 2_000).await;
    replica.pile_up(second, 2_000).await;
    let mut users = Vec::new();
    for _ in 0..200 {
        users.push(replica.claim_one().await.unwrap().user_id);
    }
    for some in users.chunks(20) {
        let share = some.iter().filter(|one| **one == first).count();
        assert!((9..=11).contains(&share), "{share} of 20");
    }
}

#[tokio::test]
async fn a_users_own_come_in_their_order() {
    let fixture = Fixture::new().await;
    let replica = fixture.replica();
    let user = user();
    let actions: Vec<NewAction> = (0..50).map(|_| new_action(user)).collect();
    replica
        .submissions
        .submit_batch(&actions, None)
        .await
        .unwrap();
    for action in actions {
        let grant = replica.claim_one().await.unwrap();
        assert_eq!(grant.lease.id.action_id, action.id);
    }
}

/// What is scheduled has its turn when it is due, and not before it.
#[tokio::test]
async fn what_becomes_due_at_once_does_not_delay_another_either() {
    let fixture = Fixture::new().await;
    let replica = fixture.replica();
    let (first, other) = (user(), user());
    let later = |user| NewAction {
        run_at: Some("2100-01-01T00:00:00Z".parse().unwrap()),
        ..new_action(user)
    };
    let scheduled: Vec<NewAction> = (0..500).map(|_| later(first)).collect();
    replica
        .submissions
        .submit_batch(&scheduled, None)
        .await
        .unwrap();
    replica
        .submissions
        .submit(later(other), None)
        .await
        .unwrap();
    assert_eq!(replica.claim_one().await, None);
    fixture
        .sql("UPDATE action_queue SET run_at = clock_timestamp() - interval '1 s'")
        .await;
    fixture
        .sql(&format!(
            "UPDATE action_queue SET run_at = clock_timestamp() WHERE user_id = '{other}'"
        ))
        .await;
    let mut count = 0;
    while count < 501 {
        count += replica.leases.promote(200).await.unwrap().count;
    }
    assert!(replica.claims_until(other).await <= 2);
}

/// An attempt that is to be followed by another at once is not put behind what others have piled up meanwhile.
#[tokio::test]
async fn who_was_interrupted_goes_on_before_what_has_waited_no_longer() {
    let fixture = Fixture::new().await;
    let replica = fixture.replica();
    let first = user();
    replica.submit(first).await;
    let released = replica.claim_one().await.unwrap();
    replica.submit(first).await;
    let requeued = replica.claim_one().await.unwrap();
    replica.pile_up(user(), 2_000).await;
    let requeue = Requeue {
        lease: requeued.lease.id,
        pause: Duration::ZERO,
        reason: RetryReason::Failed,
        error: None,
    };
    let verdicts = replica.leases.requeue(&[requeue]).await.unwrap();
    assert_eq!(verdicts, [Requeued::Requeued]);
    assert!(replica.claims_until(first).await <= 2);
    replica.leases.release(&[released.lease.id]).await.unwrap();
    // What is given back steps aside a little: for whoever gave it back it may be the wrong thing.
    let claims = replica.claims_until(first).await;
    assert!((2..=100).contains(&claims), "{claims}");
}

/// A commit that comes late, or what a server does that knows nothing of floors.
#[tokio::test]
async fn what_appears_below_the_floor_is_found_within_a_second() {
    let fixture = Fixture::new().await;
    let replica = fixture.replica();
    // A lane that was read to its end, from its beginning, just now.
    assert_eq!(replica.claim_one().await, None);
    let id = replica.submit(user()).await;
    fixture.sql("UPDATE action_queue SET rank = 1").await;
    let began = Instant::now();
    let mut looks = 0;
    let found = async {
        loop {
            if let Some(grant) = replica.claim_one().await {
                return grant.lease.id.action_id;
            }
            looks += 1;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert_eq!(timeout(Duration::from_secs(5), found).await.unwrap(), id);
    assert!(began.elapsed() < Duration::from_millis(1_500));
    // The claims before it did not read the lane from its beginning.
    assert!(looks > 3, "{looks} claims missed it");
}

/// With a backlog the floor follows what is claimed, however far that is behind the clock.
#[tokio::test]
async fn the_floor_is_never_above_what_waits() {
    let fixture = Fixture::new().await;
    fixture.replica().pile_up(user(), 1_000).await;
    fixture
        .sql("UPDATE action_queue SET rank = rank - 3600000000")
        .await;
    let worker = fixture.replica();
    for _ in 0..100 {
        assert_eq!(worker.claim(10).await.len(), 10);
    }
    assert_eq!(worker.claim_one().await, None);
}
