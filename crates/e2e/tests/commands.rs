//! The command line beside the server: migrations, users and keys straight in the database, and what it says when
//! something is wrong.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

mod keys;
mod manual;
mod migrate;
mod users;

use std::process::Output;

use deed_e2e::database::Database;
use deed_e2e::server::{Server, deed};
use serde_json::{Value, json};

const DEED: &str = env!("CARGO_BIN_EXE_deed-under-test");
/// Nobody listens on port 1.
const NOWHERE: &str = "postgres://deed@127.0.0.1:1/deed";

async fn run(url: &str, arguments: &[&str]) -> Output {
    deed(DEED)
        .args(arguments)
        .env("DATABASE_URL", url)
        .output()
        .await
        .unwrap()
}

/// What it prints when it succeeds.
async fn prints(url: &str, arguments: &[&str]) -> String {
    let output = run(url, arguments).await;
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What it answers to a program.
async fn answers(url: &str, arguments: &[&str]) -> Value {
    let arguments = [arguments, &["--format", "json"]].concat();
    serde_json::from_str(&prints(url, &arguments).await).unwrap()
}

/// What it says when it fails, which is one line without a backtrace.
async fn fails(url: &str, code: i32, arguments: &[&str]) -> String {
    let output = run(url, arguments).await;
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    assert!(
        !said.contains("backtrace") && !said.contains("panicked"),
        "{said}"
    );
    said
}

#[tokio::test]
async fn serve_refuses_a_database_that_is_behind_and_names_the_command() {
    let database = Database::fresh().await;
    let said = fails(database.url(), 15, &["serve", "--listen", "127.0.0.1:0"]).await;
    assert!(
        said.contains("deed migrate up") && said.contains("--migrate"),
        "{said}"
    );
    prints(database.url(), &["migrate", "up"]).await;
    prints(database.url(), &["migrate", "down", "--yes"]).await;
    let said = fails(
        database.url(),
        15,
        &["users", "create", "--email", "a@b.co", "--name", "Ada"],
    )
    .await;
    assert!(said.contains("deed migrate up"), "{said}");
}

#[tokio::test]
async fn a_first_user_and_key_are_made_at_the_command_line() {
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    let create = [
        "users",
        "create",
        "--email",
        "ada@example.com",
        "--name",
        "Ada",
    ];
    let id = prints(database.url(), &create).await.trim().to_owned();
    let key = [
        "keys",
        "create",
        "--user",
        "Ada@Example.com",
        "--name",
        "first",
        "--scope",
        "actions:write",
    ];
    let secret = prints(database.url(), &key).await.trim().to_owned();

    let client = server.anonymous().with_key(&secret);
    let me = client.get("/users/me").send().await.json(200);
    assert_eq!(
        (&me["id"], &me["scopes"]),
        (&json!(id), &json!(["actions:write"]))
    );
    let body = json!({"type": "echo", "input": {"text": "hello"}});
    assert_eq!(
        client.post("/actions", &body).send().await.json(201)["status"],
        "succeeded"
    );

    let said = fails(database.url(), 5, &create).await;
    assert!(said.contains("already exists"), "{said}");
    let expiring = [&key[..], &["--expires-in", "1h"]].concat();
    let secret = prints(database.url(), &expiring).await;
    let key = server
        .anonymous()
        .with_key(secret.trim())
        .get("/api-keys/current")
        .send()
        .await
        .json(200);
    assert!(matches!(key["expires_at"], Value::String(_)), "{key}");
}

#[tokio::test]
async fn wrong_arguments_are_told_apart_from_faults() {
    let said = fails(NOWHERE, 2, &["serve", "--pool-sise", "3"]).await;
    assert!(said.contains("--pool-size"), "{said}");
    let help = prints(NOWHERE, &["serve", "--help"]).await;
    assert!(
        help.contains("DEED_LISTEN") && !help.contains(NOWHERE),
        "{help}"
    );
}
