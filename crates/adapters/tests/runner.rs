//! The in-process runner on PostgreSQL.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use deed_adapters::handlers::{Echo, Wait};
use deed_adapters::ids::SystemIds;
use deed_adapters::postgres::{
    Database, PgActionReader, PgActionTypes, PgEventLog, PgLeases, PgSubmissions, WakeupHub,
};
use deed_adapters::runner::{Runner, RunnerSettings, sweep};
use deed_domain::action::state::RetryReason;
use deed_domain::action::{
    Action, ActionError, ActionType, ActionTypeName, Concurrency, Grant, LeaseRef, LeaseRequest,
    NewAction, NewEvent, Outcome, Payload, PerformedBy, Priority, RetryPolicy, Sequence, Status,
};
use deed_domain::caller::Reach;
use deed_domain::error::StoreError;
use deed_domain::id::{ActionId, UserId};
use deed_domain::ports::{
    ActionHandler, ActionReader as _, ActionTypes as _, Append, Appended, Beat, ClaimRequest,
    Context, EventLog as _, Failure, Filled, Finish, Finished, GivenUp, HeartbeatVerdict, Held,
    Ids as _, Leases, Promoted, Released, Requeue, Requeued, Rescued, Slot, Submissions as _,
    Submitted, Task, Wakeups as _,
};
use deed_domain::scope::TypeReach;
use deed_domain::service::Work;
use deed_testkit::TestDatabase;
use futures_util::StreamExt as _;
use tokio::sync::{Notify, oneshot};
use tokio::task::{JoinHandle, JoinSet};

const SOON: Duration = Duration::from_secs(20);

/// A handler made of a function.
struct Act<F> {
    action_type: ActionType,
    perform: F,
}

#[async_trait]
impl<F> ActionHandler for Act<F>
where
    F: AsyncAct,
{
    fn action_type(&self) -> ActionType {
        self.action_type.clone()
    }

    async fn perform(&self, task: &Task, context: &Context) -> Result<Payload, Failure> {
        self.perform.act(task.clone(), context.clone()).await
    }
}

#[async_trait]
trait AsyncAct: Send + Sync {
    async fn act(&self, task: Task, context: Context) -> Result<Payload, Failure>;
}

#[async_trait]
impl<F, Fut> AsyncAct for F
where
    F: Fn(Task, Context) -> Fut + Send + Sync,
    Fut: Future<Output = Result<Payload, Failure>> + Send,
{
    async fn act(&self, task: Task, context: Context) -> Result<Payload, Failure> {
        self(task, context).await
    }
}

fn named(name: &str) -> ActionType {
    let retry = RetryPolicy::new(Duration::ZERO, 1.0, Duration::ZERO);
    ActionType {
        retry,
        ..ActionType::new(ActionTypeName::parse(name).unwrap(), PerformedBy::Handler)
    }
}

fn act<F: AsyncAct + 'static>(perform: F) -> Arc<dyn ActionHandler> {
    Arc::new(Act {
        action_type: named("act"),
        perform,
    })
}

fn shared(handler: impl ActionHandler + 'static) -> Arc<dyn ActionHandler> {
    Arc::new(handler)
}

/// One replica.
struct Replica {
    database: Database,
    hub: WakeupHub,
    leases: Arc<PgLeases>,
    performs_by: Arc<dyn Leases>,
    _background: JoinSet<()>,
}

impl Replica {
    async fn over(test: &TestDatabase) -> Self {
        let database = Database::new(&test.url(), 8).unwrap();
        let hub = WakeupHub::new(database.clone(), &SystemIds);
        let leases = Arc::new(PgLeases::new(database.clone(), hub.clone()));
        let mut background = JoinSet::new();
        background.spawn(hub.clone().run());
        background.spawn(sweep(leases.clone()));
        Self {
            database,
            hub,
            performs_by: leases.clone(),
            leases,
            _background: background,
        }
    }

    /// Runs `handlers` until the sender is used or dropped.
    async fn run(
        &self,
        handlers: impl IntoIterator<Item = Arc<dyn ActionHandler>>,
        grace: Duration,
    ) -> (oneshot::Sender<()>, JoinHandle<()>) {
        let leases = Arc::clone(&self.performs_by);
        let work = Work::new(Arc::clone(&leases), Arc::new(SystemIds));
        let settings = RunnerSettings {
            slots: 4,
            worker: "test".to_owned(),
        };
        let hub = Arc::new(self.hub.clone());
        let metrics = self.database.metrics();
        let runner = Runner::new(leases, work, hub, handlers, settings, metrics);
        let types = PgActionTypes::new(self.database.clone());
        types
            .register_handlers(&runner.action_types())
            .await
            .unwrap();
        let (drain, drained) = oneshot::channel();
        let running = tokio::spawn(runner.run(async { drop(drained.await) }, grace));
        (drain, running)
    }

    async fn submit(&self, action_type: &str, input: &str) -> ActionId {
        let id = ActionId::from_uuid(SystemIds.time_ordered());
        let action = NewAction {
            id,
            user_id: UserId::from_uuid(SystemIds.time_ordered()),
            api_key_id: None,
            action_type: ActionTypeName::parse(action_type).unwrap(),
            priority: Priority::default(),
            max_attempts: 3,
            run_at: None,
            retry_of: None,
            input: Payload::parse(input).unwrap(),
            traceparent: None,
            max_queued: None,
        };
        let submitted = PgSubmissions::new(self.database.clone(), self.hub.clone())
            .submit(action, None)
            .await;
        assert_eq!(submitted.unwrap(), Submitted::New);
        id
    }

    async fn cancel(&self, id: ActionId) {
        PgSubmissions::new(self.database.clone(), self.hub.clone())
            .cancel(id, &Reach::EVERYTHING)
            .await
            .unwrap();
    }

    async fn action(&self, id: ActionId) -> Action {
        PgActionReader::new(self.database.clone())
            .find(id, &Reach::EVERYTHING)
            .await
            .unwrap()
            .unwrap()
    }

    async fn log(&self, id: ActionId) -> Vec<NewEvent> {
        let log = PgEventLog::new(self.database.clone());
        let page = log
            .read(id, &Reach::EVERYTHING, Sequence::START, 10_000)
            .await
            .unwrap()
            .unwrap();
        page.events
            .into_iter()
            .map(|event| NewEvent {
                name: event.name,
                data: event.data,
            })
            .collect()
    }

    /// As if this process had been frozen for longer than its lease, until somebody has noticed: a renewal that comes
    /// before that would have brought the lease back.
    async fn freeze(&self, test: &TestDatabase, id: ActionId) {
        let client = test.client().await;
        let expire =
            "UPDATE action_leases SET expires_at = now() - interval '1 s' WHERE attempt = 1";
        let mut looks = tokio::time::interval(Duration::from_millis(50));
        let lost = async {
            while client.execute(expire, &[]).await.unwrap() == 1 {
                looks.tick().await;
            }
        };
        tokio::time::timeout(SOON, lost)
            .await
            .unwrap_or_else(|_| panic!("nobody took {id} away"));
    }

    /// Waits until the action stands so.
    async fn until(&self, id: ActionId, is_it: impl Fn(&Action) -> bool) -> Action {
        let mut grown = self.hub.watch_log(id);
        let waiting = async {
            loop {
                let action = self.action(id).await;
                if is_it(&action) {
                    return action;
                }
                grown.next().await;
            }
        };
        match tokio::time::timeout(SOON, waiting).await {
            Ok(action) => action,
            Err(_) => panic!("it stands {:?}", self.action(id).await),
        }
    }

    async fn over_soon(&self, id: ActionId) -> Action {
        self.until(id, |action| action.overview.status.is_over())
            .await
    }
}

fn message(text: &str) -> NewEvent {
    NewEvent::message(Payload::parse(&format!("{{\"text\":\"{text}\"}}")).unwrap())
}

const GRACE: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn an_echo_says_its_words_and_ends() {
    let test = TestDatabase::fresh().await;
    let replica = Replica::over(&test).await;
    let (_drain, _running) = replica.run([shared(Echo)], GRACE).await;
    let id = replica
        .submit("echo", "{\"text\":\"hello wide world\"}")
        .await;
    let action = replica.over_soon(id).await;
    assert_eq!(action.output.as_ref(), Some(&action.input));
    let expected = [
        NewEvent::created(id),
        NewEvent::started(1),
        message("hello"),
        message("wide"),
        message("world"),
        NewEvent::done(&Outcome::Succeeded(action.input)),
    ];
    assert_eq!(replica.log(id).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_emitted_is_stored_while_the_handler_goes_on() {
    let test = TestDatabase::fresh().await;
    let replica = Replica::over(&test).await;
    let go_on = Arc::new(Notify::new());
    let waits = Arc::clone(&go_on);
    let handler = act(move |task: Task, context: Context| {
        let go_on = Arc::clone(&waits);
        async move {
            context
                .message(Payload::parse("{\"text\":\"first\"}").unwrap())
                .await?;
            go_on.notified().await;
            Ok(task.input)
        }
    });
    let (_drain, _running) = replica.run([handler], GRACE).await;
    let id = replica.submit("act", "{}").await;
    let mut grown = replica.hub.watch_log(id);
    let stored = async {
        while replica.log(id).await.len() < 3 {
            grown.next().await;
        }
    };
    tokio::time::timeout(SOON, stored).await.unwrap();
    assert_eq!(replica.log(id).await[2], message("first"));
    assert_eq!(replica.action(id).await.overview.status, Status::Running);
    go_on.notify_one();
    assert_eq!(
        replica.over_soon(id).await.overview.status,
        Status::Succeeded
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_chunks_keep_their_order() {
    let test = TestDatabase::fresh().await;
    let replica = Replica::over(&test).await;
    let (_drain, _running) = replica.run([shared(Echo)], GRACE).await;
    let text: Vec<String> = (0..1_000).map(|n| n.to_string()).collect();
    let input = format!("{{\"text\":\"{}\",\"repeat\":3}}", text.join(" "));
    let ids = [
        replica.submit("echo", &input).await,
        replica.submit("echo", &input).await,
    ];
    for id in ids {
        replica.over_soon(id).await;
        let log = replica.log(id).await;
        let said: Vec<_> = log[2..3_002]
            .iter()
            .map(|event| event.data.as_str().to_owned())
            .collect();
        let expected: Vec<_> = (0..3_000)
            .map(|n| format!("{{\"text\":\"{}\"}}", n % 1_000))
            .collect();
        assert_eq!(said, expected);
        assert_eq!(log.len(), 3_003);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_that_may_pass_is_tried_again() {
    let test = TestDatabase::fresh().await;
    let replica = Replica::over(&test).await;
    let handler = act(|task: Task, context: Context| async move {
        context
            .message(Payload::parse(&format!("{{\"text\":\"{}\"}}", task.attempt)).unwrap())
            .await?;
        if task.attempt < 3 {
            Err(Failure::retryable("flaky", "Not yet."))
        } else {
            Ok(Payload::empty_object())
        }
    });
    let (_drain, _running) = replica.run([handler], GRACE).await;
    let id = replica.submit("act", "{}").await;
    let action = replica.over_soon(id).await;
    assert_eq!(
        (action.overview.status, action.overview.attempt),
        (Status::Succeeded, 3)
    );
    let error = ActionError::new("flaky", "Not yet.");
    let retry = NewEvent::retry(RetryReason::Failed, Some(&error));
    let expected = [
        NewEvent::created(id),
        NewEvent::started(1),
        message("1"),
        retry.clone(),
        NewEvent::started(2),
        message("2"),
        retry,
        NewEvent::started(3),
        message("3"),
        NewEvent::done(&Outcome::Succeeded(Payload::empty_object())),
    ];
    assert_eq!(replica.log(id).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_between_attempts_is_kept() {
    let test = TestDatabase::fresh().await;
    let replica = Replica::over(&test).await;
    let handler = act(|task: Task, _| async move {
        match task.attempt {
            1 => Err(Failure::retryable("flaky", "Not yet.").after(Duration::from_millis(700))),
            _ => Ok(Payload::empty_object()),
        }
    });
    let (_drain, _running) = replica.run([handler], GRACE).await;
    let started = tokio::time::Instant::now();
    let id = replica.submit("act", "{}").await;
    replica
        .until(id, |action| action.overview.status == Status::Scheduled)
        .await;
    replica.over_soon(id).await;
    let taken = started.elapsed();
    assert!(
        taken >= Duration::from_millis(700) && taken < Duration::from_secs(4),
        "{taken:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_a_failure_and_harms_nobody_else() {
    let test = TestDatabase::fresh().await;
    let replica = Replica::over(&test).await;
    let handler = act(|task: Task, _| async move {
        assert!(task.input.as_str() != "1", "on purpose");
        Ok(task.input)
    });
    let (_drain, _running) = replica.run([handler], GRACE).await;
    let (bad, good) = (
        replica.submit("act", "1").await,
        replica.submit("act", "2").await,
    );
    let action = replica.over_soon(bad).await;
    assert_eq!(
        (action.overview.status, action.overview.attempt),
        (Status::Failed, 3)
    );
    assert_eq!(action.overview.error.unwrap().code, "handler_panicked");
    assert_eq!(
        replica.over_soon(good).await.overview.status,
        Status::Succeeded
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_takes_too_long_is_ended() {
    let test = TestDatabase::fresh().await;
    let replica = Replica::over(&test).await;
    let action_type = ActionType {
        attempt_timeout: Duration::from_millis(300),
        ..named("act")
    };
    let handler = Act {
        action_type,
        perform: |_: Task, _: Context| std::future::pending::<Result<Payload, Failure>>(),
    };
    let (_drain, _running) = replica.run([shared(handler)], GRACE).await;
    let id = replica.submit("act", "{}").await;
    let action = replica.over_soon(id).await;
    assert_eq!(
        (action.overview.status, action.overview.attempt),
        (Status::Failed, 3)
    );
    assert_eq!(action.overview.error, Some(ActionError::attempt_timeout()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_action_that_takes_too_long_altogether_is_over() {
    let test = TestDatabase::fresh().await;
    let replica = Replica::over(&test).await;
    let action_type = ActionType {
        time_limit: Some(Duration::from_secs(1)),
        ..named("act")
    };
    let handler = Act {
        action_type,
        perform: |_: Task, _: Context| std::future::pending::<Result<Payload, Failure>>(),
    };
    let (drain, running) = replica.run([shared(handler)], GRACE).await;
    let id = replica.submit("act", "{}").await;
    let action = replica.over_soon(id).await;
    assert_eq!(
        (action.overview.status, action.overview.attempt),
        (Status::Failed, 1)
    );
    assert_eq!(action.overview.error, Some(ActionError::time_limit()));
    drop(drain);
    running.await.unwrap();
    // Nobody takes this one.
    let id = replica.submit("act", "{}").await;
    let action = replica.over_soon(id).await;
    assert_eq!(
        (action.overview.status, action.overview.attempt),
        (Status::Failed, 0)
    );
    assert_eq!(action.overview.error, Some(ActionError::time_limit()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_attempt_leaves_the_next_one_gets() {
    let test = TestDatabase::fresh().await;
    let replica = Replica::over(&test).await;
    let handler = act(|task: Task, context: Context| async move {
        let state = task.checkpoint.clone();
        let number = Payload::parse(&task.attempt.to_string()).unwrap();
        context.message(number.clone()).await?;
        if task.attempt < 3 {
            context.checkpoint(number).await?;
            return Err(Failure::retryable("again", "It is not done."));
        }
        Ok(state.unwrap())
    });
    let (_drain, _running) = replica.run([handler], GRACE).await;
    let id = replica.submit("act", "{}").await;
    let action = replica.over_soon(id).await;
    assert_eq!(action.overview.status, Status::Succeeded);
    assert_eq!(action.output, Some(Payload::parse("2").unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_handler_stops_and_the_action_is_cancelled() {
    let test = TestDatabase::fresh().await;
    let replica = Replica::over(&test).await;
    let other = Replica::over(&test).await;
    let (_drain, _running) = replica.run([shared(Wait)], GRACE).await;
    for asked_by in [&replica, &other] {
        let id = replica.submit("wait", "{\"seconds\":60}").await;
        replica
            .until(id, |action| action.overview.status == Status::Running)
            .await;
        let started = tokio::time::Instant::now();
        asked_by.cancel(id).await;
        let action = replica.over_soon(id).await;
        assert_eq!(action.overview.status, Status::Cancelled);
        assert!(
            started.elapsed() < Duration::from_secs(3),
            "{:?}",
            started.elapsed()
        );
        assert_eq!(
            replica.log(id).await.last(),
            Some(&NewEvent::done(&Outcome::Cancelled))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_does_not_hear_is_dropped_after_its_grace() {
    let test = TestDatabase::fresh().await;
    let replica = Replica::over(&test).await;
    let handler = act(|_: Task, _: Context| std::future::pending::<Result<Payload, Failure>>());
    let (_drain, _running) = replica.run([handler], GRACE).await;
    let id = replica.submit("act", "{}").await;
    replica
        .until(id, |action| action.overview.status == Status::Running)
        .await;
    let started = tokio::time::Instant::now();
    replica.cancel(id).await;
    assert_eq!(
        replica.over_soon(id).await.overview.status,
        Status::Cancelled
    );
    let taken = started.elapsed();
    assert!(
        taken >= Duration::from_secs(5) && taken < Duration::from_secs(8),
        "{taken:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_that_came_in_spite_of_a_cancel_counts() {
    let test = TestDatabase::fresh().await;
    let replica = Replica::over(&test).await;
    let handler = act(|task: Task, context: Context| async move {
        context.cancelled().await;
        Ok(task.input)
    });
    let (_drain, _running) = replica.run([handler], GRACE).await;
    let id = replica.submit("act", "7").await;
    replica
        .until(id, |action| action.overview.status == Status::Running)
        .await;
    replica.cancel(id).await;
    assert_eq!(
        replica.over_soon(id).await.overview.status,
        Status::Succeeded
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_lease_stops_the_handler_and_its_end_is_not_recorded() {
    let test = TestDatabase::fresh().await;
    let replica = Replica::over(&test).await;
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    let handler = act(move |task: Task, context: Context| {
        let call = count.fetch_add(1, Ordering::SeqCst);
        async move {
            if call == 0 {
                context.cancelled().await;
                return Ok(Payload::parse("\"of the lost\"").unwrap());
            }
            Ok(task.input)
        }
    });
    let (_drain, _running) = replica.run([handler], GRACE).await;
    let id = replica.submit("act", "7").await;
    replica
        .until(id, |action| action.overview.status == Status::Running)
        .await;
    replica.freeze(&test, id).await;
    let action = replica.over_soon(id).await;
    assert_eq!(
        (action.overview.attempt, action.output.unwrap().as_str()),
        (2, "7")
    );
    let expected = [
        NewEvent::created(id),
        NewEvent::started(1),
        NewEvent::retry(RetryReason::LeaseExpired, None),
        NewEvent::started(2),
        NewEvent::done(&Outcome::Succeeded(Payload::parse("7").unwrap())),
    ];
    assert_eq!(replica.log(id).await, expected);
}

/// Tells that it was dropped.
struct Dropped(Arc<Notify>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_takes_its_own_lost_action_again_performs_the_new_attempt_only() {
    let test = TestDatabase::fresh().await;
    let replica = Replica::over(&test).await;
    let calls = Arc::new(AtomicUsize::new(0));
    let first_is_gone = Arc::new(Notify::new());
    let told = Arc::clone(&first_is_gone);
    let handler = act(move |_: Task, context: Context| {
        let is_first = calls.fetch_add(1, Ordering::SeqCst) == 0;
        let guard = is_first.then(|| Dropped(Arc::clone(&told)));
        async move {
            if guard.is_some() {
                // Deaf and mute: nothing that it does tells it that its lease is lost.
                std::future::pending::<()>().await;
            }
            context.cancelled().await;
            Err(Failure::permanent("stopped", "It was told to stop."))
        }
    });
    let (_drain, _running) = replica.run([handler], GRACE).await;
    let id = replica.submit("act", "7").await;
    replica
        .until(id, |action| action.overview.status == Status::Running)
        .await;
    replica.freeze(&test, id).await;
    replica
        .until(id, |action| action.overview.attempt == 2)
        .await;
    tokio::time::timeout(SOON, first_is_gone.notified())
        .await
        .unwrap();
    // The end of the first attempt has not taken the second one's place from it.
    let asked = tokio::time::Instant::now();
    replica.cancel(id).await;
    let action = replica.over_soon(id).await;
    assert_eq!(
        (action.overview.status, action.overview.attempt),
        (Status::Cancelled, 2)
    );
    assert!(
        asked.elapsed() < Duration::from_secs(5),
        "{:?}",
        asked.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_renewed_while_its_handler_works() {
    let test = TestDatabase::fresh().await;
    let replica = Replica::over(&test).await;
    let (_drain, _running) = replica.run([shared(Wait)], GRACE).await;
    let id = replica.submit("wait", "{\"seconds\":60}").await;
    replica
        .until(id, |action| action.overview.status == Status::Running)
        .await;
    let client = test.client().await;
    let left = "SELECT extract(epoch FROM expires_at - granted_at)::float8 FROM action_leases";
    let renewed =
        async { while client.query_one(left, &[]).await.unwrap().get::<_, f64>(0) < 12.5 {} };
    tokio::time::timeout(SOON, renewed).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_actions_of_a_dead_replica_are_taken_over() {
    let test = TestDatabase::fresh().await;
    let replica = Replica::over(&test).await;
    let (_drain, _running) = replica.run([shared(Echo)], Duration::ZERO).await;
    _drain.send(()).unwrap();
    _running.await.unwrap();
    let id = replica.submit("echo", "{\"text\":\"a\"}").await;
    // Claimed by somebody who is never heard of again.
    let request = ClaimRequest {
        types: vec![ActionTypeName::parse("echo").unwrap()],
        max: 1,
        worker: "dead".to_owned(),
        lease: Some(Duration::from_millis(500)),
    };
    assert_eq!(replica.leases.claim(&request).await.unwrap().len(), 1);
    let survivor = Replica::over(&test).await;
    let (_drain, _running) = survivor.run([shared(Echo)], GRACE).await;
    let started = tokio::time::Instant::now();
    let action = survivor.over_soon(id).await;
    assert_eq!(
        (action.overview.status, action.overview.attempt),
        (Status::Succeeded, 2)
    );
    assert!(
        started.elapsed() < Duration::from_millis(5_500),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_takes_no_more_and_lets_work_finish() {
    let test = TestDatabase::fresh().await;
    let replica = Replica::over(&test).await;
    let (drain, running) = replica.run([shared(Wait)], GRACE).await;
    let id = replica.submit("wait", "{\"seconds\":1}").await;
    replica
        .until(id, |action| action.overview.status == Status::Running)
        .await;
    drain.send(()).unwrap();
    tokio::time::timeout(SOON, running).await.unwrap().unwrap();
    assert_eq!(replica.action(id).await.overview.status, Status::Succeeded);
    let late = replica.submit("wait", "{\"seconds\":0}").await;
    assert_eq!(replica.action(late).await.overview.status, Status::Queued);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_gives_back_what_does_not_finish() {
    let test = TestDatabase::fresh().await;
    let replica = Replica::over(&test).await;
    let (drain, running) = replica
        .run([shared(Wait)], Duration::from_millis(300))
        .await;
    let id = replica.submit("wait", "{\"seconds\":60}").await;
    replica
        .until(id, |action| action.overview.status == Status::Running)
        .await;
    let started = tokio::time::Instant::now();
    drain.send(()).unwrap();
    tokio::time::timeout(SOON, running).await.unwrap().unwrap();
    assert!(
        started.elapsed() < Duration::from_secs(3),
        "{:?}",
        started.elapsed()
    );
    let overview = replica.action(id).await.overview;
    assert_eq!((overview.status, overview.attempt), (Status::Queued, 0));
    assert_eq!(
        replica.log(id).await.last(),
        Some(&NewEvent::retry(RetryReason::Released, None))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_type_without_a_handler_is_left_for_others() {
    let test = TestDatabase::fresh().await;
    let replica = Replica::over(&test).await;
    let types = PgActionTypes::new(replica.database.clone());
    types
        .register_handlers(&[named("elsewhere")])
        .await
        .unwrap();
    let (_drain, _running) = replica.run([shared(Echo)], GRACE).await;
    let left = replica.submit("elsewhere", "{}").await;
    let done = replica.submit("echo", "{\"text\":\"a\"}").await;
    replica.over_soon(done).await;
    assert_eq!(replica.action(left).await.overview.status, Status::Queued);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_share_the_work_and_do_each_action_once() {
    let test = TestDatabase::fresh().await;
    let replicas = [Replica::over(&test).await, Replica::over(&test).await];
    let calls = Arc::new(AtomicUsize::new(0));
    let mut running = Vec::new();
    for replica in &replicas {
        let count = Arc::clone(&calls);
        let handler = act(move |task: Task, _| {
            count.fetch_add(1, Ordering::SeqCst);
            async move { Ok(task.input) }
        });
        running.push(replica.run([handler], GRACE).await);
    }
    let mut ids = Vec::new();
    for n in 0..40 {
        ids.push(replicas[n % 2].submit("act", &n.to_string()).await);
    }
    for (n, id) in ids.into_iter().enumerate() {
        let action = replicas[0].over_soon(id).await;
        assert_eq!(
            (action.overview.attempt, action.output.unwrap().as_str()),
            (1, n.to_string().as_str())
        );
    }
    assert_eq!(calls.load(Ordering::SeqCst), 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn too_much_output_is_a_failure_for_good() {
    let test = TestDatabase::fresh().await;
    let replica = Replica::over(&test).await;
    let handler = act(|task: Task, context: Context| async move {
        let large = Payload::parse(&format!("\"{}\"", "x".repeat(Payload::MAX_BYTES))).unwrap();
        if task.input.as_str() == "\"chunk\"" {
            context.message(large.clone()).await?;
        }
        Ok(large)
    });
    let (_drain, _running) = replica.run([handler], GRACE).await;
    for (input, code) in [
        ("\"chunk\"", "chunk_too_large"),
        ("\"output\"", "output_too_large"),
    ] {
        let id = replica.submit("act", input).await;
        let action = replica.over_soon(id).await;
        assert_eq!(
            (
                action.overview.attempt,
                action.overview.error.unwrap().code.as_str()
            ),
            (1, code)
        );
    }
}

/// A handler that a replica runs so many times at once, beside one that may have all slots.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_performs_no_more_of_a_type_than_its_limit() {
    let test = TestDatabase::fresh().await;
    let replica = Replica::over(&test).await;
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&most);
    let handler = Act {
        action_type: ActionType {
            concurrency: Concurrency {
                per_replica: Some(2),
                ..Concurrency::default()
            },
            ..named("act")
        },
        perform: move |_: Task, _: Context| {
            let (running, most) = (Arc::clone(&running), Arc::clone(&most));
            async move {
                let now = running.fetch_add(1, Ordering::SeqCst) + 1;
                most.fetch_max(now, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(20)).await;
                running.fetch_sub(1, Ordering::SeqCst);
                Ok(Payload::empty_object())
            }
        },
    };
    let mut ids = Vec::new();
    let (_drain, _running) = replica.run([shared(handler), shared(Echo)], GRACE).await;
    for _ in 0..8 {
        ids.push(replica.submit("act", "{}").await);
        ids.push(replica.submit("echo", "{\"text\":\"a\"}").await);
    }
    for id in ids {
        replica
            .until(id, |action| action.overview.status == Status::Succeeded)
            .await;
    }
    assert_eq!(seen.load(Ordering::SeqCst), 2);
}

/// Grants, and keeps the answer back until it is let go.
struct SlowAnswer {
    leases: Arc<PgLeases>,
    is_granted: Notify,
    let_go: Notify,
}

#[async_trait]
impl Leases for SlowAnswer {
    async fn claim(&self, request: &ClaimRequest) -> Result<Vec<Grant>, StoreError> {
        let grants = self.leases.claim(request).await?;
        if !grants.is_empty() {
            self.is_granted.notify_one();
            self.let_go.notified().await;
        }
        Ok(grants)
    }

    async fn fill(
        &self,
        types: &[ActionTypeName],
        slots: &[Slot],
    ) -> Result<Vec<Filled>, StoreError> {
        self.leases.fill(types, slots).await
    }

    async fn ready(&self, types: &[ActionTypeName]) -> Result<Vec<ActionTypeName>, StoreError> {
        self.leases.ready(types).await
    }

    async fn granted(
        &self,
        requests: &[LeaseRequest],
    ) -> Result<Vec<(LeaseRequest, Grant)>, StoreError> {
        self.leases.granted(requests).await
    }

    async fn held(&self, leases: &[LeaseRef]) -> Result<Vec<Option<Held>>, StoreError> {
        self.leases.held(leases).await
    }

    async fn heartbeat(&self, beats: &[Beat]) -> Result<Vec<HeartbeatVerdict>, StoreError> {
        self.leases.heartbeat(beats).await
    }

    async fn append(
        &self,
        appends: &[Append],
        reach: &TypeReach,
    ) -> Result<Vec<Appended>, StoreError> {
        self.leases.append(appends, reach).await
    }

    async fn messages(&self, action: ActionId, before: Sequence) -> Result<u32, StoreError> {
        self.leases.messages(action, before).await
    }

    async fn finish(&self, finishes: &[Finish]) -> Result<Vec<Finished>, StoreError> {
        self.leases.finish(finishes).await
    }

    async fn requeue(&self, requeues: &[Requeue]) -> Result<Vec<Requeued>, StoreError> {
        self.leases.requeue(requeues).await
    }

    async fn release(&self, leases: &[LeaseRef]) -> Result<Vec<Released>, StoreError> {
        self.leases.release(leases).await
    }

    async fn rescue(&self, limit: usize) -> Result<Vec<Rescued>, StoreError> {
        self.leases.rescue(limit).await
    }

    async fn give_up(&self, limit: usize) -> Result<Vec<GivenUp>, StoreError> {
        self.leases.give_up(limit).await
    }

    async fn admit(&self) -> Result<usize, StoreError> {
        self.leases.admit().await
    }

    async fn promote(&self, limit: usize) -> Result<Promoted, StoreError> {
        self.leases.promote(limit).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_loses_nothing_that_was_granted_while_it_began() {
    let test = TestDatabase::fresh().await;
    let mut replica = Replica::over(&test).await;
    let slow = Arc::new(SlowAnswer {
        leases: Arc::clone(&replica.leases),
        is_granted: Notify::new(),
        let_go: Notify::new(),
    });
    replica.performs_by = slow.clone();
    let (drain, running) = replica.run([shared(Echo)], GRACE).await;
    let id = replica.submit("echo", "{\"text\":\"a\"}").await;
    tokio::time::timeout(SOON, slow.is_granted.notified())
        .await
        .unwrap();
    drain.send(()).unwrap();
    // However the runner is scheduled, it has seen the drain before the grant.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    slow.let_go.notify_one();
    tokio::time::timeout(SOON, running).await.unwrap().unwrap();
    let overview = replica.action(id).await.overview;
    assert_eq!((overview.status, overview.attempt), (Status::Succeeded, 1));
}
