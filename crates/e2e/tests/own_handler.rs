//! A Rust service with a handler of its own: the server's example, as it stands.

use deed_e2e::database::Database;
use deed_e2e::server::Server;
use deed_e2e::stream::words;
use serde_json::json;

const DEED: &str = env!("CARGO_BIN_EXE_deed-under-test");
const OWN_HANDLER: &str = env!("CARGO_BIN_EXE_own-handler-under-test");
const ACTIONS: [&str; 2] = ["actions:read", "actions:write"];

#[tokio::test]
async fn a_handler_of_ones_own_is_an_action_type_like_any_other() {
    let database = Database::fresh().await;
    let server = Server::start(OWN_HANDLER, &database).await;
    let client = server.user(&ACTIONS).await;
    let body = json!({"type": "shout", "input": {"text": "hello world"}});
    let events = client.post("/stream", &body).stream().await.rest().await;
    assert_eq!(words(&events), ["HELLO", "WORLD"]);
    assert_eq!(
        events.last().unwrap().json()["output"],
        json!({"text": "HELLO WORLD"})
    );

    let wrong = client
        .post("/actions", &json!({"type": "shout", "input": {}}))
        .send()
        .await;
    let problem = wrong.problem(400, "validation_failed");
    assert_eq!(problem["errors"][0]["pointer"], "#/input");
    let shout = client.get("/action-types/shout").send().await.json(200);
    assert_eq!(shout["performed_by"], "handler");
    let echo = json!({"type": "echo", "input": {"text": "still here"}});
    assert_eq!(
        client.post("/actions", &echo).send().await.json(201)["status"],
        "succeeded"
    );
}

#[tokio::test]
async fn a_replica_without_the_handler_leaves_its_actions_to_the_one_that_has_it() {
    let database = Database::fresh().await;
    let own = Server::start(OWN_HANDLER, &database).await;
    let plain = Server::start(DEED, &database).await;
    let client = own.user(&ACTIONS).await.at(&plain.base);
    let body = json!({"type": "shout", "input": {"text": "hello"}});
    let action = client.post("/actions", &body).send().await.json(201);
    assert_eq!(
        (&action["status"], &action["attempt"]),
        (&json!("succeeded"), &json!(1)),
        "{action}"
    );
}
