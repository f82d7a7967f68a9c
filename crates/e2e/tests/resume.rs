//! Killed in mid-stream: what was acknowledged is there, and the log goes on where it stopped.

use std::collections::HashSet;

use deed_e2e::database::Database;
use deed_e2e::server::Server;
use deed_e2e::stream::{Event, check_whole_log, words};
use deed_e2e::wait::within;
use serde_json::json;
use std::time::Duration;

const DEED: &str = env!("CARGO_BIN_EXE_deed-under-test");
const ACTIONS: [&str; 2] = ["actions:read", "actions:write"];

#[tokio::test]
async fn a_stream_survives_the_death_of_its_server() {
    let database = Database::fresh().await;
    let mut server = Server::start(DEED, &database).await;
    let client = server.user(&ACTIONS).await;
    let body = json!({"type": "echo", "input": {"text": "a b c d e f g h i j", "delay_ms": 100, "repeat": 3}});
    let mut stream = client.post("/stream", &body).stream().await;
    let path = stream.headers["location"].to_str().unwrap().to_owned();
    let mut events = Vec::new();
    while words(&events).len() < 5 {
        events.push(stream.event().await.unwrap());
    }
    server.process.kill().await;
    // What had arrived before the connection broke was seen, too.
    events.extend(stream.rest().await);
    assert!(events.iter().all(|event| event.name != "done"));

    // At the same address at once: nothing that the dead process held is in the way.
    let server = Server::setup(&database)
        .listen(server.address())
        .start(DEED)
        .await;
    let seen = events.last().unwrap().id.clone();
    let mut stream = client
        .at(&server.base)
        .get(&path)
        .header("Last-Event-ID", &seen)
        .stream()
        .await;
    while events.last().unwrap().name != "done" {
        // The dead server's lease has to run out first.
        events.push(stream.event().await.unwrap());
    }
    check_whole_log(&events);

    let retry = events.iter().find(|event| event.name == "retry").unwrap();
    assert_eq!(retry.json()["reason"], "lease_expired");
    let attempts: Vec<_> = events
        .iter()
        .filter(|event| event.name == "started")
        .map(Event::json)
        .collect();
    assert_eq!(attempts, [json!({"attempt": 1}), json!({"attempt": 2})]);
    assert_eq!(
        words(&events).concat(),
        "abcdefghij".repeat(3),
        "the second attempt goes on where the log of the first one ends"
    );
    assert_eq!(events.last().unwrap().json()["status"], "succeeded");

    let replayed = client
        .at(&server.base)
        .get(&path)
        .stream()
        .await
        .rest()
        .await;
    assert_eq!(replayed, events, "what was seen in parts is the log");
}

#[tokio::test]
async fn a_reader_that_is_cut_again_and_again_misses_nothing() {
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    let client = server.user(&ACTIONS).await;
    let body =
        json!({"type": "echo", "input": {"text": "a b c d e", "delay_ms": 10, "repeat": 12}});
    let mut stream = client.post("/stream", &body).stream().await;
    let path = stream.headers["location"].to_str().unwrap().to_owned();
    let mut events: Vec<Event> = Vec::new();
    for cut in 1..=100 {
        for _ in 0..cut % 5 + 1 {
            let Some(event) = stream.event().await else {
                break;
            };
            events.push(event);
        }
        let last = events.last().unwrap();
        if last.name == "done" {
            break;
        }
        stream = client
            .get(&path)
            .header("Last-Event-ID", &last.id)
            .stream()
            .await;
    }
    check_whole_log(&events);
    assert_eq!(words(&events).concat(), "abcde".repeat(12));
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_kill() {
    let database = Database::fresh().await;
    let mut server = Server::start(DEED, &database).await;
    let client = server.user(&ACTIONS).await;
    let (sender, mut acknowledged) = tokio::sync::mpsc::unbounded_channel();
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let (client, sender) = (client.clone(), sender.clone());
            tokio::spawn(async move {
                for n in 0.. {
                    let body = json!({"type": "echo", "input": {"text": "x"}});
                    let request = client
                        .post("/actions", &body)
                        .header("Prefer", "respond-async");
                    let request = request.header("Idempotency-Key", &format!("{writer}-{n}"));
                    match request.try_send().await {
                        Ok(answer) => sender
                            .send((
                                writer,
                                n,
                                answer.json(202)["id"].as_str().unwrap().to_owned(),
                            ))
                            .unwrap(),
                        Err(_) => return (writer, n),
                    }
                }
                unreachable!()
            })
        })
        .collect();
    let mut seen = Vec::new();
    while seen.len() < 40 {
        seen.push(
            within(
                Duration::from_secs(20),
                "an acknowledgement",
                acknowledged.recv(),
            )
            .await
            .unwrap(),
        );
    }
    server.process.kill().await;
    let mut unanswered = Vec::new();
    for writer in writers {
        unanswered.push(writer.await.unwrap());
    }
    drop(sender);
    while let Some(one) = acknowledged.recv().await {
        seen.push(one);
    }

    let server = Server::start(DEED, &database).await;
    let client = client.at(&server.base);
    for (writer, n, id) in &seen {
        let body = json!({"type": "echo", "input": {"text": "x"}});
        let request = client
            .post("/actions", &body)
            .header("Prefer", "respond-async");
        let again = request
            .header("Idempotency-Key", &format!("{writer}-{n}"))
            .send()
            .await;
        assert!([201, 202].contains(&again.status), "{}", again.body);
        assert_eq!(again.header("idempotency-replayed"), "true");
        assert!(
            again.body.contains(id.as_str()),
            "one key, one action: {} {id}",
            again.body
        );
    }
    // The request whose answer never came was stored once or not at all; sent again, it is there once.
    for (writer, n) in &unanswered {
        let body = json!({"type": "echo", "input": {"text": "x"}});
        let request = client
            .post("/actions", &body)
            .header("Prefer", "respond-async");
        let again = request
            .header("Idempotency-Key", &format!("{writer}-{n}"))
            .send()
            .await;
        assert!([201, 202].contains(&again.status), "{}", again.body);
    }
    let mut listed = HashSet::new();
    let mut next = "/actions?limit=200".to_owned();
    loop {
        let page = client.get(&next).send().await.json(200);
        listed.extend(
            page["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|item| item["id"].as_str().unwrap().to_owned()),
        );
        match page["next_cursor"].as_str() {
            Some(cursor) => next = format!("/actions?limit=200&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(listed.len(), seen.len() + unanswered.len());
    assert!(seen.iter().all(|(_, _, id)| listed.contains(id)));
}
