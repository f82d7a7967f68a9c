//! Requests that depend on what their client has seen.

use deed_e2e::client::{Answer, Client};
use deed_e2e::database::Database;
use deed_e2e::server::Server;
use futures_util::future::{join, join_all};
use serde_json::{Value, json};

const DEED: &str = env!("CARGO_BIN_EXE_deed-under-test");

async fn patch(client: &Client, path: &str, tag: &str, name: &str) -> Answer {
    let request = client.request("PATCH", path).header("If-Match", tag);
    request.json(&json!({ "name": name })).send().await
}

/// Of two replicas' clients that change what both have read, one is told that it comes too late.
#[tokio::test]
async fn of_many_who_have_read_the_same_one_changes_it() {
    let database = Database::fresh().await;
    let servers = [
        Server::start(DEED, &database).await,
        Server::start(DEED, &database).await,
    ];
    let roots = servers.each_ref().map(Server::root);
    let body = json!({"email": "ada@example.com", "name": "Ada", "password": "correct horse"});
    let created = roots[0].post("/users", &body).send().await;
    let user = created.json(201);
    let path = format!("/users/{}", user["id"].as_str().unwrap());
    let mut tag = created.header("etag").to_owned();
    for round in 0..5 {
        let tries = (0..8).map(|n| {
            let (root, path, tag) = (&roots[n % 2], &path, &tag);
            async move { patch(root, path, tag, &format!("N{round}-{n}")).await }
        });
        let answers = join_all(tries).await;
        let made: Vec<&Answer> = answers
            .iter()
            .filter(|answer| answer.status == 200)
            .collect();
        assert_eq!(made.len(), 1, "{round}");
        for answer in answers.iter().filter(|answer| answer.status != 200) {
            assert_eq!(answer.json(412)["error"], "precondition_failed");
        }
        let found = roots[1].get(&path).send().await;
        assert_eq!(found.json(200), made[0].json(200));
        assert_ne!(found.header("etag"), tag.as_str());
        tag = found.header("etag").to_owned();
        let same = roots[0]
            .get(&path)
            .header("If-None-Match", &tag)
            .send()
            .await;
        assert_eq!(same.status, 304);
    }
}

/// The one who waits hears of each change from another replica's worker, and of the end.
#[tokio::test]
async fn who_waits_is_answered_with_the_next_change() {
    let database = Database::fresh().await;
    let servers = [
        Server::start(DEED, &database).await,
        Server::start(DEED, &database).await,
    ];
    let root = servers[0].root();
    let scopes = ["actions:read", "actions:write", "actions:work"];
    let client = servers[0].user(&scopes).await;
    let other = client.at(&format!("http://{}", servers[1].address()));
    let define = root.request("PUT", "/action-types/report").json(&json!({}));
    define.send().await.json(201);
    let ask = client.post("/actions", &json!({"type": "report", "input": 1}));
    let action = ask.header("Prefer", "respond-async").send().await.json(202);
    let path = format!("/actions/{}", action["id"].as_str().unwrap());
    let first = client.get(&path).send().await;
    assert_eq!(first.json(200)["status"], "queued");

    let tag = first.header("etag").to_owned();
    let wait = async |tag: &str| {
        let request = client.get(&path).header("Prefer", "wait=60");
        request.header("If-None-Match", tag).send().await
    };
    let lease = other.post("/leases", &json!({"types": ["report"], "worker": "w"}));
    let (changed, leased) = join(wait(&tag), lease.send()).await;
    assert_eq!(changed.json(200)["status"], "running");
    assert_eq!(changed.header("preference-applied"), "wait=60");

    let lease: Value = leased.json(200)["leases"][0]["lease_id"].clone();
    let tag = changed.header("etag").to_owned();
    let complete = format!("/leases/{}/complete", lease.as_str().unwrap());
    let complete = other.post(&complete, &json!({"output": 2}));
    let (over, _) = join(wait(&tag), complete.send()).await;
    assert_eq!(over.json(200)["output"], 2);
    // Nothing comes after the end, so nobody waits for it.
    assert_eq!(wait(over.header("etag")).await.status, 304);
}
