//! What a new user of the server does on the first day: users, keys, actions, lists, mistakes.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use std::collections::HashSet;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use deed_e2e::client::Client;
use deed_e2e::database::Database;
use deed_e2e::server::Server;
use deed_e2e::unique;
use deed_e2e::wait::{SOON, until};
use futures_util::future::join_all;
use serde_json::{Value, json};

const DEED: &str = env!("CARGO_BIN_EXE_deed-under-test");
const ACTIONS: [&str; 2] = ["actions:read", "actions:write"];

async fn over(client: &Client, id: &str) -> Value {
    until(SOON, async || {
        let action = client.get(&format!("/actions/{id}")).send().await.json(200);
        let is_over =
            ["succeeded", "failed", "cancelled"].contains(&action["status"].as_str().unwrap());
        if is_over { Ok(action) } else { Err(action) }
    })
    .await
}

async fn status(client: &Client, id: &str, wanted: &str) {
    until(SOON, async || {
        let action = client.get(&format!("/actions/{id}")).send().await.json(200);
        if action["status"] == wanted {
            Ok(())
        } else {
            Err(action)
        }
    })
    .await;
}

/// Submits without waiting, and answers the action as it was accepted.
async fn submit(client: &Client, body: Value) -> Value {
    client
        .post("/actions", &body)
        .header("Prefer", "respond-async")
        .send()
        .await
        .json(202)
}

fn time(value: &Value) -> DateTime<Utc> {
    value.as_str().unwrap().parse().unwrap()
}

fn id(value: &Value) -> &str {
    value["id"].as_str().unwrap()
}

#[tokio::test]
async fn users_are_registered_found_and_changed() {
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    let root = server.root();
    let body = json!({"email": "Ada@Example.com", "name": "Ada", "password": "correct horse", "external_id": "crm-1"});
    let answer = root.post("/users", &body).send().await;
    let user = answer.json(201);
    let path = format!("/users/{}", id(&user));
    assert_eq!(answer.header("location"), path);
    assert_eq!(
        (&user["email"], &user["status"]),
        (&json!("Ada@Example.com"), &json!("active"))
    );
    assert!(user.get("password").is_none() && !answer.body.contains("argon2"));

    let same_address =
        json!({"email": "ada@example.COM", "name": "Eve", "password": "battery staple"});
    root.post("/users", &same_address)
        .send()
        .await
        .problem(409, "user_already_exists");
    let same_external_id = json!({"email": "eve@example.com", "name": "Eve", "password": "battery staple", "external_id": "crm-1"});
    root.post("/users", &same_external_id)
        .send()
        .await
        .problem(409, "external_id_taken");

    assert_eq!(root.get(&path).send().await.json(200), user);
    for filter in ["email=ADA@example.com", "external_id=crm-1"] {
        let page = root.get(&format!("/users?{filter}")).send().await.json(200);
        assert_eq!(page["items"], json!([user]), "{filter}");
    }
    let none = root.get("/users?status=disabled").send().await.json(200);
    assert_eq!(none, json!({"items": [], "next_cursor": null}));

    let patch = root.request("PATCH", &path).text(
        "application/merge-patch+json",
        r#"{"name":"Ada L.","external_id":null}"#,
    );
    let changed = patch.send().await.json(200);
    assert_eq!(
        (&changed["name"], &changed["external_id"]),
        (&json!("Ada L."), &Value::Null)
    );
    assert!(time(&changed["updated_at"]) > time(&user["updated_at"]));
    assert_eq!(changed["created_at"], user["created_at"]);
}

#[tokio::test]
async fn a_key_shows_its_secret_once_and_ends_when_it_is_revoked() {
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    let root = server.root();
    let user = root.new_user().await;
    let admin = root
        .new_key(&user, &["keys:read", "keys:write", "actions:read"])
        .await;

    let answer = admin
        .post(
            "/api-keys",
            &json!({"name": "reader", "scopes": ["actions:read"]}),
        )
        .send()
        .await;
    let issued = answer.json(201);
    let secret = issued["secret"].as_str().unwrap().to_owned();
    assert!(
        secret.starts_with("deedk_") && secret.len() == 43,
        "{}",
        secret.len()
    );
    let path = format!("/api-keys/{}", id(&issued));
    assert_eq!(answer.header("location"), path);

    let shown = admin.get(&path).send().await;
    assert!(!shown.body.contains("secret"), "{}", shown.body);
    let list = admin.get("/api-keys").send().await;
    assert_eq!(list.json(200)["items"].as_array().unwrap().len(), 2);
    assert!(!list.body.contains("deedk_"));

    let reader = server.anonymous().with_key(&secret);
    let current = reader.get("/api-keys/current").send().await.json(200);
    assert_eq!(
        (id(&current), &current["scopes"]),
        (id(&issued), &json!(["actions:read"]))
    );
    let me = reader.get("/users/me").send().await.json(200);
    assert_eq!(
        (id(&me), &me["scopes"]),
        (user.as_str(), &json!(["actions:read"]))
    );
    reader
        .get("/actions")
        .header("Authorization", &format!("Bearer {secret}"))
        .send()
        .await
        .json(200);

    let too_much = json!({"name": "more", "scopes": ["actions:read", "users:write"]});
    let refused = admin
        .post("/api-keys", &too_much)
        .send()
        .await
        .problem(403, "insufficient_scope");
    assert!(refused["message"].as_str().unwrap().contains("users:write"));

    let revoked = admin.request("DELETE", &path).send().await;
    assert_eq!((revoked.status, revoked.body.as_str()), (204, ""));
    reader
        .get("/actions")
        .send()
        .await
        .problem(401, "invalid_api_key");
    assert!(admin.get(&path).send().await.json(200)["revoked_at"].is_string());
}

#[tokio::test]
async fn an_action_is_performed_while_its_caller_waits() {
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    let client = server.user(&ACTIONS).await;
    let answer = client
        .post(
            "/actions",
            &json!({"type": "echo", "input": {"text": "one two"}}),
        )
        .send()
        .await;
    let action = answer.json(201);
    assert_eq!(
        answer.header("location"),
        format!("/actions/{}", id(&action))
    );
    assert_eq!(
        (&action["status"], &action["output"]),
        (&json!("succeeded"), &json!({"text": "one two"}))
    );
    assert_eq!(
        (&action["attempt"], &action["priority"], &action["error"]),
        (&json!(1), &json!(5), &Value::Null)
    );
    assert!(time(&action["finished_at"]) >= time(&action["started_at"]));
    assert_eq!(
        client.get(answer.header("location")).send().await.json(200),
        action
    );
}

#[tokio::test]
async fn payloads_come_back_as_they_came() {
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    let client = server.user(&ACTIONS).await;
    let input = r#"{"z":1.10,"a":12345678901234567890123,"text":"\u0000 \ud83d\ude00 é","e":1E300,"nested":{"b":[],"a":{}}}"#;
    let body = format!(r#"{{"type":"echo","input":{input}}}"#);
    let answer = client
        .request("POST", "/actions")
        .text("application/json", body)
        .send()
        .await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    assert!(
        answer.body.contains(&format!(r#""input":{input}"#)),
        "{}",
        answer.body
    );
    assert!(
        answer.body.contains(&format!(r#""output":{input}"#)),
        "{}",
        answer.body
    );
}

#[tokio::test]
async fn who_prefers_so_is_answered_at_once_or_after_a_while() {
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    let client = server.user(&ACTIONS).await;
    let body = json!({"type": "wait", "input": {"seconds": 3}});

    let answer = client
        .post("/actions", &body)
        .header("Prefer", "respond-async")
        .send()
        .await;
    let action = answer.json(202);
    assert_eq!(answer.header("preference-applied"), "respond-async");
    assert!(
        ["queued", "running"].contains(&action["status"].as_str().unwrap()),
        "{action}"
    );

    let start = Instant::now();
    let answer = client
        .post("/actions", &body)
        .header("Prefer", "wait=1")
        .send()
        .await;
    assert_eq!(answer.json(202)["status"], "running");
    assert_eq!(answer.header("preference-applied"), "wait=1");
    let waited = start.elapsed();
    assert!(
        waited >= Duration::from_secs(1) && waited < Duration::from_millis(2900),
        "{waited:?}"
    );

    let ended = over(&client, id(&action)).await;
    assert_eq!(ended["status"], "succeeded");
    assert!(time(&ended["finished_at"]) - time(&ended["started_at"]) >= TimeDelta::seconds(3));
}

#[tokio::test]
async fn a_scheduled_action_waits_for_its_time() {
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    let client = server.user(&ACTIONS).await;
    let now = time(
        &submit(&client, json!({"type": "echo", "input": {"text": "now"}})).await["created_at"],
    );
    let run_at = now + TimeDelta::seconds(2);
    let answer = client
        .post(
            "/actions",
            &json!({"type": "echo", "input": {"text": "later"}, "run_at": run_at}),
        )
        .send()
        .await;
    let action = answer.json(202);
    assert_eq!(action["status"], "scheduled");
    assert_eq!(time(&action["run_at"]), run_at);
    let ended = over(&client, id(&action)).await;
    assert!(time(&ended["started_at"]) >= run_at, "{ended}");
    assert!(
        time(&ended["started_at"]) < run_at + TimeDelta::seconds(5),
        "{ended}"
    );

    let too_far =
        json!({"type": "echo", "input": {"text": "x"}, "run_at": now + TimeDelta::days(400)});
    let problem = client
        .post("/actions", &too_far)
        .send()
        .await
        .problem(400, "validation_failed");
    assert_eq!(problem["errors"][0]["pointer"], "#/run_at");
}

#[tokio::test]
async fn the_urgent_goes_first() {
    let database = Database::fresh().await;
    let server = Server::setup(&database).runner_slots(1).start(DEED).await;
    let client = server.user(&ACTIONS).await;
    let busy = submit(&client, json!({"type": "wait", "input": {"seconds": 2}})).await;
    status(&client, id(&busy), "running").await;
    let mut started = Vec::new();
    let mut submitted = Vec::new();
    for priority in [9, 5, 0, 5] {
        let body = json!({"type": "echo", "input": {"text": "x"}, "priority": priority});
        submitted.push((priority, submit(&client, body).await));
    }
    for (priority, action) in &submitted {
        started.push((
            time(&over(&client, id(action)).await["started_at"]),
            *priority,
        ));
    }
    started.sort_unstable();
    let order: Vec<i32> = started.into_iter().map(|(_, priority)| priority).collect();
    assert_eq!(order, [0, 5, 5, 9]);
}

#[tokio::test]
async fn the_same_request_again_is_the_same_action() {
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    let client = server.user(&ACTIONS).await;
    let key = unique();
    let body = json!({"type": "echo", "input": {"text": "once"}});
    let send = async |body: &Value| {
        let request = client.post("/actions", body).header("Prefer", "wait=10");
        request.header("Idempotency-Key", &key).send().await
    };
    let answers = join_all((0..8).map(|_| send(&body))).await;
    let ids: HashSet<String> = answers
        .iter()
        .map(|answer| id(&answer.json(201)).to_owned())
        .collect();
    assert_eq!(ids.len(), 1, "{ids:?}");
    let replays = answers
        .iter()
        .filter(|answer| answer.header("idempotency-replayed") == "true")
        .count();
    assert_eq!(replays, 7);
    let list = client.get("/actions").send().await.json(200);
    assert_eq!(list["items"].as_array().unwrap().len(), 1);

    send(&json!({"type": "echo", "input": {"text": "twice"}}))
        .await
        .problem(422, "idempotency_key_reused");
    let another = server.user(&ACTIONS).await;
    let other = another
        .post("/actions", &body)
        .header("Idempotency-Key", &key)
        .send()
        .await
        .json(201);
    assert!(!ids.contains(id(&other)), "a key is its caller's own");

    let user = json!({"email": "idem@example.com", "name": "I", "password": "correct horse"});
    let register = async || {
        server
            .root()
            .post("/users", &user)
            .header("Idempotency-Key", "\"quoted\"")
            .send()
            .await
    };
    let (first, second) = (register().await, register().await);
    assert_eq!(first.json(201), second.json(201));
    assert_eq!(
        (
            first.header("idempotency-replayed"),
            second.header("idempotency-replayed")
        ),
        ("", "true")
    );
}

#[tokio::test]
async fn lists_go_on_where_they_stopped() {
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    let client = server.user(&ACTIONS).await;
    let mut submitted = Vec::new();
    for n in 0..5 {
        let body = json!({"type": "echo", "input": {"text": n.to_string()}});
        submitted.push(id(&client.post("/actions", &body).send().await.json(201)).to_owned());
    }
    submitted.reverse();
    let mut seen = Vec::new();
    let mut path = "/actions?limit=2&status=succeeded".to_owned();
    let mut cursor = Value::Null;
    for expected in [2, 2, 1] {
        let answer = client.get(&path).send().await;
        let page = answer.json(200);
        let items = page["items"].as_array().unwrap();
        assert_eq!(items.len(), expected);
        assert!(
            items
                .iter()
                .all(|item| item.get("input").is_none() && item.get("output").is_none())
        );
        seen.extend(items.iter().map(|item| id(item).to_owned()));
        cursor = page["next_cursor"].clone();
        let link = answer.header("link");
        assert_eq!(link.is_empty(), cursor.is_null());
        if let Some(next) = link.strip_prefix('<').and_then(|link| link.split_once('>')) {
            assert_eq!(next.1, "; rel=\"next\"");
            next.0.clone_into(&mut path);
            assert!(path.contains(cursor.as_str().unwrap()), "{path}");
        }
    }
    assert_eq!(seen, submitted);
    assert!(cursor.is_null());

    let page = client.get("/actions?limit=1").send().await.json(200);
    let cursor = page["next_cursor"].as_str().unwrap();
    let other = server.user(&ACTIONS).await;
    client
        .get(&format!("/actions?limit=3&cursor={cursor}"))
        .send()
        .await
        .json(200);
    for (who, path) in [
        (
            &client,
            format!("/actions?limit=1&status=failed&cursor={cursor}"),
        ),
        (&client, format!("/actions?limit=1&cursor={cursor}A")),
        (
            &client,
            format!(
                "/actions?limit=1&cursor={}",
                cursor.chars().rev().collect::<String>()
            ),
        ),
        (&client, "/actions?limit=1&cursor=x".to_owned()),
        (&other, format!("/actions?limit=1&cursor={cursor}")),
    ] {
        who.get(&path).send().await.problem(400, "invalid_cursor");
    }
    for limit in ["0", "201", "-1", "x"] {
        let problem = client
            .get(&format!("/actions?limit={limit}"))
            .send()
            .await
            .problem(400, "validation_failed");
        assert_eq!(problem["errors"][0]["parameter"], "limit", "{problem}");
    }
    client.get("/actions?limit=200").send().await.json(200);
    client
        .get("/actions?colour=red")
        .send()
        .await
        .problem(400, "validation_failed");
}

#[tokio::test]
async fn actions_are_cancelled_wherever_they_are() {
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    let client = server.user(&ACTIONS).await;
    let cancel = async |id: &str| {
        client
            .request("POST", &format!("/actions/{id}/cancel"))
            .send()
            .await
    };

    let now = time(
        &submit(&client, json!({"type": "echo", "input": {"text": "now"}})).await["created_at"],
    );
    let waiting = submit(
        &client,
        json!({"type": "echo", "input": {"text": "x"}, "run_at": now + TimeDelta::hours(1)}),
    )
    .await;
    assert_eq!(cancel(id(&waiting)).await.json(200)["status"], "cancelled");
    assert_eq!(
        cancel(id(&waiting)).await.json(200)["status"],
        "cancelled",
        "again is the same"
    );

    let running = submit(&client, json!({"type": "wait", "input": {"seconds": 60}})).await;
    status(&client, id(&running), "running").await;
    let start = Instant::now();
    let asked = cancel(id(&running)).await;
    assert!([200, 202].contains(&asked.status), "{}", asked.body);
    let ended = over(&client, id(&running)).await;
    assert_eq!(
        (&ended["status"], &ended["output"], &ended["error"]),
        (&json!("cancelled"), &Value::Null, &Value::Null)
    );
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );

    let done = client
        .post("/actions", &json!({"type": "echo", "input": {"text": "x"}}))
        .send()
        .await
        .json(201);
    assert_eq!(
        cancel(id(&done)).await.json(200),
        done,
        "what is over stays as it is"
    );
}

#[tokio::test]
async fn an_action_that_fails_says_why() {
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    let client = server.user(&ACTIONS).await;
    let body = json!({"type": "echo", "input": {"text": "a b c", "fail_at": 2}});
    let action = client.post("/actions", &body).send().await.json(201);
    assert_eq!(
        (&action["status"], &action["output"], &action["attempt"]),
        (&json!("failed"), &Value::Null, &json!(1))
    );
    assert!(
        action["error"]["code"].is_string() && action["error"]["message"].is_string(),
        "{action}"
    );
}

#[tokio::test]
async fn mistakes_are_told_so_that_they_can_be_mended() {
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    let root = server.root();
    let client = server.user(&ACTIONS).await;
    let post = async |path: &str, body: &str| {
        root.request("POST", path)
            .text("application/json", body)
            .send()
            .await
    };

    let problem = post(
        "/users",
        r#"{"email":"nobody","name":"","password":"short"}"#,
    )
    .await
    .problem(400, "validation_failed");
    let pointers: HashSet<&str> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["pointer"].as_str().unwrap())
        .collect();
    assert_eq!(
        pointers,
        HashSet::from(["#/email", "#/name", "#/password"]),
        "all broken limits together"
    );
    let problem = post(
        "/users",
        r#"{"email":"a@example.com","name":"A","password":"correct horse","admin":true}"#,
    )
    .await;
    assert_eq!(
        problem.problem(400, "validation_failed")["errors"][0]["pointer"],
        "#/admin"
    );
    post("/users", r#"{"email":"#)
        .await
        .problem(400, "malformed_json");
    post("/users", &format!("\"{}\"", "x".repeat(70_000)))
        .await
        .problem(413, "body_too_large");
    let plain = root
        .request("POST", "/users")
        .text("text/plain", "{}")
        .send()
        .await;
    plain.problem(415, "unsupported_media_type");

    let wrong = client
        .post("/actions", &json!({"type": "echo", "input": {"text": 7}}))
        .send()
        .await;
    assert_eq!(
        wrong.problem(400, "validation_failed")["errors"][0]["pointer"],
        "#/input/text"
    );
    let unknown = client
        .post("/actions", &json!({"type": "no.such", "input": {}}))
        .send()
        .await;
    unknown.problem(400, "unknown_action_type");
    let twice = r#"{"type":"echo","input":{"text":"a","text":"b"}}"#;
    client
        .request("POST", "/actions")
        .text("application/json", twice)
        .send()
        .await
        .problem(400, "validation_failed");
    let deep = format!(
        r#"{{"type":"echo","input":{{"text":"a","x":{}{}}}}}"#,
        "[".repeat(200),
        "]".repeat(200)
    );
    client
        .request("POST", "/actions")
        .text("application/json", deep)
        .send()
        .await
        .problem(400, "validation_failed");

    root.post("/actions", &json!({"type": "echo", "input": {"text": "x"}}))
        .send()
        .await
        .problem(400, "user_required");
    root.get("/users/not-an-id")
        .send()
        .await
        .problem(400, "validation_failed");
    root.get("/nothing/here")
        .send()
        .await
        .problem(404, "not_found");
    root.get("/users/").send().await.problem(404, "not_found");
    let method = root.request("PUT", "/users").send().await;
    method.problem(405, "method_not_allowed");
    let allowed: HashSet<&str> = method.header("allow").split(',').map(str::trim).collect();
    assert!(
        allowed.is_superset(&HashSet::from(["GET", "POST"])),
        "{allowed:?}"
    );
    root.get(&format!("/users?email={}", "x".repeat(9000)))
        .send()
        .await
        .problem(414, "target_too_long");
}

#[tokio::test]
async fn every_answer_bears_a_request_id() {
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    let root = server.root();
    assert_eq!(
        root.get("/users")
            .header("X-Request-Id", "mine-1")
            .send()
            .await
            .header("x-request-id"),
        "mine-1"
    );
    let too_long = "x".repeat(129);
    for wrong in [too_long.as_str(), "with space", ""] {
        let answer = root
            .get("/nothing")
            .header("X-Request-Id", wrong)
            .send()
            .await;
        let given = answer.header("x-request-id");
        assert!(!given.is_empty() && given != wrong, "{given}");
        answer.problem(404, "not_found");
    }
    for header in ["x-request-id", "cache-control", "x-content-type-options"] {
        assert!(
            !root.get("/users").send().await.header(header).is_empty(),
            "{header}"
        );
    }
}

#[tokio::test]
async fn the_operator_acts_for_others_and_nobody_else_does() {
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    let root = server.root();
    let (ada, eve) = (root.new_user().await, root.new_user().await);
    let body = json!({"type": "echo", "input": {"text": "for ada"}});
    let action = root
        .post("/actions", &body)
        .header("X-User-ID", &ada)
        .send()
        .await
        .json(201);
    assert_eq!(
        (&action["user_id"], &action["api_key_id"]),
        (&json!(ada), &Value::Null)
    );

    let eves = root.new_key(&eve, &ACTIONS).await;
    eves.get("/actions")
        .header("X-User-ID", &eve)
        .send()
        .await
        .json(200);
    eves.get("/actions")
        .header("X-User-ID", &ada)
        .send()
        .await
        .problem(403, "act_as_not_allowed");
    eves.get("/actions")
        .header("X-User-ID", "ada")
        .send()
        .await
        .problem(400, "validation_failed");
    eves.get(&format!("/actions/{}", id(&action)))
        .send()
        .await
        .problem(404, "action_not_found");

    let deputy = root.new_key(&eve, &["actions:read", "users:act_as"]).await;
    let seen = deputy
        .get("/actions")
        .header("X-User-ID", &ada)
        .send()
        .await
        .json(200);
    assert_eq!(id(&seen["items"][0]), id(&action));
    let nobody = "0198c0de-0000-7000-8000-000000000000";
    deputy
        .get("/actions")
        .header("X-User-ID", nobody)
        .send()
        .await
        .problem(404, "user_not_found");

    let disable = root
        .request("PATCH", &format!("/users/{ada}"))
        .json(&json!({"status": "disabled"}));
    disable.send().await.json(200);
    deputy
        .get("/actions")
        .header("X-User-ID", &ada)
        .send()
        .await
        .problem(403, "user_disabled");
    let everybody = root.get("/actions").send().await.json(200);
    assert_eq!(
        everybody["items"].as_array().unwrap().len(),
        1,
        "the root key sees everybody's"
    );
}

#[tokio::test]
async fn registration_is_open_only_where_the_operator_says_so() {
    let database = Database::fresh().await;
    let closed = Server::start(DEED, &database).await;
    let open = Server::setup(&database)
        .environment("DEED_OPEN_REGISTRATION", "true")
        .start(DEED)
        .await;
    let body = json!({"email": "new@example.com", "name": "New", "password": "correct horse"});
    closed
        .anonymous()
        .post("/users", &body)
        .send()
        .await
        .problem(401, "invalid_api_key");
    open.anonymous()
        .post("/users", &body)
        .send()
        .await
        .json(201);
    open.anonymous()
        .with_key("wrong")
        .post("/users", &body)
        .send()
        .await
        .problem(401, "invalid_api_key");
}

#[tokio::test]
async fn the_interface_describes_itself() {
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    let anybody = server.anonymous();
    assert_eq!(anybody.get("/livez").send().await.json(200)["status"], "ok");
    assert_eq!(
        anybody.get("/readyz").send().await.json(200)["status"],
        "ok"
    );

    let answer = anybody.get("/openapi.json").send().await;
    let document = answer.json(200);
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let etag = answer.header("etag").to_owned();
    let again = anybody
        .get("/openapi.json")
        .header("If-None-Match", &etag)
        .send()
        .await;
    assert_eq!((again.status, again.body.as_str()), (304, ""));

    let page = anybody.get("/problems/validation_failed").send().await;
    assert_eq!(page.status, 200);
    assert!(page.body.contains("pointer"), "{}", page.body);
    anybody
        .get("/problems/no_such_code")
        .send()
        .await
        .problem(404, "not_found");

    let docs = anybody.get("/docs").send().await;
    assert_eq!(docs.status, 200);
    assert!(
        docs.header("content-type").starts_with("text/html"),
        "{:?}",
        docs.headers
    );
    assert!(
        !docs.body.contains("https://"),
        "nothing is loaded from elsewhere: {}",
        docs.body
    );

    let head = server.root().request("HEAD", "/users").send().await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

#[tokio::test]
async fn the_types_are_listed_with_their_schemas() {
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    let client = server.user(&["actions:read"]).await;
    let types = client.get("/action-types").send().await.json(200);
    let names: Vec<&str> = types["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["echo", "wait"]);
    let echo = client.get("/action-types/echo").send().await.json(200);
    assert_eq!(echo, types["items"][0]);
    assert_eq!(
        (&echo["performed_by"], &echo["max_attempts"]),
        (&json!("handler"), &json!(3))
    );
    assert_eq!(echo["input_schema"]["required"], json!(["text"]));
    client
        .get("/action-types/nothing")
        .send()
        .await
        .problem(404, "action_type_not_found");
}
