//! Connections to PostgreSQL that are cut or freeze one by one, while PostgreSQL itself is well.

use std::time::{Duration, Instant};

use deed_e2e::database::Database;
use deed_e2e::server::Server;
use deed_e2e::stream::{check_whole_log, words};
use deed_e2e::wait::{SOON, until};
use futures_util::future::join_all;
use serde_json::json;

use crate::{ACTIONS, DEED, beside, check_honest, nearly_alone};

#[tokio::test]
async fn a_database_that_hangs_is_not_waited_for() {
    let _machine = nearly_alone().await;
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    let client = server.user(&ACTIONS).await;
    let body = json!({"type": "echo", "input": {"text": "a b c d e", "delay_ms": 500}});
    let mut stream = client.post("/stream", &body).stream().await;
    let first = stream.event_named("message").await;

    let frozen = database.freeze_all().await;
    let ask = async |number: usize| {
        let start = Instant::now();
        let answer = match number % 3 {
            0 => client.get("/actions").send().await,
            1 => client.get("/users/me").send().await,
            _ => {
                client
                    .post("/actions", &body)
                    .header("Prefer", "respond-async")
                    .send()
                    .await
            }
        };
        (answer, start.elapsed())
    };
    let answers = join_all((0..12).map(ask)).await;
    for (answer, taken) in &answers {
        check_honest(answer, &[200, 202]);
        // What was committed has an unknown outcome for longer.
        let promised = if answer.body.contains("/actions\"") && answer.status == 503 {
            Duration::from_secs(7)
        } else {
            Duration::from_millis(2_500)
        };
        assert!(*taken <= promised, "{taken:?}: {}", answer.body);
    }
    assert!(
        answers.iter().any(|(answer, _)| answer.status == 503),
        "nothing was frozen"
    );
    drop(frozen);

    until(SOON, async || {
        let answer = client.get("/actions").send().await;
        if answer.status == 200 {
            Ok(())
        } else {
            Err(answer)
        }
    })
    .await;
    let mut events = vec![first];
    events.extend(stream.rest().await);
    assert_eq!(words(&events).concat(), "abcde", "the stream went on");
    let seqs: Vec<u64> = events.iter().map(|event| event.seq()).collect();
    assert!(
        seqs.windows(2).all(|pair| pair[1] == pair[0] + 1),
        "{seqs:?}"
    );
    assert_eq!(events.last().unwrap().name, "done");
}

#[tokio::test]
async fn connections_that_are_cut_lose_nothing() {
    let _machine = beside().await;
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    let client = server.user(&ACTIONS).await;
    let long =
        json!({"type": "echo", "input": {"text": "a b c d e", "delay_ms": 100, "repeat": 4}});
    let mut stream = client.post("/stream", &long).stream().await;

    let write = async |writer: usize| {
        let mut acknowledged = Vec::new();
        for n in 0..15 {
            let key = format!("{writer}-{n}");
            let body = json!({"type": "echo", "input": {"text": key}});
            // Whoever is told to come again does so, with the same key.
            let id = until(SOON, async || {
                let request = client
                    .post("/actions", &body)
                    .header("Prefer", "respond-async");
                let answer = request.header("Idempotency-Key", &key).send().await;
                check_honest(&answer, &[201, 202]);
                if answer.status == 503 {
                    Err(answer)
                } else {
                    Ok(answer.json(answer.status)["id"].clone())
                }
            })
            .await;
            acknowledged.push(id);
        }
        acknowledged
    };
    let writers = join_all((0..4).map(write));
    let mut cuts = 0;
    let cut = async {
        loop {
            cuts += database.kill_all().await;
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
    };
    let acknowledged = tokio::select! {
        () = cut => Vec::new(),
        all = writers => all.concat(),
    };
    assert_eq!(acknowledged.len(), 60);
    assert!(cuts > 5, "{cuts}");

    check_whole_log(&stream.rest().await);
    for id in acknowledged {
        let path = format!("/actions/{}", id.as_str().unwrap());
        until(SOON, async || {
            let action = client.get(&path).send().await.json(200);
            if action["status"] == "succeeded" {
                Ok(())
            } else {
                Err(action)
            }
        })
        .await;
    }
    let page = client.get("/actions?limit=200").send().await.json(200);
    assert_eq!(
        page["items"].as_array().unwrap().len(),
        61,
        "one key, one action"
    );
}
