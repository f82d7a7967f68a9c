//! Many actions in one request.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use std::collections::HashSet;
use std::time::Instant;

use deed_e2e::client::{Answer, Client};
use deed_e2e::database::Database;
use deed_e2e::server::Server;
use deed_e2e::wait::{SOON, until};
use futures_util::future::join_all;
use serde_json::{Value, json};

const DEED: &str = env!("CARGO_BIN_EXE_deed-under-test");
const ACTIONS: [&str; 2] = ["actions:read", "actions:write"];

fn echoes(count: usize) -> Value {
    let actions: Vec<Value> = (0..count)
        .map(|n| json!({"type": "echo", "input": {"text": format!("w{n}")}}))
        .collect();
    json!({"actions": actions})
}

fn ids(answer: &Answer) -> Vec<String> {
    let body = answer.json(202);
    let items = body["items"].as_array().unwrap();
    items
        .iter()
        .map(|item| item["id"].as_str().unwrap().to_owned())
        .collect()
}

async fn listed(client: &Client, filter: &str) -> usize {
    let path = format!("/actions?limit=200&{filter}");
    let page = client.get(&path).send().await.json(200);
    page["items"].as_array().unwrap().len()
}

#[tokio::test]
async fn a_batch_is_performed_and_its_actions_are_as_any_other() {
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    let client = server.user(&ACTIONS).await;
    let answer = client.post("/actions/batch", &echoes(20)).send().await;
    let ids = ids(&answer);
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 20);
    for (n, id) in ids.iter().enumerate() {
        let action = until(SOON, async || {
            let action = client.get(&format!("/actions/{id}")).send().await.json(200);
            match action["status"].as_str() {
                Some("succeeded") => Ok(action),
                _ => Err(action),
            }
        })
        .await;
        assert_eq!(action["output"], json!({"text": format!("w{n}")}));
    }
    // Who follows one of them reads its whole log.
    let mut stream = client
        .get(&format!("/actions/{}/events", ids[7]))
        .stream()
        .await;
    deed_e2e::stream::check_whole_log(&stream.rest().await);
}

#[tokio::test]
async fn one_bad_action_and_nothing_is_stored() {
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    let client = server.user(&ACTIONS).await;
    let mut body = echoes(30);
    body["actions"][17] = json!({"type": "echo", "input": {"text": 5}});
    body["actions"][29] = json!({"type": "nobodys", "input": 1});
    let keyed = |body: &Value| {
        client
            .post("/actions/batch", body)
            .header("Idempotency-Key", "k")
    };
    let refused = keyed(&body).send().await.problem(400, "validation_failed");
    let places: Vec<&str> = refused["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|fault| fault["pointer"].as_str().unwrap())
        .collect();
    assert_eq!(places, ["#/actions/17/input/text", "#/actions/29/type"]);
    assert_eq!(listed(&client, "").await, 0);
    // The key was not used up.
    assert_eq!(ids(&keyed(&echoes(1)).send().await).len(), 1);
}

#[tokio::test]
async fn one_key_is_one_batch_also_where_many_race() {
    let database = Database::fresh().await;
    let (one, two) = (
        Server::start(DEED, &database).await,
        Server::start(DEED, &database).await,
    );
    let client = one.user(&ACTIONS).await;
    let other = client.at(&two.base);
    let body = echoes(50);
    let ask = |client: &Client, body: &Value| {
        client
            .post("/actions/batch", body)
            .header("Idempotency-Key", "import-1")
            .send()
    };
    let answers = join_all((0..8).map(|n| ask(if n % 2 == 0 { &client } else { &other }, &body)));
    let answers = answers.await;
    let first = ids(&answers[0]);
    assert!(answers.iter().all(|answer| ids(answer) == first));
    let is_replay = |answer: &&Answer| answer.header("idempotency-replayed") == "true";
    assert_eq!(answers.iter().filter(is_replay).count(), 7);
    assert_eq!(listed(&client, "").await, 50);
    // As they are by then.
    until(SOON, async || {
        let again = ask(&other, &body).await;
        assert_eq!(ids(&again), first);
        let items = again.json(202)["items"].as_array().unwrap().clone();
        let over = items.iter().filter(|item| item["status"] == "succeeded");
        if over.count() == 50 {
            Ok(())
        } else {
            Err(items)
        }
    })
    .await;
    ask(&client, &echoes(49))
        .await
        .problem(422, "idempotency_key_reused");
}

/// Not asserted: the machine decides. Printed for who looks.
#[tokio::test]
async fn five_hundred_at_once_are_accepted() {
    let database = Database::fresh().await;
    let server = Server::setup(&database).runner_slots(0).start(DEED).await;
    let client = server.user(&ACTIONS).await;
    let sent = async |count: usize| {
        let began = Instant::now();
        let answer = client.post("/actions/batch", &echoes(count)).send().await;
        assert_eq!(ids(&answer).len(), count);
        began.elapsed()
    };
    sent(1).await;
    for _ in 0..3 {
        let (one, many) = (sent(1).await, sent(500).await);
        println!("one action {one:?}, 500 in one request {many:?}");
    }
    client
        .post("/actions/batch", &echoes(501))
        .send()
        .await
        .problem(400, "validation_failed");
}
