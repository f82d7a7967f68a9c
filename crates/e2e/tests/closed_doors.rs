//! Every operation of the document × everybody who may not.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use std::collections::BTreeSet;

use deed_e2e::client::{Answer, Client};
use deed_e2e::database::Database;
use deed_e2e::server::Server;
use deed_e2e::wait::{SOON, until};
use serde_json::{Value, json};

const DEED: &str = env!("CARGO_BIN_EXE_deed-under-test");
/// An id without a time: one that is too old would be told from one that never was.
const NOBODY: &str = "0198c0de-0000-4000-8000-000000000000";

/// Who gets in.
#[derive(Clone, Copy, PartialEq)]
enum Door {
    /// Anybody.
    Public,
    /// Any valid key.
    AnyKey,
    /// A key with this scope.
    Scope(&'static str),
    /// A key with this scope, or whoever the object is.
    ScopeOrMe(&'static str),
}

/// What `{id}` is in the path.
#[derive(Clone, Copy, PartialEq)]
enum Object {
    /// There is none, or it is nobody's.
    None,
    /// A user; the scopes of users reach everybody.
    User,
    /// A key: 404 with this code where it is another's.
    Key,
    /// An action.
    Action,
    /// An action that failed.
    Failed,
    /// One of the leases that the user's worker holds.
    Lease(usize),
}

struct Row {
    operation: &'static str,
    door: Door,
    object: Object,
    body: Option<fn() -> Value>,
}

const fn row(operation: &'static str, door: Door, object: Object) -> Row {
    Row {
        operation,
        door,
        object,
        body: None,
    }
}

const fn with(body: fn() -> Value, row: Row) -> Row {
    Row {
        body: Some(body),
        ..row
    }
}

fn new_user() -> Value {
    json!({"email": format!("{}@example.com", deed_e2e::unique()), "name": "New", "password": "correct horse"})
}

fn change() -> Value {
    json!({"name": "Changed"})
}

fn new_key() -> Value {
    json!({"name": "new", "scopes": ["keys:write"]})
}

fn wanted() -> Value {
    json!({"types": ["nothing-waits"], "worker": "door"})
}

fn ends() -> Value {
    json!({"items": [{"lease_id": "nobody's", "complete": {"output": null}}]})
}

fn one_lease() -> Value {
    json!({"lease_ids": ["nobodys"]})
}

fn chunk() -> Value {
    json!({"from_seq": 3, "events": [{"event": "message", "data": 1}]})
}

fn output() -> Value {
    json!({"output": 1})
}

fn failure() -> Value {
    json!({"error": {"code": "a", "message": "b"}, "retryable": false})
}

fn all_defaults() -> Value {
    json!({})
}

fn echo() -> Value {
    json!({"type": "echo", "input": {"text": "x"}})
}

fn batch() -> Value {
    json!({"actions": [echo(), echo()]})
}

/// Every operation. One that is in the document and not here fails the test, and so does one that is only here.
const MATRIX: [Row; 34] = [
    with(
        new_user,
        row("POST /users", Door::Scope("users:write"), Object::None),
    ),
    row("GET /users", Door::Scope("users:read"), Object::None),
    row("GET /users/me", Door::AnyKey, Object::None),
    row(
        "GET /users/{id}",
        Door::ScopeOrMe("users:read"),
        Object::User,
    ),
    with(
        change,
        row(
            "PATCH /users/{id}",
            Door::Scope("users:write"),
            Object::User,
        ),
    ),
    with(
        new_key,
        row("POST /api-keys", Door::Scope("keys:write"), Object::None),
    ),
    row("GET /api-keys", Door::Scope("keys:read"), Object::None),
    row("GET /api-keys/current", Door::AnyKey, Object::None),
    row("GET /api-keys/{id}", Door::Scope("keys:read"), Object::Key),
    row(
        "DELETE /api-keys/{id}",
        Door::Scope("keys:write"),
        Object::Key,
    ),
    row(
        "GET /action-types",
        Door::Scope("actions:read"),
        Object::None,
    ),
    row(
        "GET /action-types/{name}",
        Door::Scope("actions:read"),
        Object::None,
    ),
    with(
        all_defaults,
        row(
            "PUT /action-types/{name}",
            Door::Scope("types:write"),
            Object::None,
        ),
    ),
    // After the row above, which defines what this one removes.
    row(
        "DELETE /action-types/{name}",
        Door::Scope("types:write"),
        Object::None,
    ),
    with(
        echo,
        row("POST /actions", Door::Scope("actions:write"), Object::None),
    ),
    with(
        batch,
        row(
            "POST /actions/batch",
            Door::Scope("actions:write"),
            Object::None,
        ),
    ),
    row("GET /actions", Door::Scope("actions:read"), Object::None),
    row(
        "GET /actions/{id}",
        Door::Scope("actions:read"),
        Object::Action,
    ),
    row(
        "POST /actions/{id}/cancel",
        Door::Scope("actions:write"),
        Object::Action,
    ),
    row(
        "POST /actions/{id}/retry",
        Door::Scope("actions:write"),
        Object::Failed,
    ),
    row(
        "GET /actions/{id}/events",
        Door::Scope("actions:read"),
        Object::Action,
    ),
    row(
        "POST /actions/{id}/stream-ticket",
        Door::Scope("actions:read"),
        Object::Action,
    ),
    with(
        echo,
        row("POST /stream", Door::Scope("actions:write"), Object::None),
    ),
    with(
        wanted,
        row("POST /leases", Door::Scope("actions:work"), Object::None),
    ),
    with(
        one_lease,
        row(
            "POST /leases/heartbeat",
            Door::Scope("actions:work"),
            Object::None,
        ),
    ),
    with(
        ends,
        row(
            "POST /leases/finish",
            Door::Scope("actions:work"),
            Object::None,
        ),
    ),
    with(
        chunk,
        row(
            "POST /leases/{lease_id}/events",
            Door::Scope("actions:work"),
            Object::Lease(0),
        ),
    ),
    with(
        output,
        row(
            "POST /leases/{lease_id}/complete",
            Door::Scope("actions:work"),
            Object::Lease(0),
        ),
    ),
    with(
        failure,
        row(
            "POST /leases/{lease_id}/fail",
            Door::Scope("actions:work"),
            Object::Lease(1),
        ),
    ),
    with(
        all_defaults,
        row(
            "POST /leases/{lease_id}/release",
            Door::Scope("actions:work"),
            Object::Lease(2),
        ),
    ),
    row("GET /livez", Door::Public, Object::None),
    row("GET /readyz", Door::Public, Object::None),
    row("GET /openapi.json", Door::Public, Object::None),
    row("GET /problems/{code}", Door::Public, Object::None),
];

const SCOPES: [&str; 8] = [
    "users:read",
    "users:write",
    "keys:read",
    "keys:write",
    "actions:read",
    "actions:write",
    "types:write",
    "actions:work",
];

impl Row {
    async fn ask(&self, client: &Client, id: &str) -> Answer {
        let (method, path) = self.operation.split_once(' ').unwrap();
        let path = path
            .replace("{id}", id)
            .replace("{lease_id}", id)
            .replace("{name}", if method == "GET" { "echo" } else { "door" })
            .replace("{code}", "not_found");
        let request = client.request(method, &path);
        match self.body {
            Some(body) => request.json(&body()).send().await,
            None => request.send().await,
        }
    }

    fn is_public(&self) -> bool {
        self.door == Door::Public
    }
}

/// A user with a key that has every scope of the matrix, and one object of each kind.
struct Person {
    id: String,
    client: Client,
    key: String,
    action: String,
    failed: String,
    leases: Vec<String>,
}

impl Person {
    async fn new(server: &Server) -> Self {
        let root = server.root();
        let id = root.new_user().await;
        let issued = root
            .issue(&id, json!({"name": "all", "scopes": SCOPES}))
            .await;
        let client = root.with_key(issued["secret"].as_str().unwrap());
        let action = client.post("/actions", &echo()).send().await.json(201)["id"]
            .as_str()
            .unwrap()
            .to_owned();
        let failing = json!({"type": "echo", "input": {"text": "x", "fail_at": 1}});
        let failed = client.post("/actions", &failing).send().await.json(201)["id"]
            .as_str()
            .unwrap()
            .to_owned();
        let leases = leases(&client).await;
        // One that nobody uses: revoking it harms nothing.
        let spare = root
            .issue(&id, json!({"name": "spare", "scopes": ["users:read"]}))
            .await;
        Self {
            id,
            client,
            key: spare["id"].as_str().unwrap().to_owned(),
            action,
            failed,
            leases,
        }
    }

    fn object(&self, kind: Object) -> &str {
        match kind {
            Object::None | Object::User => &self.id,
            Object::Key => &self.key,
            Object::Action => &self.action,
            Object::Failed => &self.failed,
            Object::Lease(number) => &self.leases[number],
        }
    }
}

/// Three leases on actions of a type of their own.
async fn leases(client: &Client) -> Vec<String> {
    let name = format!("door-{}", deed_e2e::unique());
    let put = client.request("PUT", &format!("/action-types/{name}"));
    put.json(&json!({})).send().await.json(201);
    for _ in 0..3 {
        let body = json!({"type": name, "input": null});
        let request = client.post("/actions", &body);
        let asked = request.header("Prefer", "respond-async").send().await;
        asked.json(202);
    }
    let body = json!({"types": [name], "worker": "door", "max": 3, "lease_seconds": 600});
    let granted = client.post("/leases", &body).send().await.json(200);
    let granted = granted["leases"].as_array().unwrap().clone();
    assert_eq!(granted.len(), 3);
    let id = |lease: &Value| lease["lease_id"].as_str().unwrap().to_owned();
    granted.iter().map(id).collect()
}

/// But for what differs from request to request.
fn without_particulars(answer: &Answer) -> Value {
    let mut problem: Value = serde_json::from_str(&answer.body).unwrap();
    let members = problem.as_object_mut().unwrap();
    members.remove("request_id").unwrap();
    members.remove("instance").unwrap();
    problem
}

#[tokio::test]
async fn the_matrix_is_the_document() {
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    let document = server
        .anonymous()
        .get("/openapi.json")
        .send()
        .await
        .json(200);
    let mut documented = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if method == "parameters" || method == "head" {
                continue;
            }
            let name = format!("{} {path}", method.to_uppercase());
            let Some(row) = MATRIX.iter().find(|row| row.operation == name) else {
                panic!("{name} has no row in the matrix");
            };
            let is_open = operation["security"].as_array().is_none_or(|security| {
                security.is_empty()
                    || security
                        .iter()
                        .any(|one| one.as_object().unwrap().is_empty())
            });
            let may_be_open = row.is_public() || name == "POST /users";
            assert!(may_be_open || !is_open, "{name} is documented as open");
            documented.insert(name);
        }
    }
    let matrix: BTreeSet<String> = MATRIX.iter().map(|row| row.operation.to_owned()).collect();
    assert_eq!(matrix, documented);
}

#[tokio::test]
async fn without_a_valid_key_every_door_looks_the_same() {
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    let root = server.root();
    let person = Person::new(&server).await;

    let revoked = root
        .issue(&person.id, json!({"name": "revoked", "scopes": SCOPES}))
        .await;
    let path = format!("/api-keys/{}", revoked["id"].as_str().unwrap());
    assert_eq!(root.request("DELETE", &path).send().await.status, 204);
    let revoked = revoked["secret"].as_str().unwrap();

    let now: chrono::DateTime<chrono::Utc> = root.get(&path).send().await.json(200)["revoked_at"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    let expires_at = now + chrono::TimeDelta::seconds(2);
    let expired = root
        .issue(
            &person.id,
            json!({"name": "expired", "scopes": SCOPES, "expires_at": expires_at}),
        )
        .await;
    let expired = expired["secret"].as_str().unwrap();
    until(SOON, async || {
        let answer = root.with_key(expired).get("/users/me").send().await;
        if answer.status == 401 {
            Ok(())
        } else {
            Err(answer)
        }
    })
    .await;

    let disabled = Person::new(&server).await;
    let disable = root
        .request("PATCH", &format!("/users/{}", disabled.id))
        .json(&json!({"status": "disabled"}));
    disable.send().await.json(200);

    let unknown = "deedk_000000000000000000000000000000_000000";
    let anybody = server.anonymous();
    let callers = [
        ("no key", anybody.clone()),
        ("an empty key", anybody.with_key("")),
        ("a malformed key", anybody.with_key("letmein")),
        ("an unknown key", anybody.with_key(unknown)),
        ("a revoked key", anybody.with_key(revoked)),
        ("an expired key", anybody.with_key(expired)),
        ("a disabled user's key", disabled.client.clone()),
        (
            "two different keys",
            person
                .client
                .with_header("Authorization", &format!("Bearer {unknown}")),
        ),
        (
            "another scheme",
            anybody.with_header("Authorization", "Basic ZGVlZDpkZWVk"),
        ),
        (
            "no key for a user",
            anybody.with_header("X-User-ID", &person.id),
        ),
        (
            "a bad key for a user",
            anybody
                .with_key(unknown)
                .with_header("X-User-ID", &person.id),
        ),
    ];
    for row in &MATRIX {
        let mut first: Option<Value> = None;
        for (who, client) in &callers {
            let answer = row.ask(client, person.object(row.object)).await;
            let what = format!("{} with {who}: {}", row.operation, answer.body);
            if row.is_public() {
                assert_eq!(answer.status, 200, "{what}");
                continue;
            }
            assert_eq!(answer.status, 401, "{what}");
            answer.problem(401, "invalid_api_key");
            assert_eq!(
                answer.header("www-authenticate"),
                "Bearer realm=\"deed\"",
                "{what}"
            );
            let body = without_particulars(&answer);
            assert_eq!(*first.get_or_insert(body.clone()), body, "{what}");
        }
    }
}

#[tokio::test]
async fn without_its_scope_a_key_opens_nothing() {
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    let root = server.root();
    let person = Person::new(&server).await;
    let other = Person::new(&server).await;
    for row in &MATRIX {
        let (Door::Scope(scope) | Door::ScopeOrMe(scope)) = row.door else {
            continue;
        };
        let all_others: Vec<&str> = SCOPES.into_iter().filter(|other| *other != scope).collect();
        let lacking = root.new_key(&person.id, &all_others).await;
        // "Or it is me" is no way to others.
        let (object, code) = match row.door {
            Door::ScopeOrMe(_) => (other.object(row.object), None),
            _ => (person.object(row.object), Some(scope)),
        };
        let answer = row.ask(&lacking, object).await;
        match code {
            Some(scope) => {
                let problem = answer.problem(403, "insufficient_scope");
                assert!(
                    problem["message"].as_str().unwrap().contains(scope),
                    "{}: {problem}",
                    row.operation
                );
            }
            None => assert!(
                [403, 404].contains(&answer.status),
                "{}: {}",
                row.operation,
                answer.body
            ),
        }
        let mine = row.ask(&person.client, person.object(row.object)).await;
        assert!(
            (200..300).contains(&mine.status),
            "{}: {}",
            row.operation,
            mine.body
        );
    }
}

#[tokio::test]
async fn what_is_another_users_does_not_exist() {
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    let person = Person::new(&server).await;
    let other = Person::new(&server).await;
    let before = other
        .client
        .get(&format!("/actions/{}", other.action))
        .send()
        .await
        .body;
    for row in MATRIX
        .iter()
        .filter(|row| [Object::Key, Object::Action, Object::Failed].contains(&row.object))
    {
        let foreign = row.ask(&person.client, other.object(row.object)).await;
        let missing = row.ask(&person.client, NOBODY).await;
        assert_eq!(foreign.status, 404, "{}: {}", row.operation, foreign.body);
        assert_eq!(
            without_particulars(&foreign),
            without_particulars(&missing),
            "{}",
            row.operation
        );
        let malformed = row.ask(&person.client, "1").await;
        malformed.problem(400, "validation_failed");
    }
    assert_eq!(
        other
            .client
            .get(&format!("/actions/{}", other.action))
            .send()
            .await
            .body,
        before
    );
    let key = other
        .client
        .get(&format!("/api-keys/{}", other.key))
        .send()
        .await
        .json(200);
    assert_eq!(key["revoked_at"], Value::Null, "nobody else can revoke it");
    for (path, mine) in [("/actions", &person.action), ("/api-keys", &person.key)] {
        let page = person.client.get(path).send().await.body;
        assert!(page.contains(mine.as_str()), "{page}");
        assert!(!page.contains(other.id.as_str()), "{page}");
    }
}

#[tokio::test]
async fn a_scope_that_is_narrowed_reaches_its_types_only() {
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    let root = server.root();
    let person = Person::new(&server).await;
    let narrow = root
        .new_key(&person.id, &["actions:read:wait", "actions:write:wait"])
        .await;
    narrow
        .post("/actions", &echo())
        .send()
        .await
        .problem(403, "insufficient_scope");
    narrow
        .get(&format!("/actions/{}", person.action))
        .send()
        .await
        .problem(404, "action_not_found");
    let cancel = narrow.request("POST", &format!("/actions/{}/cancel", person.action));
    cancel.send().await.problem(404, "action_not_found");
    let page = narrow.get("/actions").send().await.json(200);
    assert_eq!(page["items"], json!([]));
    let wait = narrow
        .post(
            "/actions",
            &json!({"type": "wait", "input": {"seconds": 0}}),
        )
        .send()
        .await
        .json(201);
    narrow
        .get(&format!("/actions/{}", wait["id"].as_str().unwrap()))
        .send()
        .await
        .json(200);
}
