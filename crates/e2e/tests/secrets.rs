//! What must not be told: after a day at the most talkative level, no secret stands in the log or in the database.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use deed_e2e::client::Client;
use deed_e2e::database::Database;
use deed_e2e::process::Process;
use deed_e2e::server::{DRAIN, ROOT_KEY, Server, deed};
use deed_e2e::unique;
use deed_e2e::wait::SOON;
use serde_json::json;

const DEED: &str = env!("CARGO_BIN_EXE_deed-under-test");

/// What the server was told in confidence.
struct Canaries {
    secrets: Vec<String>,
    password: String,
    email: String,
    input: String,
}

/// Uses all that takes something confidential, well and badly.
async fn a_day(server: &Server) -> Canaries {
    let root = server.root();
    let (password, email) = (
        format!("password-{}", unique()),
        format!("{}@example.com", unique()),
    );
    let input = format!("input-{}", unique());
    let body =
        json!({"email": email, "name": "Canary", "password": password, "external_id": unique()});
    let created = root
        .post("/users", &body)
        .header("Idempotency-Key", "k")
        .send()
        .await
        .json(201);
    let user = created["id"].as_str().unwrap();
    root.post("/users", &body)
        .send()
        .await
        .problem(409, "user_already_exists");
    let short = json!({"email": email, "name": "", "password": password, "x": password});
    root.post("/users", &short)
        .send()
        .await
        .problem(400, "validation_failed");
    root.get(&format!("/users?email={email}"))
        .send()
        .await
        .json(200);
    let issued = root
        .issue(
            user,
            json!({"name": "canary", "scopes": ["actions:read", "actions:write"]}),
        )
        .await;
    let secret = issued["secret"].as_str().unwrap().to_owned();
    let client = root.with_key(&secret);
    client
        .get("/users/me")
        .header("Authorization", &format!("Bearer {secret}"))
        .send()
        .await
        .json(200);
    let action = json!({"type": "echo", "input": {"text": input, "repeat": 2}});
    client
        .post("/actions", &action)
        .header("Idempotency-Key", "k")
        .send()
        .await
        .json(201);
    let mut stream = client.post("/stream", &action).stream().await;
    let events = stream.headers["location"].to_str().unwrap().to_owned();
    stream.rest().await;
    let ticket = used_ticket(server, &client, &events).await;
    let wrong = json!({"type": "echo", "input": {"text": [input]}});
    client
        .post("/actions", &wrong)
        .send()
        .await
        .problem(400, "validation_failed");
    client
        .get("/actions?cursor=x")
        .header("traceparent", &input)
        .header("User-Agent", &input)
        .send()
        .await
        .problem(400, "invalid_cursor");
    let failing = json!({"type": "echo", "input": {"text": input, "fail_at": 1}});
    let failed = client.post("/actions", &failing).send().await.json(201);
    let retry = format!("/actions/{}/retry", failed["id"].as_str().unwrap());
    client.request("POST", &retry).send().await.json(202);
    client
        .get(&format!("/{input}?{input}"))
        .send()
        .await
        .problem(404, "not_found");
    let revoke = format!("/api-keys/{}", issued["id"].as_str().unwrap());
    assert_eq!(root.request("DELETE", &revoke).send().await.status, 204);
    client
        .get("/users/me")
        .send()
        .await
        .problem(401, "invalid_api_key");
    Canaries {
        secrets: vec![secret, ticket, ROOT_KEY.to_owned()],
        password,
        email,
        input,
    }
}

/// A ticket for the stream at `events`, which was used well and badly; and one that is still good, in the database.
async fn used_ticket(server: &Server, client: &Client, events: &str) -> String {
    let path = format!("{}/stream-ticket", events.strip_suffix("/events").unwrap());
    let new = async || {
        let issued = client.request("POST", &path).send().await.json(201);
        issued["ticket"].as_str().unwrap().to_owned()
    };
    let (ticket, _unused) = (new().await, new().await);
    let with_ticket = format!("{events}?ticket={ticket}");
    let anybody = server.anonymous();
    let beside_a_key = client.get(&with_ticket).send().await;
    beside_a_key.problem(401, "invalid_api_key");
    anybody.get(&with_ticket).stream().await.rest().await;
    let again = anybody.get(&with_ticket).send().await;
    again.problem(401, "invalid_api_key");
    ticket
}

/// Every row of every table, as text.
async fn dump(database: &Database) -> String {
    let client = database.connect().await;
    let tables = "SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = current_schema()";
    let mut dump = String::new();
    for table in client.query(tables, &[]).await.unwrap() {
        let table: String = table.get(0);
        for row in client
            .query(&format!("SELECT t::text FROM {table} AS t"), &[])
            .await
            .unwrap()
        {
            dump.push_str(row.get(0));
            dump.push('\n');
        }
    }
    dump
}

/// Whether `line` holds `secret`: as it is, in hexadecimal as PostgreSQL prints bytes, or as Rust prints them.
fn tells(line: &str, secret: &str) -> bool {
    let hexadecimal: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    let decimal: Vec<String> = secret.bytes().map(|byte| byte.to_string()).collect();
    line.contains(secret) || line.contains(&hexadecimal) || line.contains(&decimal.join(", "))
}

#[tokio::test]
async fn no_secret_stands_in_a_log_or_in_the_database() {
    let database = Database::fresh().await;
    let mut server = Server::setup(&database)
        .environment("RUST_LOG", "trace")
        .start(DEED)
        .await;
    let canaries = a_day(&server).await;
    server.terminate();
    assert!(server.process.ended(DRAIN).await.success());
    let log = server.process.output();
    assert!(
        log.contains("\"level\":\"trace\""),
        "the log is not talkative"
    );
    for secret in
        canaries
            .secrets
            .iter()
            .chain([&canaries.password, &canaries.email, &canaries.input])
    {
        let told = log.lines().find(|line| tells(line, secret));
        assert_eq!(told, None, "the log tells {secret}");
    }

    let dump = dump(&database).await;
    assert!(
        dump.contains(&canaries.email) && dump.contains(&canaries.input),
        "the dump is not whole"
    );
    for secret in canaries.secrets.iter().chain([&canaries.password]) {
        let kept = dump.lines().find(|line| tells(line, secret));
        assert_eq!(kept, None, "the database keeps {secret}");
    }
}

#[tokio::test]
async fn the_command_line_tells_a_secret_once_and_nowhere_else() {
    let database = Database::fresh().await;
    drop(Server::start(DEED, &database).await);
    let run = async |arguments: &[&str]| {
        let mut command = deed(DEED);
        command
            .args(arguments)
            .env("DATABASE_URL", database.url())
            .env("RUST_LOG", "trace");
        let mut process = Process::start(&mut command);
        assert!(process.ended(SOON).await.success(), "{}", process.output());
        process
    };
    run(&[
        "users",
        "create",
        "--email",
        "canary@example.com",
        "--name",
        "Canary",
    ])
    .await;
    let issued = run(&[
        "keys",
        "create",
        "--user",
        "canary@example.com",
        "--name",
        "k",
        "--scope",
        "keys:read",
    ])
    .await;
    let secret = issued.lines(deed_e2e::process::Output::Stdout).concat();
    assert!(secret.starts_with("deedk_"), "{secret}");
    assert_eq!(issued.output().matches(&secret).count(), 1);
    assert!(!dump(&database).await.contains(&secret));
}
