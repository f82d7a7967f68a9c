//! Live streams: arrival, resumption, ends.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use std::time::{Duration, Instant};

use deed_e2e::client::Client;
use deed_e2e::database::Database;
use deed_e2e::server::Server;
use deed_e2e::stream::{Event, Item, check_whole_log, shortest_gap, words};
use futures_util::future::join_all;
use serde_json::{Value, json};

const DEED: &str = env!("CARGO_BIN_EXE_deed-under-test");
const ACTIONS: [&str; 2] = ["actions:read", "actions:write"];

/// An echo that is over, and the path of its events.
async fn finished(client: &Client, text: &str) -> String {
    let body = json!({"type": "echo", "input": {"text": text}});
    let action = client.post("/actions", &body).send().await.json(201);
    format!("/actions/{}/events", action["id"].as_str().unwrap())
}

#[tokio::test]
async fn chunks_arrive_one_by_one_and_done_comes_last() {
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    let client = server.user(&ACTIONS).await;
    let body = json!({"type": "echo", "input": {"text": "one two three four", "delay_ms": 400}});
    let mut stream = client.post("/stream", &body).stream().await;
    for (name, value) in [
        ("content-type", "text/event-stream"),
        ("cache-control", "no-store"),
        ("x-accel-buffering", "no"),
    ] {
        assert_eq!(stream.headers[name], value);
    }
    assert!(stream.headers.get("content-encoding").is_none());
    let location = stream.headers["location"].to_str().unwrap().to_owned();
    assert_eq!(stream.item().await, Some(Item::Retry(2000)));
    let events = stream.rest().await;
    check_whole_log(&events);
    let id = location
        .strip_prefix("/actions/")
        .unwrap()
        .strip_suffix("/events")
        .unwrap();
    let told: Vec<(&str, Value)> = events
        .iter()
        .map(|event| (event.name.as_str(), event.json()))
        .collect();
    let message = |text: &str| ("message", json!({"text": text}));
    let done =
        json!({"status": "succeeded", "output": {"text": "one two three four", "delay_ms": 400}});
    assert_eq!(
        told,
        [
            ("created", json!({"action_id": id})),
            ("started", json!({"attempt": 1})),
            message("one"),
            message("two"),
            message("three"),
            message("four"),
            ("done", done),
        ]
    );
    // Written 400 ms apart; an answer that is held back somewhere would arrive in bursts.
    assert!(
        shortest_gap(&events[2..6]) > Duration::from_millis(200),
        "{events:?}"
    );
}

#[tokio::test]
async fn who_comes_late_sees_everything_and_all_see_the_same() {
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    let client = server.user(&ACTIONS).await;
    let body = json!({"type": "echo", "input": {"text": "a b c", "repeat": 10, "delay_ms": 30}});
    let mut first = client.post("/stream", &body).stream().await;
    let path = first.headers["location"].to_str().unwrap().to_owned();
    first.event_named("message").await;
    let late =
        join_all((0..10).map(|_| async { client.get(&path).stream().await.rest().await })).await;
    for events in &late {
        check_whole_log(events);
        assert_eq!(events, &late[0]);
    }
    assert_eq!(words(&late[0]).len(), 30);
    assert_eq!(
        client.get(&path).stream().await.rest().await,
        late[0],
        "and after the end too"
    );
}

#[tokio::test]
async fn a_stream_goes_on_after_the_last_event_that_was_seen() {
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    let client = server.user(&ACTIONS).await;
    let path = finished(&client, "a b c").await;
    let whole = client.get(&path).stream().await.rest().await;
    check_whole_log(&whole);
    for seen in 0..whole.len() - 1 {
        let by_header = client
            .get(&path)
            .header("Last-Event-ID", &seen.to_string())
            .stream()
            .await
            .rest()
            .await;
        assert_eq!(by_header, whole[seen..]);
        let by_query = client
            .get(&format!("{path}?last_event_id={seen}"))
            .stream()
            .await
            .rest()
            .await;
        assert_eq!(by_query, whole[seen..]);
    }
    let both = client
        .get(&format!("{path}?last_event_id=1"))
        .header("Last-Event-ID", "4");
    assert_eq!(
        both.stream().await.rest().await,
        whole[4..],
        "the header goes before the query"
    );
}

#[tokio::test]
async fn a_log_that_is_over_and_read_answers_204() {
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    let client = server.user(&ACTIONS).await;
    let path = finished(&client, "a").await;
    let last = client.get(&path).stream().await.rest().await.len();
    let answer = client
        .get(&path)
        .header("Last-Event-ID", &last.to_string())
        .send()
        .await;
    assert_eq!((answer.status, answer.body.as_str()), (204, ""));
}

#[tokio::test]
async fn a_cursor_that_can_not_be_honoured_is_refused() {
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    let client = server.user(&ACTIONS).await;
    let path = finished(&client, "a").await;
    for cursor in [
        "5",
        "99",
        "4294967296",
        "99999999999999999999",
        "-1",
        "+1",
        "1.0",
        "0x1",
        "one",
        "1 2",
    ] {
        let answer = client
            .get(&path)
            .header("Last-Event-ID", cursor)
            .send()
            .await;
        answer.problem(400, "invalid_cursor");
    }
    client
        .get(&format!("{path}?last_event_id=x"))
        .send()
        .await
        .problem(400, "invalid_cursor");
}

#[tokio::test]
async fn auth_and_validation_come_before_the_stream() {
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    let client = server.user(&ACTIONS).await;
    let stranger = server.user(&ACTIONS).await;
    let path = finished(&client, "a").await;
    stranger
        .get(&path)
        .send()
        .await
        .problem(404, "action_not_found");
    server
        .anonymous()
        .get(&path)
        .send()
        .await
        .problem(401, "invalid_api_key");
    let wrong = json!({"type": "echo", "input": {}});
    client
        .post("/stream", &wrong)
        .send()
        .await
        .problem(400, "validation_failed");
    client
        .get(&path)
        .header("Accept", "text/html")
        .send()
        .await
        .problem(406, "not_acceptable");
}

#[tokio::test]
async fn the_log_can_be_read_in_pages() {
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    let client = server.user(&ACTIONS).await;
    let path = finished(&client, "a b c").await;
    let streamed = client
        .get(&path)
        .header("Accept", "text/event-stream")
        .stream()
        .await
        .rest()
        .await;
    let mut read = Vec::new();
    let mut next = format!("{path}?limit=2");
    loop {
        let page = client
            .get(&next)
            .header("Accept", "application/json")
            .send()
            .await
            .json(200);
        read.extend(page["items"].as_array().unwrap().iter().cloned());
        match page["next_cursor"].as_str() {
            Some(cursor) => next = format!("{path}?limit=2&cursor={cursor}"),
            None => break,
        }
    }
    let told =
        |event: &Event| json!({"seq": event.seq(), "event": event.name, "data": event.json()});
    let expected: Vec<Value> = streamed.iter().map(told).collect();
    for item in &mut read {
        assert!(
            item.as_object_mut()
                .unwrap()
                .remove("at")
                .unwrap()
                .is_string()
        );
    }
    assert_eq!(read, expected);
    let anything = client.get(&path).header("Accept", "*/*").send().await;
    assert_eq!(anything.header("content-type"), "text/event-stream");
}

#[tokio::test]
async fn whatever_the_outcome_done_is_the_end() {
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    let client = server.user(&ACTIONS).await;
    let body = json!({"type": "echo", "input": {"text": "a b", "fail_at": 2}});
    let events = client.post("/stream", &body).stream().await.rest().await;
    check_whole_log(&events);
    let done = events.last().unwrap().json();
    assert_eq!(done["status"], "failed");
    assert!(
        done["error"]["code"].is_string() && done["error"]["message"].is_string(),
        "{done}"
    );

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
    client.request("POST", &path).send().await;
    assert_eq!(
        stream.event_named("done").await.json(),
        json!({"status": "cancelled"})
    );
    assert_eq!(stream.item().await, None);
}

#[tokio::test]
async fn a_repeated_stream_request_replays_the_same_action() {
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    let client = server.user(&ACTIONS).await;
    let body = json!({"type": "echo", "input": {"text": "a b"}});
    let send = async || {
        client
            .post("/stream", &body)
            .header("Idempotency-Key", "k")
            .stream()
            .await
    };
    let mut first = send().await;
    let mut second = send().await;
    assert_eq!(first.headers["location"], second.headers["location"]);
    assert_eq!(second.headers["idempotency-replayed"], "true");
    let events = first.rest().await;
    check_whole_log(&events);
    assert_eq!(second.rest().await, events);
}

#[tokio::test]
async fn a_stream_ends_with_its_key() {
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    let root = server.root();
    let user = root.new_user().await;
    let issued = root
        .issue(&user, json!({"name": "short-lived", "scopes": ACTIONS}))
        .await;
    let client = root.with_key(issued["secret"].as_str().unwrap());
    let body = json!({"type": "wait", "input": {"seconds": 60}});
    let mut stream = client.post("/stream", &body).stream().await;
    stream.event_named("started").await;
    let path = format!("/api-keys/{}", issued["id"].as_str().unwrap());
    assert_eq!(root.request("DELETE", &path).send().await.status, 204);
    let start = Instant::now();
    assert_eq!(stream.rest().await, []);
    // Promised is one second; the rest is for a slow machine.
    assert!(
        start.elapsed() < Duration::from_secs(3),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn a_stream_that_is_too_old_ends_and_is_resumed() {
    let database = Database::fresh().await;
    let server = Server::setup(&database)
        .environment("DEED_STREAM_MAX_AGE", "1s")
        .start(DEED)
        .await;
    let client = server.user(&ACTIONS).await;
    let body = json!({"type": "echo", "input": {"text": "a b c d e f g h i j", "delay_ms": 300}});
    let mut stream = client.post("/stream", &body).stream().await;
    let path = stream.headers["location"].to_str().unwrap().to_owned();
    let mut events = Vec::new();
    let mut connections = 1;
    loop {
        let mut last = None;
        while let Some(item) = stream.try_item().await.unwrap() {
            if let Item::Event(event) = &item {
                events.push(event.clone());
            }
            last = Some(item);
        }
        let seen = events.last().unwrap();
        if seen.name == "done" {
            break;
        }
        assert_eq!(
            last,
            Some(Item::Retry(2000)),
            "an early end says when to come back"
        );
        stream = client
            .get(&path)
            .header("Last-Event-ID", &seen.id)
            .stream()
            .await;
        connections += 1;
        assert!(connections < 20, "it never ends");
    }
    check_whole_log(&events);
    assert_eq!(words(&events).concat(), "abcdefghij");
    assert!(connections >= 3, "{connections}");
}

#[tokio::test]
async fn a_silent_stream_shows_that_it_lives() {
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    let client = server.user(&ACTIONS).await;
    let body = json!({"type": "wait", "input": {"seconds": 60}});
    let mut stream = client.post("/stream", &body).stream().await;
    stream.event_named("started").await;
    let start = Instant::now();
    let item = stream.item().await.unwrap();
    assert!(matches!(item, Item::Comment(_)), "{item:?}");
    assert!(
        start.elapsed() < Duration::from_secs(17),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn hanging_up_cancels_nothing() {
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    let client = server.user(&ACTIONS).await;
    let body = json!({"type": "echo", "input": {"text": "a b c", "delay_ms": 200}});
    let mut stream = client.post("/stream", &body).stream().await;
    let path = stream.headers["location"].to_str().unwrap().to_owned();
    stream.event_named("started").await;
    drop(stream);
    let events = client.get(&path).stream().await.rest().await;
    check_whole_log(&events);
    assert_eq!(events.last().unwrap().json()["status"], "succeeded");
}
