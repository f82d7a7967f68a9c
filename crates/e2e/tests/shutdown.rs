//! How a server ends: it is drained by the first signal, and gone with the second.

use std::time::{Duration, Instant};

use deed_e2e::database::Database;
use deed_e2e::server::{DRAIN, Server};
use deed_e2e::stream::{Item, check_whole_log};
use deed_e2e::wait::{SOON, until};
use serde_json::json;

const DEED: &str = env!("CARGO_BIN_EXE_deed-under-test");
const ACTIONS: [&str; 2] = ["actions:read", "actions:write"];

#[tokio::test]
async fn a_drain_lets_work_in_flight_finish() {
    let database = Database::fresh().await;
    let mut server = Server::start(DEED, &database).await;
    let client = server.user(&ACTIONS).await;
    let mut stream = client
        .post("/stream", &json!({"type": "wait", "input": {"seconds": 3}}))
        .stream()
        .await;
    let path = stream.headers["location"].to_str().unwrap().to_owned();
    let mut seen = vec![
        stream.event_named("created").await,
        stream.event_named("started").await,
    ];

    let start = Instant::now();
    server.terminate();
    // The stream ends, early and cleanly, and says when to come back.
    let mut last = None;
    while let Some(item) = stream.try_item().await.unwrap() {
        last = Some(item);
    }
    assert_eq!(last, Some(Item::Retry(2000)));
    assert!(
        start.elapsed() < Duration::from_millis(2500),
        "{:?}",
        start.elapsed()
    );
    let status = server.process.ended(DRAIN).await;
    assert_eq!(status.code(), Some(0), "{}", server.process.output());

    let next = Server::start(DEED, &database).await;
    let rest = client
        .at(&next.base)
        .get(&path)
        .header("Last-Event-ID", &seen[1].id)
        .stream()
        .await
        .rest()
        .await;
    seen.extend(rest);
    check_whole_log(&seen);
    let names: Vec<&str> = seen.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(
        names,
        ["created", "started", "done"],
        "it was finished, not repeated"
    );
    assert_eq!(seen[2].json()["status"], "succeeded");
}

#[tokio::test]
async fn work_that_takes_too_long_goes_back_unharmed() {
    let database = Database::fresh().await;
    let mut server = Server::start(DEED, &database).await;
    let client = server.user(&ACTIONS).await;
    let body = json!({"type": "wait", "input": {"seconds": 40}});
    let mut stream = client.post("/stream", &body).stream().await;
    let path = stream.headers["location"].to_str().unwrap().to_owned();
    stream.event_named("started").await;
    server.terminate();
    let status = server.process.ended(DRAIN).await;
    assert_eq!(status.code(), Some(0), "{}", server.process.output());

    let front = Server::setup(&database).runner_slots(0).start(DEED).await;
    let client = client.at(&front.base);
    let action = client
        .get(path.strip_suffix("/events").unwrap())
        .send()
        .await
        .json(200);
    assert_eq!(
        (&action["status"], &action["attempt"]),
        (&json!("queued"), &json!(0)),
        "{action}"
    );
    let page = client
        .get(&path)
        .header("Accept", "application/json")
        .send()
        .await
        .json(200);
    let last = page["items"].as_array().unwrap().last().unwrap();
    assert_eq!(
        (&last["event"], &last["data"]),
        (&json!("retry"), &json!({"reason": "released"}))
    );
}

#[tokio::test]
async fn a_draining_server_says_so_and_takes_nothing_new() {
    let database = Database::fresh().await;
    let mut server = Server::start(DEED, &database).await;
    let client = server.user(&ACTIONS).await;
    let mut stream = client
        .post("/stream", &json!({"type": "wait", "input": {"seconds": 3}}))
        .stream()
        .await;
    let path = stream.headers["location"].to_str().unwrap().to_owned();
    stream.event_named("started").await;
    // The connection is there already; new ones may be refused soon.
    let ready = server.anonymous();
    ready.get("/readyz").send().await.json(200);
    let terminated = Instant::now();
    server.terminate();
    until(Duration::from_secs(2), async || {
        let answer = ready
            .get("/readyz")
            .try_send()
            .await
            .map_err(|error| error.to_string())?;
        if answer.status == 503 {
            Ok(answer)
        } else {
            Err(format!("{} {}", answer.status, answer.body))
        }
    })
    .await
    .problem(503, "unavailable");
    assert!(terminated.elapsed() < Duration::from_secs(2));
    assert!(server.process.ended(DRAIN).await.success());

    // What was queued while it drained is still there for the next.
    let next = Server::start(DEED, &database).await;
    let events = client.at(&next.base).get(&path).stream().await.rest().await;
    check_whole_log(&events);
}

#[tokio::test]
async fn a_caller_that_waits_is_answered_before_the_end() {
    let database = Database::fresh().await;
    let mut server = Server::start(DEED, &database).await;
    let client = server.user(&ACTIONS).await;
    let waiting = client.clone();
    let answer = tokio::spawn(async move {
        let body = json!({"type": "wait", "input": {"seconds": 30}});
        waiting
            .post("/actions", &body)
            .header("Prefer", "wait=50")
            .send()
            .await
    });
    until(SOON, async || {
        let page = client.get("/actions?status=running").send().await.json(200);
        if page["items"].as_array().unwrap().is_empty() {
            Err(page)
        } else {
            Ok(())
        }
    })
    .await;
    server.terminate();
    let action = answer.await.unwrap().json(202);
    assert_eq!(action["status"], "running");
    assert!(server.process.ended(DRAIN).await.success());
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let database = Database::fresh().await;
    let mut server = Server::start(DEED, &database).await;
    let client = server.user(&ACTIONS).await;
    let mut stream = client
        .post(
            "/stream",
            &json!({"type": "wait", "input": {"seconds": 60}}),
        )
        .stream()
        .await;
    stream.event_named("started").await;
    server.terminate();
    server
        .process
        .line(SOON, |_, line| line.contains("second signal").then_some(()))
        .await;
    let start = Instant::now();
    server.terminate();
    let status = server.process.ended(Duration::from_secs(5)).await;
    assert_eq!(status.code(), Some(143));
    assert!(
        start.elapsed() < Duration::from_secs(1),
        "{:?}",
        start.elapsed()
    );
}
