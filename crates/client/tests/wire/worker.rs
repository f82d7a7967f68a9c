//! The worker against a server that grants, refuses and breaks as each test wants it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use deed_client::{Client, Error, Failure, Job, Retry, Trouble};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use uuid::Uuid;

use crate::server::{Reply, read_request};

const SOON: Duration = Duration::from_secs(20);
const ACTION: Uuid = Uuid::from_u128(7);

/// One request: what comes after `/leases` in its path, and its body.
#[derive(Debug, Clone, PartialEq)]
struct Call {
    path: String,
    body: Value,
}

/// A server whose answers are made by a function of the call, and of how many calls of that path there were before.
struct Fake {
    base: String,
    calls: watch::Receiver<Vec<Call>>,
}

impl Fake {
    async fn start(answer: impl Fn(&Call, usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let (sender, calls) = watch::channel(Vec::<Call>::new());
        let (sender, answer) = (Arc::new(sender), Arc::new(answer));
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let (sender, answer) = (Arc::clone(&sender), Arc::clone(&answer));
                tokio::spawn(async move {
                    let request = read_request(&mut stream).await;
                    let path = request.split(' ').nth(1).unwrap();
                    let (_, body) = request.split_once("\r\n\r\n").unwrap();
                    let call = Call {
                        path: path.strip_prefix("/leases").unwrap().to_owned(),
                        body: serde_json::from_str(body).unwrap(),
                    };
                    let mut before = 0;
                    sender.send_modify(|calls| {
                        before = calls.iter().filter(|one| one.path == call.path).count();
                        calls.push(call.clone());
                    });
                    if let Some(open) = answer(&call, before).say(stream).await {
                        std::future::pending::<()>().await;
                        drop(open);
                    }
                });
            }
        });
        Self { base, calls }
    }

    fn client(&self) -> Client {
        let builder = Client::builder(&self.base).api_key("deedk_x");
        builder.retry(Retry::NEVER).build().unwrap()
    }

    /// The bodies of all calls of `path`, once there are so many.
    async fn bodies(&self, path: &str, count: usize) -> Vec<Value> {
        let mut calls = self.calls.clone();
        let bodies = |calls: &[Call]| -> Vec<Value> {
            let of_path = calls.iter().filter(|call| call.path == path);
            of_path.map(|call| call.body.clone()).collect()
        };
        let enough = calls.wait_for(|calls| bodies(calls).len() >= count);
        match timeout(SOON, enough).await {
            Ok(calls) => bodies(&calls.unwrap()),
            Err(_) => panic!("not {count} of {path}: {:#?}", self.calls.borrow()),
        }
    }

    /// The paths of all calls about the lease so far, in their order, heartbeats apart.
    fn about_the_lease(&self) -> Vec<String> {
        let calls = self.calls.borrow();
        let paths = calls
            .iter()
            .filter_map(|call| call.path.strip_prefix("/L/"));
        paths.map(str::to_owned).collect()
    }
}

/// Nothing to do; says so never.
fn nothing_waits() -> Reply {
    Reply::nothing().left_open()
}

fn granted(input: Value) -> Reply {
    granted_with(input, json!({}))
}

fn granted_with(input: Value, more: Value) -> Reply {
    let mut lease = json!({"lease_id": "L", "expires_at": "2026-01-31T10:00:30Z",
        "deadline_at": "2026-01-31T10:05:00Z", "next_seq": 3, "action": {"id": ACTION, "type": "t",
        "user_id": Uuid::from_u128(1), "input": input, "attempt": 1, "max_attempts": 3}});
    lease
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    ok(json!({"leases": [lease], "draining": false}))
}

fn ok(body: Value) -> Reply {
    Reply::json("200 OK", &body.to_string())
}

/// What a server that is well says of everything but leases.
fn well(call: &Call) -> Reply {
    match call.path.as_str() {
        "/L/events" => {
            let count = call.body["events"].as_array().unwrap().len();
            let next = call.body["from_seq"].as_u64().unwrap() + u64::try_from(count).unwrap();
            ok(json!({"next_seq": next, "cancel_requested": false}))
        }
        "/heartbeat" => beat(&json!({"ok": true, "cancel_requested": false})),
        "/L/complete" | "/L/fail" | "/L/release" => ok(json!({})),
        other => panic!("{other}"),
    }
}

fn beat(verdict: &Value) -> Reply {
    let mut lease = json!({"lease_id": "L", "expires_at": null});
    lease
        .as_object_mut()
        .unwrap()
        .extend(verdict.as_object().unwrap().clone());
    ok(json!({"leases": [lease], "draining": false}))
}

fn lost() -> Reply {
    Reply::problem("409 Conflict", "lease_lost", "")
}

/// A worker on its way, what it told of trouble, and how to stop it.
struct Running {
    stop: oneshot::Sender<()>,
    ended: JoinHandle<Result<(), Error>>,
    troubles: Arc<Mutex<Vec<String>>>,
}

impl Running {
    async fn stopped(self) -> Result<(), Error> {
        drop(self.stop);
        timeout(SOON, self.ended).await.unwrap().unwrap()
    }
}

fn run<W>(fake: &Fake, handler: impl Fn(Job, Value) -> W + Send + Sync + 'static) -> Running
where
    W: Future<Output = Result<Value, Failure>> + Send + 'static,
{
    let troubles = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&troubles);
    let worker = fake
        .client()
        .worker("w")
        .on("t", handler)
        .lease(Duration::from_secs(2))
        .grace(Duration::ZERO)
        .on_trouble(move |trouble: &Trouble<'_>| heard.lock().unwrap().push(trouble.to_string()));
    let (stop, stopped) = oneshot::channel::<()>();
    let ended = tokio::spawn(worker.run(async { drop(stopped.await) }));
    Running {
        stop,
        ended,
        troubles,
    }
}

/// Never ends by itself; tells when it is dropped.
struct Dropped(Option<oneshot::Sender<()>>);

impl Drop for Dropped {
    fn drop(&mut self) {
        drop(self.0.take());
    }
}

/// A handler that waits for ever, and what is ready once it is dropped.
fn endless() -> (
    impl Fn(Job, Value) -> Endless + Send + Sync,
    oneshot::Receiver<()>,
) {
    let (sender, dropped) = oneshot::channel();
    let guard = Mutex::new(Some(Dropped(Some(sender))));
    let handler = move |_, _| -> Endless {
        let guard = guard.lock().unwrap().take();
        Box::pin(async move {
            std::future::pending::<()>().await;
            drop(guard);
            Ok(Value::Null)
        })
    };
    (handler, dropped)
}

type Endless = std::pin::Pin<Box<dyn Future<Output = Result<Value, Failure>> + Send>>;

#[tokio::test]
async fn an_action_is_performed_reported_in_order_and_completed() {
    let fake = Fake::start(|call, before| match (call.path.as_str(), before) {
        ("", 0) => granted(json!({"words": 500})),
        ("", _) => nothing_waits(),
        _ => well(call),
    })
    .await;
    let worker = run(&fake, |job, input| async move {
        assert_eq!((job.id(), job.attempt()), (ACTION, 1));
        assert_eq!(job.checkpoint::<u32>()?, None);
        for n in 0..input["words"].as_u64().unwrap() {
            job.emit(&n).await?;
        }
        job.progress(Some(200), None).await?;
        Ok(json!("done"))
    });
    let ended = fake.bodies("/L/complete", 1).await;
    assert_eq!(ended, [json!({"output": "done"})]);
    let reports = fake.bodies("/L/events", 1).await;
    assert!(
        reports.len() < 100,
        "{} reports for 501 events",
        reports.len()
    );
    let mut next = 3;
    let mut said = Vec::new();
    for report in reports {
        assert_eq!(report["from_seq"], next);
        let events = report["events"].as_array().unwrap();
        next += events.len();
        said.extend(events.iter().map(|event| event["data"].clone()));
    }
    let mut expected: Vec<Value> = (0..500).map(Value::from).collect();
    expected.push(json!({"percent": 100}));
    assert_eq!(said, expected);
    worker.stopped().await.unwrap();
}

#[tokio::test]
async fn what_got_no_answer_is_said_again_word_for_word() {
    let fake = Fake::start(|call, before| match (call.path.as_str(), before) {
        ("", 1) => granted_with(json!({}), json!({"checkpoint": {"said": 4}})),
        ("" | "/L/events" | "/L/complete", 0) => Reply::nothing(),
        ("/L/events", 1) => Reply::problem(
            "429 Too Many Requests",
            "rate_limited",
            "Retry-After: 0\r\n",
        ),
        ("/L/complete", 1) => Reply::problem(
            "503 Service Unavailable",
            "unavailable",
            "Retry-After: 0\r\n",
        ),
        ("", _) => nothing_waits(),
        _ => well(call),
    })
    .await;
    let worker = run(&fake, |job, _| async move {
        let kept: Value = job.checkpoint()?.unwrap();
        job.emit_with_checkpoint(
            &"five",
            &json!({"said": kept["said"].as_u64().unwrap() + 1}),
        )
        .await?;
        Ok(json!(1))
    });
    let polls = fake.bodies("", 3).await;
    assert!(polls[0]["request_id"].is_string());
    assert_eq!(polls[0], polls[1]);
    let ends = fake.bodies("/L/complete", 3).await;
    assert!(
        ends.iter().all(|end| *end == json!({"output": 1})),
        "{ends:?}"
    );
    let report = json!({"from_seq": 3, "checkpoint": {"said": 5},
        "events": [{"event": "message", "data": "five"}]});
    assert_eq!(
        fake.bodies("/L/events", 3).await,
        [report.clone(), report.clone(), report]
    );
    let polls = fake.bodies("", 3).await;
    assert_ne!(polls[1]["request_id"], polls[2]["request_id"]);
    worker.stopped().await.unwrap();
}

#[tokio::test]
async fn a_lease_that_a_report_finds_lost_stops_the_handler_and_nothing_more_is_said() {
    let fake = Fake::start(|call, before| match (call.path.as_str(), before) {
        ("", 0) => granted(json!({})),
        ("", _) => nothing_waits(),
        ("/L/events", _) => lost(),
        _ => well(call),
    })
    .await;
    let worker = run(&fake, |job, _| async move {
        loop {
            job.emit(&1).await?;
        }
    });
    // Its place is free again.
    fake.bodies("", 2).await;
    assert_eq!(fake.about_the_lease(), ["events"]);
    let told = worker.troubles.lock().unwrap().clone();
    assert_eq!(told, [format!("action {ACTION}: its lease is lost")]);
    worker.stopped().await.unwrap();
}

#[tokio::test]
async fn a_lease_that_a_heartbeat_finds_lost_stops_the_handler() {
    let fake = Fake::start(|call, before| match (call.path.as_str(), before) {
        ("", 0) => granted(json!({})),
        ("", _) => nothing_waits(),
        ("/heartbeat", 0) => well(call),
        ("/heartbeat", _) => beat(&json!({"ok": false, "cancel_requested": false})),
        _ => well(call),
    })
    .await;
    let (handler, dropped) = endless();
    let worker = run(&fake, handler);
    timeout(SOON, dropped).await.unwrap().unwrap_err();
    fake.bodies("", 2).await;
    assert_eq!(fake.about_the_lease(), [""; 0]);
    worker.stopped().await.unwrap();
    // At the second one, and not when it would have run out.
    let beats = fake.bodies("/heartbeat", 2).await;
    assert_eq!(
        beats,
        [json!({"lease_ids": ["L"]}), json!({"lease_ids": ["L"]})]
    );
}

#[tokio::test]
async fn a_lease_that_nothing_renews_is_lost_though_nobody_says_so() {
    let fake = Fake::start(|call, before| match (call.path.as_str(), before) {
        ("", 0) => granted(json!({})),
        ("", _) => nothing_waits(),
        _ => Reply::nothing().left_open(),
    })
    .await;
    let (handler, dropped) = endless();
    let worker = run(&fake, handler);
    timeout(SOON, dropped).await.unwrap().unwrap_err();
    fake.bodies("", 2).await;
    assert_eq!(fake.about_the_lease(), [""; 0]);
    worker.stopped().await.unwrap();
}

#[tokio::test]
async fn a_cancelled_action_ends_by_a_failure_that_may_be_retried() {
    let fake = Fake::start(|call, before| match (call.path.as_str(), before) {
        ("", 0) => granted(json!({})),
        ("", _) => nothing_waits(),
        ("/heartbeat", _) => beat(&json!({"ok": true, "cancel_requested": true})),
        _ => well(call),
    })
    .await;
    let worker = run(&fake, |job, _| async move {
        assert!(!job.is_cancelled());
        job.cancelled().await;
        assert!(job.is_cancelled());
        Err(Failure::permanent("interrupted", "It was interrupted."))
    });
    let ends = fake.bodies("/L/fail", 1).await;
    let error = json!({"code": "interrupted", "message": "It was interrupted."});
    assert_eq!(ends, [json!({"error": error, "retryable": true})]);
    worker.stopped().await.unwrap();
}

#[tokio::test]
async fn a_handler_that_does_not_heed_its_cancellation_is_dropped() {
    let fake = Fake::start(|call, before| match (call.path.as_str(), before) {
        ("", 0) => granted(json!({})),
        ("", _) => nothing_waits(),
        ("/heartbeat", _) => beat(&json!({"ok": true, "cancel_requested": true})),
        _ => well(call),
    })
    .await;
    let (handler, dropped) = endless();
    let worker = run(&fake, handler);
    let ends = fake.bodies("/L/fail", 1).await;
    assert_eq!(ends[0]["error"]["code"], "stopped");
    timeout(SOON, dropped).await.unwrap().unwrap_err();
    worker.stopped().await.unwrap();
}

/// How an attempt ends whose handler gets `input`.
async fn check_failure<W>(
    input: Value,
    handler: impl Fn(Job, u32) -> W + Send + Sync + 'static,
    expected: Value,
) where
    W: Future<Output = Result<Value, Failure>> + Send + 'static,
{
    let fake = Fake::start(move |call, before| match (call.path.as_str(), before) {
        ("", 0) => granted(input.clone()),
        ("", _) => nothing_waits(),
        ("/L/complete", _) => Reply::problem("413 Payload Too Large", "payload_too_large", ""),
        _ => well(call),
    })
    .await;
    let (_stop, stopped) = oneshot::channel::<()>();
    let worker = fake.client().worker("w").on("t", handler);
    let worker = tokio::spawn(worker.run(async { drop(stopped.await) }));
    let mut end = fake.bodies("/L/fail", 1).await.remove(0);
    let message = end["error"].as_object_mut().unwrap().remove("message");
    assert!(message.unwrap().as_str().unwrap().len() > 3);
    assert_eq!(end, expected);
    // The worker lives.
    fake.bodies("", 2).await;
    worker.abort();
}

#[tokio::test]
async fn what_a_handler_can_not_do_fails_its_attempt_and_the_worker_goes_on() {
    let fails =
        |code: &str, retryable: bool| json!({"error": {"code": code}, "retryable": retryable});
    let wrong = json!({"not": "a number"});
    check_failure(
        wrong,
        |_, n| async move { Ok(n.into()) },
        fails("invalid_input", false),
    )
    .await;
    let panics = |_, n| async move {
        if n == 1 {
            panic!("as it should")
        } else {
            Ok(json!(1))
        }
    };
    check_failure(json!(1), panics, fails("handler_panicked", true)).await;
    let late = |_, _| async {
        Err(Failure::retryable("busy", "It is busy.").after(Duration::from_secs(2)))
    };
    let mut expected = fails("busy", true);
    expected["retry_after_seconds"] = json!(2.0);
    check_failure(json!(1), late, expected).await;
    let long = |_, _| async { Err(Failure::permanent("c".repeat(3_000), "é".repeat(9_000))) };
    check_failure(json!(1), long, fails(&"c".repeat(100), false)).await;
    let large = |_, _| async { Ok(json!("too large")) };
    check_failure(json!(1), large, fails("payload_too_large", false)).await;
}

#[tokio::test]
async fn a_key_that_will_not_do_ends_the_worker() {
    let refused = |_: &Call, _| Reply::problem("403 Forbidden", "insufficient_scope", "");
    let fake = Fake::start(refused).await;
    let worker = run(&fake, |_, _| async { Ok(Value::Null) });
    let error = timeout(SOON, worker.ended).await.unwrap().unwrap();
    assert_eq!(error.unwrap_err().code(), Some("insufficient_scope"));
}

#[tokio::test]
async fn a_worker_that_stops_gives_back_what_it_has() {
    let fake = Fake::start(|call, before| match (call.path.as_str(), before) {
        ("", 0) => granted(json!({})),
        ("", _) => nothing_waits(),
        _ => well(call),
    })
    .await;
    let (handler, dropped) = endless();
    let worker = run(&fake, handler);
    fake.bodies("/heartbeat", 1).await;
    worker.stopped().await.unwrap();
    assert_eq!(fake.about_the_lease(), ["release"]);
    timeout(SOON, dropped).await.unwrap().unwrap_err();
}

#[tokio::test]
async fn a_worker_that_stops_lets_an_action_finish_within_its_grace() {
    let fake = Fake::start(|call, before| match (call.path.as_str(), before) {
        ("", 0) => granted(json!({})),
        ("", _) => nothing_waits(),
        _ => well(call),
    })
    .await;
    let (stop, stopped) = oneshot::channel::<()>();
    let (begun, has_begun) = oneshot::channel();
    let begun = Mutex::new(Some(begun));
    let (go_on, may_go_on) = watch::channel(false);
    let worker = fake.client().worker("w").on("t", move |_, _: Value| {
        begun.lock().unwrap().take().unwrap().send(()).unwrap();
        let mut may_go_on = may_go_on.clone();
        async move {
            may_go_on.wait_for(|may| *may).await.unwrap();
            Ok(1)
        }
    });
    let worker = tokio::spawn(worker.run(async { drop(stopped.await) }));
    has_begun.await.unwrap();
    drop(stop);
    go_on.send_replace(true);
    timeout(SOON, worker).await.unwrap().unwrap().unwrap();
    assert_eq!(fake.about_the_lease(), ["complete"]);
}

#[tokio::test]
async fn it_asks_for_as_many_as_it_has_places() {
    let fake = Fake::start(|call, before| match (call.path.as_str(), before) {
        ("", 0) => granted(json!({})),
        ("", _) => nothing_waits(),
        _ => well(call),
    })
    .await;
    let (_stop, stopped) = oneshot::channel::<()>();
    let (handler, _dropped) = endless();
    let worker = fake.client().worker("w").on("t", handler).concurrency(3);
    let worker = tokio::spawn(worker.run(async { drop(stopped.await) }));
    let polls = fake.bodies("", 2).await;
    assert_eq!((&polls[0]["max"], &polls[1]["max"]), (&json!(3), &json!(2)));
    assert_eq!(
        (&polls[0]["types"], &polls[0]["worker"]),
        (&json!(["t"]), &json!("w"))
    );
    assert_eq!(
        (&polls[0]["lease_seconds"], &polls[0]["wait_seconds"]),
        (&json!(30), &json!(25))
    );
    worker.abort();
}
