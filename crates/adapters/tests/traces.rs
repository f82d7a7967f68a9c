//! The trace of an action: kept, handed to its handler, recorded as a span; and the migrations that make room for it
//! while others go on.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use deed_adapters::handlers::Echo;
use deed_adapters::ids::SystemIds;
use deed_adapters::postgres::migrate;
use deed_adapters::postgres::{PgActionTypes, PgLeases, PgSubmissions, WakeupHub};
use deed_adapters::runner::{Runner, RunnerSettings};
use deed_domain::action::{ActionType, ActionTypeName, NewAction, Payload, PerformedBy, Priority};
use deed_domain::id::{ActionId, UserId};
use deed_domain::ports::{
    ActionHandler, ActionTypes as _, Context, Failure, Ids as _, Span, SpanKind, SpanRecord,
    SpanValue, Submissions as _, Submitted, Task, Tracer,
};
use deed_domain::service::Work;
use deed_domain::trace::{SpanId, TraceParent};
use deed_testkit::TestDatabase;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

const SOON: Duration = Duration::from_secs(20);
/// How long requests wait for the database.
const PATIENCE: Duration = Duration::from_millis(2_200);

fn asked_in() -> TraceParent {
    TraceParent::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap()
}

/// Gives every span the same id, and keeps what is told of them.
struct Recorder(mpsc::UnboundedSender<(SpanKind, Option<TraceParent>, SpanRecord)>);

struct Recording {
    kind: SpanKind,
    parent: Option<TraceParent>,
    at: TraceParent,
    told: mpsc::UnboundedSender<(SpanKind, Option<TraceParent>, SpanRecord)>,
}

impl Tracer for Recorder {
    fn begin(&self, kind: SpanKind, parent: Option<TraceParent>) -> Option<Box<dyn Span>> {
        let at = parent?.at(SpanId::from_bytes([7; 8]).unwrap(), true);
        let told = self.0.clone();
        Some(Box::new(Recording {
            kind,
            parent,
            at,
            told,
        }))
    }
}

impl Span for Recording {
    fn traceparent(&self) -> TraceParent {
        self.at
    }

    fn end(self: Box<Self>, record: SpanRecord) {
        self.told.send((self.kind, self.parent, record)).unwrap();
    }
}

/// Tells what it was asked to perform.
struct Teller(Mutex<Option<oneshot::Sender<Task>>>);

#[async_trait]
impl ActionHandler for Teller {
    fn action_type(&self) -> ActionType {
        ActionType::new(ActionTypeName::parse("tell").unwrap(), PerformedBy::Handler)
    }

    async fn perform(&self, task: &Task, _: &Context) -> Result<Payload, Failure> {
        if let Some(told) = self.0.lock().unwrap().take() {
            told.send(task.clone()).unwrap();
        }
        Err(Failure::permanent("told", "That was all."))
    }
}

fn new_action(action_type: &str) -> NewAction {
    NewAction {
        id: ActionId::from_uuid(SystemIds.time_ordered()),
        user_id: UserId::from_uuid(SystemIds.time_ordered()),
        api_key_id: None,
        action_type: ActionTypeName::parse(action_type).unwrap(),
        priority: Priority::default(),
        max_attempts: 3,
        run_at: None,
        retry_of: None,
        input: Payload::empty_object(),
        traceparent: Some(asked_in()),
        max_queued: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_is_a_span_of_the_actions_trace_and_its_handler_knows_it() {
    let test = TestDatabase::fresh().await;
    let database = test.database();
    let hub = WakeupHub::new(database.clone(), &SystemIds);
    let leases = Arc::new(PgLeases::new(database.clone(), hub.clone()));
    let (sender, task) = oneshot::channel();
    let (spans, mut ended) = mpsc::unbounded_channel();
    let handler: Arc<dyn ActionHandler> = Arc::new(Teller(Mutex::new(Some(sender))));
    let settings = RunnerSettings {
        slots: 1,
        worker: "test".to_owned(),
    };
    let runner = Runner::new(
        leases.clone(),
        Work::new(leases, Arc::new(SystemIds)),
        Arc::new(hub.clone()),
        [handler],
        settings,
        database.metrics(),
    )
    .traced(Arc::new(Recorder(spans)));
    PgActionTypes::new(database.clone())
        .register_handlers(&runner.action_types())
        .await
        .unwrap();
    let action = new_action("tell");
    let id = action.id;
    let submissions = PgSubmissions::new(database.clone(), hub);
    assert_eq!(
        submissions.submit(action, None).await.unwrap(),
        Submitted::New
    );
    let (drain, drained) = oneshot::channel::<()>();
    let running = tokio::spawn(runner.run(async { drop(drained.await) }, SOON));

    let task = timeout(SOON, task).await.unwrap().unwrap();
    let here = asked_in().at(SpanId::from_bytes([7; 8]).unwrap(), true);
    assert_eq!(
        task.traceparent,
        Some(here),
        "its calls are the span's children"
    );

    let (kind, parent, record) = timeout(SOON, ended.recv()).await.unwrap().unwrap();
    assert_eq!((kind, parent), (SpanKind::Attempt, Some(asked_in())));
    let expected = SpanRecord {
        name: "perform tell".to_owned(),
        attributes: vec![
            ("deed.action.id", id.to_string().into()),
            ("deed.action.type", "tell".into()),
            ("deed.attempt", SpanValue::Number(1)),
            ("deed.worker", "test".into()),
            ("deed.outcome", "failed".into()),
        ],
        error: Some("failed".into()),
    };
    assert_eq!(record, expected);
    drop(drain);
    timeout(SOON, running).await.unwrap().unwrap();
}

/// An insert as a replica does it that knows nothing of traces.
const OLD_INSERT: &str = "INSERT INTO actions (id, user_id, api_key_id, retry_of, type_id, priority, max_attempts, run_at, input)
    VALUES (gen_random_uuid(), gen_random_uuid(), NULL, NULL, 1, 5, 3, NULL, '{}')";
const OLD_READ: &str = "SELECT s.id, s.input, s.output, s.error FROM action_states s";

/// A database as it was before, with a partition for any id.
async fn without_traces() -> TestDatabase {
    let test = TestDatabase::empty().await;
    let database = test.database();
    migrate::up(&database).await.unwrap();
    let since = migrate::names_after("0002_actions").unwrap().len();
    let last = migrate::would_go_down(&database, since).await.unwrap();
    let down = migrate::down(&database, &last, SOON, &mut |_| ()).await;
    assert_eq!(down.unwrap().last().unwrap(), "0003_traces");
    let client = test.client().await;
    client
        .batch_execute("CREATE TABLE actions_all PARTITION OF actions DEFAULT")
        .await
        .unwrap();
    client.batch_execute(OLD_INSERT).await.unwrap();
    test
}

/// A backup, or a report: it holds the table for long, and others are not to wait behind who waits for it.
#[tokio::test(flavor = "multi_thread")]
async fn requests_are_served_while_a_migration_waits_for_a_long_transaction() {
    let test = without_traces().await;
    let (long, request) = (test.client().await, test.client().await);
    long.batch_execute("BEGIN; SELECT count(*) FROM actions")
        .await
        .unwrap();
    let database = test.database();
    let migrating = tokio::spawn(async move { migrate::up(&database).await });
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(4) {
        for statement in [OLD_INSERT, OLD_READ] {
            let served = timeout(PATIENCE, request.batch_execute(statement)).await;
            assert!(matches!(served, Ok(Ok(()))), "{statement}: {served:?}");
        }
    }
    assert!(!migrating.is_finished());
    long.batch_execute("COMMIT").await.unwrap();
    let done = timeout(SOON, migrating).await.unwrap().unwrap().unwrap();
    assert_eq!(done[..2], ["0003_traces", "0004_traces_read"]);
    for statement in [OLD_INSERT, OLD_READ] {
        request.batch_execute(statement).await.unwrap();
    }
}

/// What must not be done under a lock that keeps everybody out: looking at each row.
#[tokio::test(flavor = "multi_thread")]
async fn no_row_is_read_or_written_while_the_table_is_locked() {
    let test = without_traces().await;
    let client = test.client().await;
    let file = "SELECT pg_relation_filenode('actions_all')::int8";
    let before: i64 = client.query_one(file, &[]).await.unwrap().get(0);
    migrate::up(&test.database()).await.unwrap();
    let after: i64 = client.query_one(file, &[]).await.unwrap().get(0);
    assert_eq!(before, after, "the table was not rewritten");
    let first = include_str!("../../../migrations/0003_traces/up.sql");
    assert!(first.contains("NOT VALID"), "{first}");
    let is_valid = "SELECT bool_and(convalidated) FROM pg_constraint
                    WHERE conname = 'actions_traceparent_length' AND connamespace = current_schema()::regnamespace";
    let is_valid: bool = client.query_one(is_valid, &[]).await.unwrap().get(0);
    assert!(is_valid, "the second one has looked at the rows");
}

#[tokio::test]
async fn a_malformed_trace_is_not_kept() {
    let test = TestDatabase::fresh().await;
    let types = PgActionTypes::new(test.database());
    types
        .register_handlers(&[Echo.action_type()])
        .await
        .unwrap();
    let insert =
        "INSERT INTO actions (id, user_id, type_id, priority, max_attempts, input, traceparent)
                  VALUES (uuid_floor(now()), gen_random_uuid(), 1, 5, 3, '{}', $1)";
    let client = test.client().await;
    for length in [0, TraceParent::LENGTH - 1, TraceParent::LENGTH + 1] {
        let text = "0".repeat(length);
        assert!(client.execute(insert, &[&text]).await.is_err(), "{length}");
    }
    let text = asked_in().to_string();
    assert_eq!(client.execute(insert, &[&text]).await.unwrap(), 1);
}
