//! Tickets for streams: whom they let in, and for how long.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use std::time::{Duration, Instant};

use deed_e2e::client::Client;
use deed_e2e::database::Database;
use deed_e2e::server::Server;
use deed_e2e::stream::check_whole_log;
use futures_util::future::join_all;
use serde_json::json;

const DEED: &str = env!("CARGO_BIN_EXE_deed-under-test");
const ACTIONS: [&str; 2] = ["actions:read", "actions:write"];

/// Asks for an action and does not wait; its path.
async fn asked(client: &Client, action_type: &str, input: serde_json::Value) -> String {
    let body = json!({"type": action_type, "input": input});
    let request = client.post("/actions", &body);
    let answer = request.header("Prefer", "respond-async").send().await;
    format!("/actions/{}", answer.json(202)["id"].as_str().unwrap())
}

/// A ticket for the stream of the action at `path`: the path that it opens.
async fn ticketed(client: &Client, path: &str) -> String {
    let request = client.request("POST", &format!("{path}/stream-ticket"));
    let issued = request.send().await.json(201);
    format!(
        "{path}/events?ticket={}",
        issued["ticket"].as_str().unwrap()
    )
}

#[tokio::test]
async fn a_ticket_opens_one_stream_once_on_any_replica() {
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    let other = Server::start(DEED, &database).await;
    let client = server.user(&ACTIONS).await;
    let input = json!({"text": "one two three", "delay_ms": 100});
    let action = asked(&client, "echo", input).await;
    let path = ticketed(&client, &action).await;
    let anybody = other.anonymous();
    let events = anybody.get(&path).stream().await.rest().await;
    check_whole_log(&events);
    let used = anybody.get(&path).send().await;
    used.problem(401, "invalid_api_key");

    // What comes after a lost connection, and what an `EventSource` is told at the end.
    let again = ticketed(&client, &action).await;
    let rest = anybody.get(&format!("{again}&last_event_id=4"));
    assert_eq!(rest.stream().await.rest().await, events[4..]);
    let end = ticketed(&client, &action).await;
    let over = anybody.get(&format!("{end}&last_event_id={}", events.len()));
    assert_eq!(over.send().await.status, 204);

    let second = asked(&client, "echo", json!({"text": "x"})).await;
    let path = ticketed(&client, &action).await;
    let elsewhere = path.replace(&action, &second);
    let refused = anybody.get(&elsewhere).send().await;
    refused.problem(401, "invalid_api_key");
    check_whole_log(&anybody.get(&path).stream().await.rest().await);
}

#[tokio::test]
async fn of_two_who_have_the_same_ticket_one_is_let_in() {
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    let client = server.user(&ACTIONS).await;
    let action = asked(&client, "echo", json!({"text": "x"})).await;
    let path = ticketed(&client, &action).await;
    let anybody = server.anonymous();
    let requests = (0..8).map(|_| anybody.get(&path).send());
    let mut found: Vec<u16> = join_all(requests)
        .await
        .iter()
        .map(|answer| answer.status)
        .collect();
    found.sort_unstable();
    assert_eq!(found, [200, 401, 401, 401, 401, 401, 401, 401]);
}

#[tokio::test]
async fn a_stream_of_a_ticket_ends_with_the_key_that_asked_for_it() {
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    let root = server.root();
    let user = root.new_user().await;
    let issued = root
        .issue(&user, json!({"name": "page", "scopes": ACTIONS}))
        .await;
    let client = root.with_key(issued["secret"].as_str().unwrap());
    let action = asked(&client, "wait", json!({"seconds": 60})).await;
    let (open, unused) = (
        ticketed(&client, &action).await,
        ticketed(&client, &action).await,
    );
    let anybody = server.anonymous();
    let mut stream = anybody.get(&open).stream().await;
    stream.event_named("started").await;
    let key = format!("/api-keys/{}", issued["id"].as_str().unwrap());
    assert_eq!(root.request("DELETE", &key).send().await.status, 204);
    let revoked = Instant::now();
    assert_eq!(stream.event().await, None);
    // Within a second, as any stream; the rest is for a slow machine.
    assert!(
        revoked.elapsed() < Duration::from_secs(3),
        "{:?}",
        revoked.elapsed()
    );
    let late = anybody.get(&unused).send().await;
    late.problem(401, "invalid_api_key");
}
