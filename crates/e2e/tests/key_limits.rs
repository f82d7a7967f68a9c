//! What one key may use at a server, over HTTP.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use deed_e2e::client::{Answer, Client};
use deed_e2e::database::Database;
use deed_e2e::server::Server;
use deed_e2e::unique;
use deed_e2e::wait::{SOON, until};
use futures_util::future::join_all;
use serde_json::{Value, json};

const DEED: &str = env!("CARGO_BIN_EXE_deed-under-test");
const ACTIONS: [&str; 2] = ["actions:read", "actions:write"];

async fn limited(database: &Database, setting: &str, value: &str) -> Server {
    let setup = Server::setup(database).environment(setting, value);
    setup.start(DEED).await
}

/// One that performs nothing: what it accepts waits.
async fn idle(database: &Database, setting: &str, value: &str) -> Server {
    let setup = Server::setup(database).environment(setting, value);
    setup.runner_slots(0).start(DEED).await
}

fn wait_of(answer: &Answer) -> Duration {
    Duration::from_secs(answer.header("retry-after").parse().unwrap())
}

fn waiting(seconds: u32) -> Value {
    json!({"type": "wait", "input": {"seconds": seconds}})
}

fn echo() -> Value {
    json!({"type": "echo", "input": {"text": "x"}})
}

async fn submit(client: &Client, body: &Value) -> Answer {
    let request = client.post("/actions", body);
    request.header("Prefer", "respond-async").send().await
}

#[tokio::test]
async fn a_key_over_its_rate_is_refused_while_others_are_not() {
    const RATE: usize = 5;
    let database = Database::fresh().await;
    let server = limited(&database, "DEED_RATE_LIMIT", "5").await;
    let (busy, calm) = (server.user(&ACTIONS).await, server.user(&ACTIONS).await);
    let me = |client: &Client| client.get("/users/me").send();

    let answers = join_all((0..20 * RATE).map(|_| me(&busy))).await;
    let policy = "\"default\";q=5;w=1";
    let mut refused = Vec::new();
    for answer in &answers {
        assert_eq!(answer.header("ratelimit-policy"), policy);
        let left = answer.header("ratelimit");
        assert!(
            left.starts_with("\"default\";r=") && left.ends_with(";t=1"),
            "{left}"
        );
        if answer.status != 200 {
            answer.problem(429, "rate_limited");
            refused.push(wait_of(answer));
        }
    }
    assert!(
        answers.len() - refused.len() >= RATE,
        "a second's worth at once"
    );
    assert_eq!(refused.first(), Some(&Duration::from_secs(1)));
    me(&calm).await.json(200);
    // The operator has none.
    for _ in 0..2 * RATE {
        let answer = server.root().get("/users").send().await;
        answer.json(200);
        assert_eq!(answer.header("ratelimit"), "");
    }
    // Its time comes back, whatever was refused meanwhile.
    let served = until(SOON, async || {
        let answer = me(&busy).await;
        if answer.status == 200 {
            Ok(answer)
        } else {
            Err(answer)
        }
    });
    served.await.json(200);
}

#[tokio::test]
async fn the_streams_of_a_key_are_bounded_and_make_room_when_their_reader_goes() {
    let database = Database::fresh().await;
    let server = limited(&database, "DEED_STREAMS_PER_KEY", "2").await;
    let (client, other) = (server.user(&ACTIONS).await, server.user(&ACTIONS).await);
    let action = submit(&client, &waiting(60)).await.json(202);
    let events = format!("/actions/{}/events", action["id"].as_str().unwrap());
    let mut first = client.get(&events).stream().await;
    let mut second = client.get(&events).stream().await;
    first.event_named("created").await;
    second.event_named("created").await;

    let count = async || {
        let list = client.get("/actions").send().await.json(200);
        list["items"].as_array().unwrap().len()
    };
    let before = count().await;
    let refused = client.post("/stream", &waiting(60)).send().await;
    refused.problem(429, "too_many_streams");
    assert_eq!(wait_of(&refused), Duration::from_secs(1));
    assert_eq!(count().await, before, "nothing was accepted");
    let mut others = other.post("/stream", &waiting(60)).stream().await;
    others.event_named("created").await;

    // A ticket's stream is one of the key that asked for it.
    let id = action["id"].as_str().unwrap();
    let ticket = client.request("POST", &format!("/actions/{id}/stream-ticket"));
    let ticket = ticket.send().await.json(201);
    let by_ticket = format!("{events}?ticket={}", ticket["ticket"].as_str().unwrap());
    let refused = server.anonymous().get(&by_ticket).send().await;
    refused.problem(429, "too_many_streams");

    drop(first);
    let mut third = until(SOON, async || client.get(&events).try_stream().await).await;
    third.event_named("created").await;
    let refused = client.get(&events).send().await;
    refused.problem(429, "too_many_streams");
}

#[tokio::test]
async fn the_waiting_actions_of_a_key_are_bounded_over_all_servers() {
    let database = Database::fresh().await;
    let one = idle(&database, "DEED_QUEUED_PER_KEY", "3").await;
    let two = idle(&database, "DEED_QUEUED_PER_KEY", "3").await;
    let client = one.user(&ACTIONS).await;
    let elsewhere = client.at(&two.base);
    let key = unique();
    let first = client
        .post("/actions", &echo())
        .header("Idempotency-Key", &key)
        .header("Prefer", "respond-async")
        .send()
        .await
        .json(202);
    submit(&elsewhere, &echo()).await.json(202);
    let batch = json!({"actions": [echo(), echo()]});
    let refused = client.post("/actions/batch", &batch).send().await;
    refused.problem(429, "too_many_queued");
    submit(&client, &echo()).await.json(202);
    for server in [&client, &elsewhere] {
        let refused = submit(server, &echo()).await;
        refused.problem(429, "too_many_queued");
        assert_eq!(wait_of(&refused), Duration::from_secs(1));
    }

    // The same request again is no other action.
    let again = elsewhere
        .post("/actions", &echo())
        .header("Idempotency-Key", &key)
        .header("Prefer", "respond-async")
        .send()
        .await;
    assert_eq!(again.json(202)["id"], first["id"]);
    assert_eq!(again.header("idempotency-replayed"), "true");

    let cancel = format!("/actions/{}/cancel", first["id"].as_str().unwrap());
    client.request("POST", &cancel).send().await.json(200);
    submit(&elsewhere, &echo()).await.json(202);
    submit(&elsewhere, &echo())
        .await
        .problem(429, "too_many_queued");
}
