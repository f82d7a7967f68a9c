//! A worker that trusts its lease until it is told otherwise: for tests that freeze it or kill it.
//!
//! `e2e-worker <base> <key> <type>` leases actions of that type for a second each, and says something in each of them
//! again and again, until it hears that the lease is lost. Then it tries everything else that a holder may do, and tells
//! on its standard output what it heard.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a part of the tests: what goes wrong here fails one"
)]

use std::time::Duration;

use deed_e2e::client::{Answer, Client};
use serde_json::{Value, json};

/// The pause between two calls.
const PAUSE: Duration = Duration::from_millis(40);

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let client = Client::anonymous(&arguments[1]).with_key(&arguments[2]);
    let wanted = json!({"types": [arguments[3]], "worker": "frozen", "lease_seconds": 1});
    loop {
        let granted = client.post("/leases", &wanted).send().await.json(200);
        if let Some(lease) = granted["leases"].as_array().unwrap().first() {
            say(json!({"leased": lease["action"]["id"]}));
            let lost = report(&client, lease).await;
            say(json!({"lost": lease["action"]["id"], "answers": lost}));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Says something until the lease is lost; answers what all calls with it came to from then on.
async fn report(client: &Client, lease: &Value) -> Value {
    let id = lease["lease_id"].as_str().unwrap();
    let about = async |call: &str, body: Value| {
        let path = format!("/leases/{id}/{call}");
        client.post(&path, &body).send().await
    };
    let mut next = lease["next_seq"].clone();
    let message = |next: &Value| json!({"from_seq": next, "events": [{"event": "message", "data": {"by": "frozen"}}]});
    let first = loop {
        let answer = about("events", message(&next)).await;
        if answer.status != 200 {
            break answer;
        }
        next = answer.json(200)["next_seq"].clone();
        say(json!({"said": lease["action"]["id"]}));
        tokio::time::sleep(PAUSE).await;
    };
    let beat = json!({"lease_ids": [id]});
    let beat = client.post("/leases/heartbeat", &beat).send().await;
    let failure = json!({"error": {"code": "late", "message": "Late."}, "retryable": true});
    json!({
        "events": told(&first),
        "events_again": told(&about("events", message(&next)).await),
        "complete": told(&about("complete", json!({"output": "late"})).await),
        "fail": told(&about("fail", failure).await),
        "release": told(&about("release", json!({})).await),
        "heartbeat": {"status": beat.status, "ok": beat.json(200)["leases"][0]["ok"]},
    })
}

fn told(answer: &Answer) -> Value {
    let body: Value = serde_json::from_str(&answer.body).unwrap();
    json!({"status": answer.status, "error": body["error"]})
}

fn say(line: Value) {
    println!("{line}");
}
