//! What failed is tried again, as an action of its own.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use deed_e2e::client::{Answer, Client};
use deed_e2e::database::Database;
use deed_e2e::server::Server;
use deed_e2e::unique;
use deed_e2e::wait::{SOON, until};
use serde_json::{Value, json};

const DEED: &str = env!("CARGO_BIN_EXE_deed-under-test");
const ACTIONS: [&str; 2] = ["actions:read", "actions:write"];

fn id(action: &Value) -> &str {
    action["id"].as_str().unwrap()
}

async fn perform(client: &Client, body: Value) -> Value {
    client.post("/actions", &body).send().await.json(201)
}

async fn retry(client: &Client, id: &str) -> Answer {
    let path = format!("/actions/{id}/retry");
    client.request("POST", &path).send().await
}

async fn over(client: &Client, id: &str) -> Value {
    until(SOON, async || {
        let action = client.get(&format!("/actions/{id}")).send().await.json(200);
        if action["finished_at"].is_null() {
            Err(action)
        } else {
            Ok(action)
        }
    })
    .await
}

#[tokio::test]
async fn a_failed_action_is_tried_again_as_a_new_one() {
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    let client = server.user(&ACTIONS).await;
    let body = json!({"type": "echo", "input": {"text": "a b", "fail_at": 2}, "priority": 3});
    let failed = perform(&client, body).await;
    assert_eq!(failed["status"], "failed");

    let answer = retry(&client, id(&failed)).await;
    let new = answer.json(202);
    assert_ne!(new["id"], failed["id"]);
    assert_eq!(
        answer.header("location"),
        format!("/actions/{}", id(&new)).as_str()
    );
    for (member, expected) in [
        ("retry_of", &failed["id"]),
        ("type", &failed["type"]),
        ("input", &failed["input"]),
        ("priority", &json!(3)),
        ("user_id", &failed["user_id"]),
        ("max_attempts", &failed["max_attempts"]),
    ] {
        assert_eq!(&new[member], expected, "{member}");
    }
    assert_eq!(over(&client, id(&new)).await["status"], "failed");

    let first = client
        .get(&format!("/actions/{}", id(&failed)))
        .send()
        .await
        .json(200);
    assert_eq!(first, failed, "what is over stays as it is");
    let events = client
        .get(&format!("/actions/{}/events", id(&new)))
        .header("Accept", "application/json")
        .send()
        .await
        .json(200);
    let names: Vec<&str> = events["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["event"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["created", "started", "message", "done"]);
}

#[tokio::test]
async fn what_did_not_fail_is_not_tried_again() {
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    let client = server.user(&ACTIONS).await;
    let done = perform(&client, json!({"type": "echo", "input": {"text": "a"}})).await;
    let running = client
        .post(
            "/actions",
            &json!({"type": "wait", "input": {"seconds": 60}}),
        )
        .header("Prefer", "respond-async")
        .send()
        .await
        .json(202);
    for action in [&done, &running] {
        retry(&client, id(action))
            .await
            .problem(409, "action_not_retryable");
    }
    let cancel = format!("/actions/{}/cancel", id(&running));
    client.request("POST", &cancel).send().await;
    assert_eq!(over(&client, id(&running)).await["status"], "cancelled");
    let again = retry(&client, id(&running)).await.json(202);
    assert_eq!(again["retry_of"], running["id"]);
}

#[tokio::test]
async fn a_repeated_retry_is_one_action() {
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    let client = server.user(&ACTIONS).await;
    let failing = json!({"type": "echo", "input": {"text": "a", "fail_at": 1}});
    let failed = perform(&client, failing).await;
    let path = format!("/actions/{}/retry", id(&failed));
    let key = unique();
    let ask = async || {
        let request = client.request("POST", &path);
        request.header("Idempotency-Key", &key).send().await
    };
    let first = ask().await;
    assert_eq!(first.header("idempotency-replayed"), "");
    let again = ask().await;
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(again.json(202)["id"], first.json(202)["id"]);
    let page = client.get("/actions").send().await.json(200);
    assert_eq!(page["items"].as_array().unwrap().len(), 2, "{page}");
}

#[tokio::test]
async fn the_root_key_retries_for_the_actions_user() {
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    let client = server.user(&ACTIONS).await;
    let failing = json!({"type": "echo", "input": {"text": "a", "fail_at": 1}});
    let failed = perform(&client, failing).await;
    let again = retry(&server.root(), id(&failed)).await.json(202);
    assert_eq!(again["user_id"], failed["user_id"]);
    assert_eq!(again["api_key_id"], Value::Null);
    over(&client, id(&again)).await;
}
