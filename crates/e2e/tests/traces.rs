//! Where a trace goes, and what the log tells of who asked.

use deed_e2e::database::Database;
use deed_e2e::process::Output;
use deed_e2e::server::Server;
use deed_e2e::unique;
use deed_e2e::wait::SOON;
use serde_json::{Value, json};

const DEED: &str = env!("CARGO_BIN_EXE_deed-under-test");
const ACTIONS: [&str; 2] = ["actions:read", "actions:write"];
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn traceparent() -> String {
    format!("00-{TRACE}-00f067aa0ba902b7-01")
}

/// Waits for a line of the log.
async fn line(server: &Server, is_it: impl Fn(&Value) -> bool) -> Value {
    let find = |output, line: &str| {
        let line: Value = (output == Output::Stderr).then(|| serde_json::from_str(line).ok())??;
        is_it(&line).then_some(line)
    };
    server.process.line(SOON, find).await
}

/// The line of an action's attempt.
async fn attempt(server: &Server, action: &Value) -> Value {
    line(server, |line| {
        line["action_id"] == *action && line["outcome"].is_string()
    })
    .await
}

async fn access(server: &Server, request: &str) -> Value {
    line(server, |line| {
        line["target"] == "deed::access" && line["request_id"] == request
    })
    .await
}

#[tokio::test]
async fn a_trace_goes_to_the_action_and_from_there_to_its_retry() {
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    let client = server.user(&ACTIONS).await;
    let failing = json!({"type": "echo", "input": {"text": "x", "fail_at": 1}});
    let asked = client
        .post("/actions", &failing)
        .header("traceparent", &traceparent())
        .header("X-Request-Id", "traced")
        .send()
        .await
        .json(201);
    assert_eq!(asked.get("traceparent"), None);
    assert_eq!(access(&server, "traced").await["trace_id"], TRACE);
    let first = attempt(&server, &asked["id"]).await;
    assert_eq!(
        (&first["trace_id"], &first["outcome"], &first["attempt"]),
        (&json!(TRACE), &json!("failed"), &json!(1))
    );
    assert!(first["worker"].is_string() && first["duration_ms"].is_u64());

    let retry = format!("/actions/{}/retry", asked["id"].as_str().unwrap());
    let again = client.request("POST", &retry).send().await.json(202);
    assert_eq!(attempt(&server, &again["id"]).await["trace_id"], TRACE);

    let other = "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-00";
    let again = client.request("POST", &retry).header("traceparent", other);
    let again = again.send().await.json(202);
    let line = attempt(&server, &again["id"]).await;
    assert_eq!(line["trace_id"], "0af7651916cd43dd8448eb211c80319c");

    let none = client
        .post("/actions", &failing)
        .header("traceparent", "nonsense")
        .send()
        .await
        .json(201);
    let line = attempt(&server, &none["id"]).await;
    assert_eq!(line.get("trace_id"), None, "{line}");
}

#[tokio::test]
async fn the_access_log_says_who_asked_also_when_it_was_refused() {
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    let root = server.root();
    let user = root.new_user().await;
    let key = root
        .issue(&user, json!({"name": "k", "scopes": ["actions:read"]}))
        .await;
    let client = root.with_key(key["secret"].as_str().unwrap());
    let echo = json!({"type": "echo", "input": {"text": "x"}});

    let answer = client
        .get("/actions")
        .header("X-Request-Id", "list")
        .header("X-Forwarded-For", "203.0.113.7")
        .send()
        .await;
    let line = access(&server, "list").await;
    assert_eq!(
        (&line["method"], &line["route"], &line["status"]),
        (&json!("GET"), &json!("/actions"), &json!(200))
    );
    assert_eq!(
        (&line["key_id"], &line["user_id"]),
        (&key["id"], &json!(user))
    );
    assert_eq!(line["peer"], "127.0.0.1", "no header is believed");
    assert_eq!(line["bytes"], answer.body.len());

    let refused = client.post("/actions", &echo);
    let refused = refused.header("X-Request-Id", "scope").send().await;
    refused.problem(403, "insufficient_scope");
    let line = access(&server, "scope").await;
    assert_eq!(
        (&line["key_id"], &line["user_id"]),
        (&key["id"], &json!(user))
    );

    let acting = client
        .get("/actions")
        .header("X-User-ID", &root.new_user().await);
    let acting = acting.header("X-Request-Id", "acting").send().await;
    acting.problem(403, "act_as_not_allowed");
    let line = access(&server, "acting").await;
    assert_eq!((&line["key_id"], line.get("user_id")), (&key["id"], None));

    root.get("/users")
        .header("X-Request-Id", "root")
        .send()
        .await;
    let line = access(&server, "root").await;
    assert_eq!(
        (&line["key_id"], line.get("user_id")),
        (&json!("root"), None)
    );

    let stranger = server.anonymous().get(&format!("/{}", unique()));
    stranger.header("X-Request-Id", "none").send().await;
    let line = access(&server, "none").await;
    assert_eq!((&line["route"], line.get("key_id")), (&json!("-"), None));
}

#[tokio::test]
async fn a_stream_has_a_line_at_its_end() {
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    let client = server.user(&ACTIONS).await;
    let echo = json!({"type": "echo", "input": {"text": "a b"}});
    let stream = client
        .post("/stream", &echo)
        .header("X-Request-Id", "stream")
        .header("traceparent", &traceparent());
    stream.stream().await.rest().await;
    let line = line(&server, |line| line["target"] == "deed::stream").await;
    assert_eq!(
        (&line["reason"], &line["events"], &line["request_id"]),
        (&json!("done"), &json!(5), &json!("stream"))
    );
    assert_eq!(line["trace_id"], TRACE);
    assert!(line["stream_ms"].is_u64() && line["action_id"].is_string());
}
