//! Actions that always fail.

use std::collections::BTreeSet;
use std::sync::Mutex;

use chrono::{DateTime, TimeDelta, Utc};
use deed_e2e::database::Database;
use deed_e2e::server::Server;
use deed_e2e::wait::{SOON, until};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::{ACTIONS, DEED, beside, note};

const TYPE: &str = "always.fails";
const ACTIONS_COUNT: usize = 24;

fn time(value: &Value) -> DateTime<Utc> {
    value.as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn an_action_that_always_fails_is_tried_ever_later_and_then_failed_for_good() {
    let _machine = beside().await;
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    let policy =
        json!({"max_attempts": 4, "retry": {"initial_seconds": 1, "factor": 2, "max_seconds": 3}});
    let put = server
        .root()
        .request("PUT", &format!("/action-types/{TYPE}"));
    put.json(&policy).send().await.json(201);
    let asker = server.user(&ACTIONS).await;
    let worker = server.user(&["actions:work"]).await;
    let ids = join_all((0..ACTIONS_COUNT).map(async |_| {
        let request = asker.post("/actions", &json!({"type": TYPE, "input": {}}));
        let answer = request
            .header("Prefer", "respond-async")
            .send()
            .await
            .json(202);
        answer["id"].as_str().unwrap().to_owned()
    }))
    .await;
    let wanted = json!({"types": [TYPE], "worker": "w", "max": ACTIONS_COUNT});
    // When an attempt failed, and until when there is a pause, by attempts.
    let pauses: [Mutex<Vec<TimeDelta>>; 3] = Default::default();
    let fail = async |lease: &Value| {
        let path = format!("/leases/{}/fail", lease["lease_id"].as_str().unwrap());
        let error = json!({"code": "broken", "message": format!("Attempt {}.", lease["action"]["attempt"])});
        let body = json!({"error": error, "retryable": true});
        worker.post(&path, &body).send().await.json(200);
        let action = &lease["action"];
        let path = format!("/actions/{}", action["id"].as_str().unwrap());
        let until = asker.get(&path).send().await.json(200)["run_at"].clone();
        let attempt = usize::try_from(action["attempt"].as_u64().unwrap()).unwrap();
        // A pause that is over when it is looked at was short.
        if let (Some(pauses), false) = (pauses.get(attempt - 1), until.is_null()) {
            let path = format!("{path}/events");
            let request = asker.get(&path).header("Accept", "application/json");
            let page = request.send().await.json(200);
            let failed = &page["items"][2 * attempt];
            assert_eq!(failed["data"]["reason"], "failed");
            pauses
                .lock()
                .unwrap()
                .push(time(&until) - time(&failed["at"]));
        }
    };
    until(SOON, async || {
        let granted = worker.post("/leases", &wanted).send().await.json(200);
        join_all(granted["leases"].as_array().unwrap().iter().map(fail)).await;
        let page = asker
            .get("/actions?status=failed&limit=200")
            .send()
            .await
            .json(200);
        let over = page["items"].as_array().unwrap().len();
        if over == ACTIONS_COUNT {
            Ok(())
        } else {
            Err(over)
        }
    })
    .await;

    for id in &ids {
        let action = asker.get(&format!("/actions/{id}")).send().await.json(200);
        assert_eq!(
            action["error"],
            json!({"code": "broken", "message": "Attempt 4."})
        );
        assert_eq!(action["attempt"], 4);
        let request = asker.get(&format!("/actions/{id}/events"));
        let page = request
            .header("Accept", "application/json")
            .send()
            .await
            .json(200);
        let events = page["items"].as_array().unwrap();
        let names: Vec<&str> = events
            .iter()
            .map(|event| event["event"].as_str().unwrap())
            .collect();
        assert_eq!(
            names,
            [
                "created", "started", "retry", "started", "retry", "started", "retry", "started",
                "done"
            ]
        );
    }
    // Drawn evenly up to 1, 2 and 3 s.
    let mut longest = Vec::new();
    for (pauses, most) in pauses.iter().zip([1, 2, 3]) {
        let pauses = pauses.lock().unwrap();
        let limit = TimeDelta::seconds(most);
        assert!(pauses.iter().all(|pause| *pause <= limit), "{pauses:?}");
        let tenths: BTreeSet<i64> = pauses
            .iter()
            .map(|pause| pause.num_milliseconds() / 100)
            .collect();
        assert!(tenths.len() > 4, "all at once: {pauses:?}");
        longest.push(pauses.iter().max().unwrap().num_milliseconds());
    }
    assert!(longest[0] < longest[2], "{longest:?}");
    note(
        "always fails",
        format!("4 attempts, then failed with the last error; the longest pauses {longest:?} ms"),
    );
}
