//! Clients that hang up at any moment.

use std::time::{Duration, Instant};

use deed_e2e::client::Client;
use deed_e2e::database::Database;
use deed_e2e::server::Server;
use deed_e2e::wait::{SOON, until};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::{ACTIONS, DEED, beside, note};

const CLIENTS: u64 = 6;
const REQUESTS: u64 = 60;
const ROUNDS: u64 = 3;

/// Sends requests and hangs up at moments up to the latest; answers how many were answered all the same.
async fn hang_up(client: &Client, number: u64, latest: Duration) -> usize {
    let mut answered = 0;
    for request in 0..REQUESTS {
        let text = format!("{number}-{request}");
        let body = json!({"type": "echo", "input": {"text": text}});
        let sent = match request % 3 {
            0 => client.post("/stream", &body),
            1 => client.post("/actions", &body),
            _ => client
                .post("/actions", &body)
                .header("Prefer", "respond-async"),
        };
        // From before the head is written to after the answer is there, by a step that repeats late.
        let part = (number * REQUESTS + request) * 7_919 % 1_000;
        let moment = latest * u32::try_from(part).unwrap() / 1_000;
        // What is dropped here closes its connection.
        if let Ok(answer) = tokio::time::timeout(moment, sent.try_send()).await {
            assert!([200, 201, 202].contains(&answer.unwrap().status));
            answered += 1;
        }
    }
    answered
}

async fn all_actions(client: &Client) -> Vec<Value> {
    let mut all = Vec::new();
    let mut next = "/actions?limit=200".to_owned();
    loop {
        let page = client.get(&next).send().await.json(200);
        all.extend(page["items"].as_array().unwrap().clone());
        match page["next_cursor"].as_str() {
            Some(cursor) => next = format!("/actions?limit=200&cursor={cursor}"),
            None => return all,
        }
    }
}

#[tokio::test]
async fn a_request_whose_client_hangs_up_is_wholly_in_or_wholly_out() {
    let _machine = beside().await;
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    let client = server.user(&ACTIONS).await;
    // Up to the time that an answer takes here and now, once everything is warm.
    let mut latest = Duration::ZERO;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        join_all((0..CLIENTS).map(async |_| {
            let body = json!({"type": "echo", "input": {"text": "a"}});
            client.post("/actions", &body).send().await.json(201);
        }))
        .await;
        latest = start.elapsed();
    }
    let answered: usize = join_all((0..CLIENTS).map(|number| hang_up(&client, number, latest)))
        .await
        .iter()
        .sum();
    // Wholly in: with its first event, its performance and its end. What was under way may still come.
    let stored = until(SOON, async || {
        let all = all_actions(&client).await;
        let is_over = |action: &Value| action["status"] == "succeeded";
        if all.iter().all(is_over) {
            Ok(all)
        } else {
            Err(all.len())
        }
    })
    .await;
    let total = usize::try_from(CLIENTS * REQUESTS).unwrap();
    let in_full = stored.len() - usize::try_from(CLIENTS * ROUNDS).unwrap();
    assert!(answered <= in_full && in_full <= total);
    assert!(answered < total, "nobody hung up");
    for actions in stored.chunks(20) {
        join_all(actions.iter().map(async |action| {
            let path = format!("/actions/{}/events", action["id"].as_str().unwrap());
            let request = client.get(&path).header("Accept", "application/json");
            let page = request.send().await.json(200);
            let events = page["items"].as_array().unwrap().iter();
            let names: Vec<&str> = events
                .map(|event| event["event"].as_str().unwrap())
                .collect();
            assert_eq!(names, ["created", "started", "message", "done"]);
        }))
        .await;
    }
    // Wholly out: nothing of it at all. And no connection came back with something begun on it.
    let orphans = "SELECT
        (SELECT count(*) FROM action_events e WHERE NOT EXISTS (SELECT FROM actions a WHERE a.id = e.action_id))
        + (SELECT count(*) FROM action_queue) + (SELECT count(*) FROM action_leases)";
    let row = database.connect().await.query_one(orphans, &[]).await;
    assert_eq!(row.unwrap().get::<_, i64>(0), 0);
    assert_eq!(database.sessions("idle in transaction%").await, 0);
    let start = Instant::now();
    join_all((0..40).map(async |_| client.get("/users/me").send().await.json(200))).await;
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
    note(
        "request aborted",
        format!(
            "{total} requests, {answered} answered, {} wholly in, {} wholly out",
            in_full,
            total - in_full
        ),
    );
}
