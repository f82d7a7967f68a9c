//! What the server does not do yet is answered as unknown, and its document doesn't promise it.

use deed_e2e::database::Database;
use deed_e2e::server::Server;
use serde_json::json;

const DEED: &str = env!("CARGO_BIN_EXE_deed-under-test");
const ID: &str = "0198c0de-0000-7000-8000-000000000000";

/// Method, path, and what the path is in the document.
const LATER: [(&str, &str, &str, u16); 13] = [
    ("PUT", "/users/{id}/password", "/users/{id}/password", 404),
    ("DELETE", "/users/{id}", "/users/{id}", 405),
    ("GET", "/users/{id}/export", "/users/{id}/export", 404),
    ("POST", "/sessions", "/sessions", 404),
    ("GET", "/sessions", "/sessions", 404),
    ("DELETE", "/sessions", "/sessions", 404),
    ("DELETE", "/sessions/current", "/sessions/current", 404),
    ("DELETE", "/sessions/{id}", "/sessions/{id}", 404),
    (
        "POST",
        "/api-keys/{id}/rotate",
        "/api-keys/{id}/rotate",
        404,
    ),
    ("GET", "/audit-events", "/audit-events", 404),
    ("GET", "/metrics", "/metrics", 404),
    ("DELETE", "/actions/{id}", "/actions/{id}", 405),
    ("TRACE", "/users", "/users", 405),
];

#[tokio::test]
async fn what_comes_later_is_unknown() {
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    let root = server.root();
    let document = root.get("/openapi.json").send().await.json(200);
    for (method, path, documented, status) in LATER {
        let answer = root
            .request(method, &path.replace("{id}", ID))
            .json(&json!({}))
            .send()
            .await;
        match status {
            405 => {
                answer.problem(405, "method_not_allowed");
                assert!(!answer.header("allow").is_empty(), "{method} {path}");
                assert!(!answer.header("allow").contains(method), "{method} {path}");
            }
            _ => drop(answer.problem(404, "not_found")),
        }
        let operation = document["paths"]
            .get(documented)
            .and_then(|path| path.get(method.to_lowercase()));
        assert!(operation.is_none(), "{method} {path} is in the document");
    }
}

#[tokio::test]
async fn what_is_promised_is_known() {
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    let root = server.root();
    let document = root.get("/openapi.json").send().await.json(200);
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            let method = method.to_uppercase();
            let path = path
                .replace("{id}", ID)
                .replace("{name}", "echo")
                .replace("{code}", "not_found");
            let answer = root.request(&method, &path).json(&json!({})).send().await;
            let is_unknown =
                answer.status == 405 || answer.body.contains("\"error\":\"not_found\"");
            assert!(!is_unknown, "{method} {path}: {}", answer.body);
        }
    }
}
