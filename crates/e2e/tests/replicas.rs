//! Two servers on one database.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use std::collections::HashSet;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use deed_e2e::client::Client;
use deed_e2e::database::Database;
use deed_e2e::server::Server;
use deed_e2e::stream::{Event, check_whole_log, words};
use deed_e2e::wait::{SOON, until};
use futures_util::future::join_all;
use serde_json::json;

const DEED: &str = env!("CARGO_BIN_EXE_deed-under-test");
const ACTIONS: [&str; 2] = ["actions:read", "actions:write"];

/// One that performs nothing, and one that performs.
async fn front_and_back(database: &Database) -> (Server, Server) {
    let front = Server::setup(database).runner_slots(0).start(DEED).await;
    let back = Server::start(DEED, database).await;
    (front, back)
}

/// How long after each event was written it arrived.
async fn delays(client: &Client, path: &str, events: &[Event]) -> Vec<TimeDelta> {
    let page = client
        .get(&format!("{path}?limit=200"))
        .header("Accept", "application/json")
        .send()
        .await
        .json(200);
    let written = page["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["at"].as_str().unwrap().parse().unwrap());
    events
        .iter()
        .zip(written)
        .map(|(event, at): (&Event, DateTime<Utc>)| event.at_time - at)
        .collect()
}

#[tokio::test]
async fn what_one_performs_streams_live_through_the_other() {
    let database = Database::fresh().await;
    let (front, _back) = front_and_back(&database).await;
    let client = front.user(&ACTIONS).await;
    let body = json!({"type": "echo", "input": {"text": "a b c d e f", "delay_ms": 300}});
    let mut stream = client.post("/stream", &body).stream().await;
    let path = stream.headers["location"].to_str().unwrap().to_owned();
    let events = stream.rest().await;
    check_whole_log(&events);
    assert_eq!(words(&events).concat(), "abcdef");
    // Milliseconds on an idle machine. By polling alone the mean would be half a second.
    let mut delays = delays(&client, &path, &events).await;
    delays.sort_unstable();
    assert!(
        delays[delays.len() / 2] < TimeDelta::milliseconds(250),
        "{delays:?}"
    );
}

#[tokio::test]
async fn a_waiting_caller_hears_of_the_end_wherever_it_came() {
    let database = Database::fresh().await;
    let (front, _back) = front_and_back(&database).await;
    let client = front.user(&ACTIONS).await;
    let start = Instant::now();
    let action = client
        .post(
            "/actions",
            &json!({"type": "wait", "input": {"seconds": 1}}),
        )
        .send()
        .await
        .json(201);
    assert_eq!(action["status"], "succeeded");
    assert!(
        start.elapsed() < Duration::from_secs(4),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn a_cancel_reaches_the_server_that_performs() {
    let database = Database::fresh().await;
    let (front, _back) = front_and_back(&database).await;
    let client = front.user(&ACTIONS).await;
    let mut stream = client
        .post(
            "/stream",
            &json!({"type": "wait", "input": {"seconds": 60}}),
        )
        .stream()
        .await;
    let path = stream.headers["location"]
        .to_str()
        .unwrap()
        .replace("/events", "/cancel");
    stream.event_named("started").await;
    let start = Instant::now();
    assert_eq!(client.request("POST", &path).send().await.status, 202);
    assert_eq!(
        stream.event_named("done").await.json(),
        json!({"status": "cancelled"})
    );
    assert!(
        start.elapsed() < Duration::from_secs(4),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn a_key_that_one_revokes_is_refused_by_the_other() {
    let database = Database::fresh().await;
    let (front, back) = front_and_back(&database).await;
    let root = front.root();
    let user = root.new_user().await;
    let issued = root
        .issue(&user, json!({"name": "short-lived", "scopes": ACTIONS}))
        .await;
    let client = root.with_key(issued["secret"].as_str().unwrap());
    let there = client.at(&back.base);
    there.get("/actions").send().await.json(200);
    let mut stream = client
        .post(
            "/stream",
            &json!({"type": "wait", "input": {"seconds": 60}}),
        )
        .stream()
        .await;
    let path = stream.headers["location"].to_str().unwrap().to_owned();
    let mut stream_there = there.get(&path).stream().await;
    stream.event_named("started").await;
    stream_there.event_named("started").await;

    let start = Instant::now();
    assert_eq!(
        root.request(
            "DELETE",
            &format!("/api-keys/{}", issued["id"].as_str().unwrap())
        )
        .send()
        .await
        .status,
        204
    );
    client
        .get("/actions")
        .send()
        .await
        .problem(401, "invalid_api_key");
    until(SOON, async || {
        let status = there.get("/actions").send().await.status;
        if status == 401 { Ok(()) } else { Err(status) }
    })
    .await;
    assert_eq!(stream_there.rest().await, []);
    assert_eq!(stream.rest().await, []);
    // Promised is one second; the rest is for a slow machine.
    assert!(
        start.elapsed() < Duration::from_secs(3),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn the_same_request_to_both_is_one_action() {
    let database = Database::fresh().await;
    let (front, back) = front_and_back(&database).await;
    let client = front.user(&ACTIONS).await;
    let body = json!({"type": "echo", "input": {"text": "once"}});
    let answers = join_all((0..12).map(|n| {
        let base = if n % 2 == 0 { &front.base } else { &back.base };
        client
            .at(base)
            .post("/actions", &body)
            .header("Idempotency-Key", "both")
            .send()
    }))
    .await;
    let ids: HashSet<String> = answers
        .iter()
        .map(|answer| answer.json(201)["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids.len(), 1, "{ids:?}");
}

#[tokio::test]
async fn a_dead_servers_action_is_taken_over() {
    let database = Database::fresh().await;
    let mut first = Server::start(DEED, &database).await;
    let client = first.user(&ACTIONS).await;
    let mut stream = client
        .post("/stream", &json!({"type": "wait", "input": {"seconds": 4}}))
        .stream()
        .await;
    let path = stream.headers["location"].to_str().unwrap().to_owned();
    let mut events = vec![
        stream.event_named("created").await,
        stream.event_named("started").await,
    ];
    let second = Server::start(DEED, &database).await;
    let there = client.at(&second.base);
    let mut stream = there.get(&path).header("Last-Event-ID", "2").stream().await;
    first.process.kill().await;
    let killed = Instant::now();
    while events.last().unwrap().name != "retry" {
        events.push(stream.event().await.unwrap());
    }
    // In-process leases last 10 s, and 5 s later somebody has taken over.
    assert!(
        killed.elapsed() < Duration::from_secs(15),
        "{:?}",
        killed.elapsed()
    );
    events.extend(stream.rest().await);
    check_whole_log(&events);
    assert_eq!(events.last().unwrap().json()["status"], "succeeded");
}
