//! A bad network between a server and PostgreSQL.

use std::time::{Duration, Instant};

use deed_e2e::client::Client;
use deed_e2e::database::Database;
use deed_e2e::proxy::{Fault, FaultyProxy};
use deed_e2e::server::Server;
use deed_e2e::stream::{check_whole_log, words};
use deed_e2e::wait::{SOON, until};
use futures_util::future::join_all;
use serde_json::json;

use crate::{ACTIONS, DEED, alone, beside, check_honest, nearly_alone, note};

async fn behind(proxy: &FaultyProxy, database: &Database) -> Server {
    Server::setup(database)
        .environment("DATABASE_URL", &proxy.url(database.url()))
        .start(DEED)
        .await
}

#[tokio::test]
async fn a_slow_network_makes_answers_slow_and_nothing_else() {
    let _machine = nearly_alone().await;
    let database = Database::fresh().await;
    let proxy = FaultyProxy::before(database.url()).await;
    let server = behind(&proxy, &database).await;
    let client = server.user(&ACTIONS).await;
    proxy.switch(Fault::Latency(Duration::from_millis(200)));
    let body = json!({"type": "echo", "input": {"text": "a b c d e f", "delay_ms": 300}});
    let start = Instant::now();
    let mut stream = client.post("/stream", &body).stream().await;
    let begun = start.elapsed();
    let path = stream.headers["location"].to_str().unwrap().to_owned();
    let events = stream.rest().await;
    check_whole_log(&events);
    assert_eq!(words(&events).concat(), "abcdef");
    let start = Instant::now();
    client
        .get(path.strip_suffix("/events").unwrap())
        .send()
        .await
        .json(200);
    let read = start.elapsed();
    // Some trips each, and none that grows with the number of events.
    assert!(begun < Duration::from_secs(2), "{begun:?}");
    assert!(read < Duration::from_secs(1), "{read:?}");
    note(
        "latency of 200 ms",
        format!(
            "a read in {} ms, a stream begins after {} ms",
            read.as_millis(),
            begun.as_millis()
        ),
    );
}

/// Writes with a key until it is accepted; checks that every answer was honest.
async fn write(client: &Client, key: &str) {
    let body = json!({"type": "echo", "input": {"text": key}});
    until(SOON, async || {
        let request = client
            .post("/actions", &body)
            .header("Prefer", "respond-async");
        let answer = request.header("Idempotency-Key", key).send().await;
        check_honest(&answer, &[201, 202]);
        if answer.status == 503 {
            Err(answer)
        } else {
            Ok(())
        }
    })
    .await;
}

#[tokio::test]
async fn answers_that_are_cut_anywhere_are_no_answers() {
    let _machine = beside().await;
    let database = Database::fresh().await;
    let proxy = FaultyProxy::before(database.url()).await;
    let server = behind(&proxy, &database).await;
    let client = server.user(&ACTIONS).await;
    let mut refused = 0;
    // From the first byte of a type to the last of a row; large numbers spare the first statements.
    for bytes in (0..40).chain((40..1200).step_by(29)) {
        proxy.switch(Fault::CutAfter(bytes));
        let key = format!("cut-{bytes}");
        let body = json!({"type": "echo", "input": {"text": key}});
        let request = client
            .post("/actions", &body)
            .header("Prefer", "respond-async");
        let answers = [
            client.get("/actions").send().await,
            request.header("Idempotency-Key", &key).send().await,
            client.get("/users/me").send().await,
        ];
        for answer in &answers {
            check_honest(answer, &[200, 202]);
            refused += u32::from(answer.status == 503);
        }
        proxy.switch(Fault::None);
        write(&client, &key).await;
    }
    assert!(refused > 20, "{refused}");
    let page = client.get("/actions?limit=200").send().await.json(200);
    assert_eq!(
        page["items"].as_array().unwrap().len(),
        80,
        "one key, one action"
    );
}

#[tokio::test]
async fn refused_connections_are_answered_at_once_and_come_back() {
    let _machine = nearly_alone().await;
    let database = Database::fresh().await;
    let proxy = FaultyProxy::before(database.url()).await;
    let server = behind(&proxy, &database).await;
    let client = server.user(&ACTIONS).await;
    let asked = async || {
        let start = Instant::now();
        (client.get("/actions").send().await, start.elapsed())
    };
    proxy.switch(Fault::Refuse);
    proxy.cut_all();
    for _ in 0..20 {
        let (answer, taken) = asked().await;
        check_honest(&answer, &[]);
        assert!(taken <= Duration::from_millis(2_500), "{taken:?}");
    }
    server.anonymous().get("/livez").send().await.json(200);
    let ready = server.anonymous().get("/readyz").send().await;
    ready.problem(503, "unavailable");
    proxy.switch(Fault::None);
    let back = Instant::now();
    until(Duration::from_secs(3), async || {
        let (answer, _) = asked().await;
        if answer.status == 200 {
            Ok(())
        } else {
            Err(answer)
        }
    })
    .await;
    note(
        "connections refused",
        format!("back after {} ms", back.elapsed().as_millis()),
    );
}

#[tokio::test]
async fn more_than_a_slow_database_can_do_is_refused_in_time() {
    let _machine = alone().await;
    let database = Database::fresh().await;
    let proxy = FaultyProxy::before(database.url()).await;
    let server = behind(&proxy, &database).await;
    let client = server.user(&ACTIONS).await;
    let body = json!({"type": "echo", "input": {"text": "a"}});
    let ask = async |number: usize| {
        let start = Instant::now();
        let answer = match number % 3 {
            0 => client.get("/actions").send().await,
            _ => {
                let request = client.post("/actions", &body);
                request.header("Prefer", "respond-async").send().await
            }
        };
        (answer, start.elapsed())
    };
    // So that all connections are open.
    join_all((0..24).map(ask)).await;
    // Eight connections do some thirty statements a second now, and an action needs two or three.
    proxy.switch(Fault::Latency(Duration::from_millis(300)));
    let answers = join_all((0..100).map(ask)).await;
    proxy.switch(Fault::None);
    let mut refused = Vec::new();
    for (answer, taken) in &answers {
        check_honest(answer, &[200, 202]);
        if answer.status == 503 {
            assert!(*taken <= Duration::from_millis(2_500), "{taken:?}");
            refused.push(*taken);
        }
    }
    assert!(!refused.is_empty(), "nothing was too much");
    assert!(refused.len() < answers.len(), "nobody was served");
    let slowest = refused.iter().max().unwrap().as_millis();
    note(
        "PostgreSQL slow and requests many",
        format!(
            "{} of {} answered 503, the last after {slowest} ms",
            refused.len(),
            answers.len()
        ),
    );
}
