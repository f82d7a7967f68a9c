//! Workers that wait for leases, on PostgreSQL.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use deed_adapters::clock::SystemClock;
use deed_adapters::dispatcher::Dispatcher;
use deed_adapters::ids::SystemIds;
use deed_adapters::postgres::{Database, PgActionTypes, PgLeases, PgSubmissions, WakeupHub};
use deed_adapters::runner::sweep;
use deed_domain::action::state::RetryReason;
use deed_domain::action::{
    ActionType, ActionTypeName, Grant, LeaseRequest, NewAction, Payload, PerformedBy, Priority,
};
use deed_domain::id::{ActionId, UserId};
use deed_domain::ports::{
    ActionTypes as _, Clock as _, Dispatch as _, Granted, Ids as _, Leases as _, Requeue,
    Submissions as _, Submitted, Wish,
};
use deed_testkit::TestDatabase;
use tokio::task::{JoinHandle, JoinSet};

const SOON: Duration = Duration::from_secs(20);
/// What a debug build on a busy machine may take for what takes milliseconds.
const AT_ONCE: Duration = Duration::from_millis(400);
const LONG: Duration = Duration::from_secs(60);

struct Replica {
    database: Database,
    hub: WakeupHub,
    leases: Arc<PgLeases>,
    dispatcher: Dispatcher,
    _background: JoinSet<()>,
}

fn name(text: &str) -> ActionTypeName {
    ActionTypeName::parse(text).unwrap()
}

fn wish(action_type: &str, wait: Duration) -> Wish {
    Wish {
        types: vec![name(action_type)],
        max: 1,
        worker: "w".to_owned(),
        lease: Some(LONG),
        wait,
        request: None,
    }
}

impl Replica {
    async fn over(test: &TestDatabase) -> Self {
        let database = Database::new(&test.url(), 8).unwrap();
        let hub = WakeupHub::new(database.clone(), &SystemIds);
        let leases = Arc::new(PgLeases::new(database.clone(), hub.clone()));
        let wakeups = Arc::new(hub.clone());
        let dispatcher = Dispatcher::new(leases.clone(), wakeups, database.metrics());
        let types = PgActionTypes::new(database.clone());
        let types_of =
            ["a", "b", "c"].map(|text| ActionType::new(name(text), PerformedBy::Handler));
        types.register_handlers(&types_of).await.unwrap();
        let mut background = JoinSet::new();
        background.spawn(hub.clone().run());
        background.spawn(dispatcher.clone().run());
        let listening = async {
            while !hub.is_listening() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(SOON, listening).await.unwrap();
        Self {
            database,
            hub,
            leases,
            dispatcher,
            _background: background,
        }
    }

    async fn submit(&self, action_type: &str, in_a_moment: Option<TimeDelta>) -> ActionId {
        let id = ActionId::from_uuid(SystemIds.time_ordered());
        let action = NewAction {
            id,
            user_id: UserId::from_uuid(SystemIds.time_ordered()),
            api_key_id: None,
            action_type: name(action_type),
            priority: Priority::default(),
            max_attempts: 3,
            run_at: in_a_moment.map(|moment| SystemClock.now() + moment),
            retry_of: None,
            input: Payload::empty_object(),
            traceparent: None,
            max_queued: None,
        };
        let submissions = PgSubmissions::new(self.database.clone(), self.hub.clone());
        let submitted = submissions.submit(action, None).await;
        assert_eq!(submitted.unwrap(), Submitted::New);
        id
    }

    fn ask(&self, wish: Wish) -> JoinHandle<Vec<Grant>> {
        let dispatcher = self.dispatcher.clone();
        tokio::spawn(async move { dispatcher.lease(wish).await.map(Granted::take).unwrap() })
    }

    /// Somebody who waits: there is nothing for them yet.
    async fn waiting(&self, wish: Wish) -> JoinHandle<Vec<Grant>> {
        let before = self.claims();
        let asked = self.ask(wish);
        let looked = async {
            while self.claims() == before {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(SOON, looked).await.unwrap();
        asked
    }

    fn claims(&self) -> u64 {
        self.database.statements()
    }
}

async fn granted(asked: JoinHandle<Vec<Grant>>) -> Grant {
    let mut grants = tokio::time::timeout(SOON, asked).await.unwrap().unwrap();
    assert_eq!(grants.len(), 1);
    grants.remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_idle_workers_cost_one_look_a_second() {
    let test = TestDatabase::fresh().await;
    let replica = Replica::over(&test).await;
    let mut asked = Vec::new();
    for n in 0..1_000 {
        let types = if n % 2 == 0 { "a" } else { "b" };
        let request = (n % 3 == 0).then(|| {
            let mut bytes = [0; 32];
            bytes
                .iter_mut()
                .zip(u64::to_be_bytes(n))
                .for_each(|(to, from)| *to = from);
            LeaseRequest::from_bytes(bytes)
        });
        asked.push(replica.ask(Wish {
            request,
            ..wish(types, LONG)
        }));
    }
    // All of them have been looked for once the first action of the last one's type is granted.
    let last = replica.ask(wish("c", LONG));
    replica.submit("c", None).await;
    granted(last).await;
    let (before, began) = (replica.database.statements(), Instant::now());
    tokio::time::sleep(Duration::from_secs(5)).await;
    let statements = replica.database.statements() - before;
    let seconds = began.elapsed().as_secs() + 1;
    // The pulse of the wake-ups, and one look which of all the types have something.
    assert!(
        (4..=2 * seconds + 2).contains(&statements),
        "{statements} statements in {seconds} s"
    );
    assert!(asked.iter().all(|asked| !asked.is_finished()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_worker_gets_what_is_submitted_within_milliseconds() {
    let test = TestDatabase::fresh().await;
    let replica = Replica::over(&test).await;
    let mut times = Vec::new();
    for _ in 0..20 {
        let asked = replica.waiting(wish("a", LONG)).await;
        let began = Instant::now();
        let id = replica.submit("a", None).await;
        assert_eq!(granted(asked).await.lease.id.action_id, id);
        times.push(began.elapsed());
    }
    times.sort_unstable();
    let median = times.get(10).unwrap();
    assert!(*median < Duration::from_millis(100), "{times:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_back_wakes_the_workers_of_other_replicas() {
    let test = TestDatabase::fresh().await;
    let (here, there) = (Replica::over(&test).await, Replica::over(&test).await);
    let mut held = None;
    let mut worst = Duration::ZERO;
    for _ in 0..5 {
        for way in ["submit", "release", "requeue"] {
            let asked = there.waiting(wish("a", LONG)).await;
            let began = Instant::now();
            match (way, held.take()) {
                ("release", Some(lease)) => {
                    here.leases.release(&[lease]).await.unwrap();
                }
                ("requeue", Some(lease)) => {
                    let requeue = Requeue {
                        lease,
                        pause: Duration::ZERO,
                        reason: RetryReason::Failed,
                        error: None,
                    };
                    here.leases.requeue(&[requeue]).await.unwrap();
                }
                _ => drop(here.submit("a", None).await),
            }
            held = Some(granted(asked).await.lease.id);
            worst = worst.max(began.elapsed());
        }
    }
    // By the pulse alone, which comes once a second, one of so many would have taken longer.
    assert!(worst < AT_ONCE, "{worst:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_rescued_or_due_wakes_the_workers_of_other_replicas() {
    let test = TestDatabase::fresh().await;
    let (here, there) = (Replica::over(&test).await, Replica::over(&test).await);
    here.submit("a", None).await;
    let short = Wish {
        lease: Some(Duration::from_millis(10)),
        ..wish("a", LONG)
    };
    granted(here.ask(short)).await;
    let asked = there.waiting(wish("a", LONG)).await;
    let _sweeping = tokio::spawn(sweep(here.leases.clone()));
    assert_eq!(granted(asked).await.attempt, 2);
    let asked = there.waiting(wish("b", LONG)).await;
    let id = here.submit("b", Some(TimeDelta::milliseconds(300))).await;
    assert_eq!(granted(asked).await.lease.id.action_id, id);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_granted_to_a_worker_that_is_gone_is_anothers_at_once() {
    let test = TestDatabase::fresh().await;
    let replica = Replica::over(&test).await;
    let id = replica.submit("a", None).await;
    let gone = replica.dispatcher.lease(wish("a", LONG)).await.unwrap();
    let asked = replica.waiting(wish("a", LONG)).await;
    drop(gone);
    let grant = granted(asked).await;
    assert_eq!((grant.lease.id.action_id, grant.attempt), (id, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_granted_the_same_on_every_replica() {
    let test = TestDatabase::fresh().await;
    let replicas = [Replica::over(&test).await, Replica::over(&test).await];
    for round in 0..10 {
        let asking = || Wish {
            request: Some(LeaseRequest::from_bytes([round; 32])),
            ..wish("a", LONG)
        };
        let mut first = replicas[0].waiting(asking()).await;
        let mut second = replicas[1].waiting(asking()).await;
        replicas[0].submit("a", None).await;
        replicas[0].submit("a", None).await;
        let grants = tokio::time::timeout(SOON, async {
            tokio::select! {
                grants = &mut first => grants,
                grants = &mut second => grants,
            }
        });
        let lease = grants.await.unwrap().unwrap().remove(0).lease.id;
        first.abort();
        second.abort();
        for replica in &replicas {
            // As a worker does whose answer was lost.
            assert_eq!(granted(replica.ask(asking())).await.lease.id, lease);
        }
        replicas[0].leases.release(&[lease]).await.unwrap();
        for _ in 0..2 {
            let left = granted(replicas[1].ask(wish("a", Duration::ZERO))).await;
            assert_ne!(left.lease.id, lease);
        }
    }
}
