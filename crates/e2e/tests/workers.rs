//! Workers outside the server: any program that speaks HTTP.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use std::time::Duration;

use deed_client::Client as Typed;
use deed_client::api::lease::{
    CompleteLease, Heartbeat, LeaseActions, ReportEvents, WorkerEvent, WorkerEventName,
};
use deed_e2e::client::{Answer, Client};
use deed_e2e::database::Database;
use deed_e2e::server::Server;
use deed_e2e::wait::{SOON, until};
use serde_json::{Value, json};

const DEED: &str = env!("CARGO_BIN_EXE_deed-under-test");
const TYPE: &str = "report.render";
/// A dead worker's action is taken over within its lease of 1 s, and 5 s.
const TAKEOVER: Duration = Duration::from_secs(6);

/// A user who asks, and a worker who performs.
struct World {
    _database: Database,
    server: Server,
    asker: Client,
    worker: Client,
}

impl World {
    async fn new() -> Self {
        let database = Database::fresh().await;
        let server = Server::start(DEED, &database).await;
        let schema = json!({"input_schema": {"type": "object", "required": ["page"]}});
        let path = format!("/action-types/{TYPE}");
        let put = server.root().request("PUT", &path).json(&schema);
        put.send().await.json(201);
        let asker = server.user(&["actions:read", "actions:write"]).await;
        let worker = server.user(&["actions:work:report.*"]).await;
        Self {
            _database: database,
            server,
            asker,
            worker,
        }
    }

    async fn ask(&self) -> String {
        let body = json!({"type": TYPE, "input": {"page": 7}});
        let request = self.asker.post("/actions", &body);
        let answer = request.header("Prefer", "respond-async").send().await;
        answer.json(202)["id"].as_str().unwrap().to_owned()
    }

    async fn lease(&self, name: &str, seconds: u32) -> Option<Value> {
        let body = json!({"types": [TYPE], "worker": name, "lease_seconds": seconds});
        let answer = self.worker.post("/leases", &body).send().await.json(200);
        answer["leases"].as_array().unwrap().first().cloned()
    }

    async fn about(&self, lease: &Value, call: &str, body: Value) -> Answer {
        let path = format!("/leases/{}/{call}", lease["lease_id"].as_str().unwrap());
        self.worker.post(&path, &body).send().await
    }

    async fn action(&self, id: &str) -> Value {
        self.asker
            .get(&format!("/actions/{id}"))
            .send()
            .await
            .json(200)
    }

    /// Names and data of the whole log, whose positions are checked.
    async fn log(&self, id: &str) -> Vec<(String, Value)> {
        let request = self.asker.get(&format!("/actions/{id}/events"));
        let page = request.header("Accept", "application/json").send().await;
        let page = page.json(200);
        let events = page["items"].as_array().unwrap();
        (1..)
            .zip(events)
            .map(|(seq, event)| {
                assert_eq!(event["seq"], seq, "{page}");
                let name = event["event"].as_str().unwrap().to_owned();
                (name, event["data"].clone())
            })
            .collect()
    }
}

fn text(text: &str, from_seq: &Value) -> Value {
    json!({"from_seq": from_seq, "events": [{"event": "message", "data": {"text": text}}]})
}

#[tokio::test]
async fn a_worker_leases_reports_and_completes() {
    let world = World::new().await;
    assert_eq!(world.lease("a", 30).await, None, "nothing waits");
    let id = world.ask().await;
    assert_eq!(world.action(&id).await["status"], "queued");
    let lease = world.lease("a", 30).await.unwrap();
    assert_eq!(lease["action"]["id"], id.as_str());
    assert_eq!(lease["action"]["input"], json!({"page": 7}));
    assert_eq!(lease["next_seq"], 3);
    assert_eq!(world.lease("b", 30).await, None, "it is leased once");

    let progress = json!({"from_seq": 3, "events": [
        {"event": "progress", "data": {"percent": 50, "note": "half"}},
        {"event": "message", "data": {"text": "page"}}]});
    for _ in 0..2 {
        let answer = world.about(&lease, "events", progress.clone()).await;
        assert_eq!(
            answer.json(200),
            json!({"next_seq": 5, "cancel_requested": false})
        );
    }
    let gap = world.about(&lease, "events", text("late", &json!(9))).await;
    gap.problem(409, "sequence_conflict");
    let forged = json!({"from_seq": 5, "events": [{"event": "done", "data": {}}]});
    let forged = world.about(&lease, "events", forged).await;
    forged.problem(400, "validation_failed");
    for _ in 0..2 {
        let output = json!({"output": {"url": "x"}});
        world.about(&lease, "complete", output).await.json(200);
    }
    let action = world.action(&id).await;
    assert_eq!(action["status"], "succeeded");
    assert_eq!(action["output"], json!({"url": "x"}));
    let names: Vec<String> = world.log(&id).await.into_iter().map(|one| one.0).collect();
    assert_eq!(names, ["created", "started", "progress", "message", "done"]);
}

#[tokio::test]
async fn a_silent_workers_action_is_taken_over_and_it_writes_no_more() {
    let world = World::new().await;
    let id = world.ask().await;
    let first = world.lease("a", 1).await.unwrap();
    let from = &first["next_seq"];
    world
        .about(&first, "events", text("one", from))
        .await
        .json(200);
    let second = until(TAKEOVER, async || {
        world.lease("b", 30).await.ok_or("not yet")
    })
    .await;
    assert_eq!(second["action"]["attempt"], 2);
    assert_ne!(second["lease_id"], first["lease_id"]);

    let error = json!({"error": {"code": "a", "message": "b"}, "retryable": true});
    for (call, body) in [
        ("events", text("late", &second["next_seq"])),
        ("complete", json!({"output": "late"})),
        ("fail", error),
        ("release", json!({})),
    ] {
        let answer = world.about(&first, call, body).await;
        answer.problem(409, "lease_lost");
    }
    let beat = json!({"lease_ids": [first["lease_id"], "nonsense", second["lease_id"]]});
    let beat = world.worker.post("/leases/heartbeat", &beat).send().await;
    let verdicts: Vec<Value> = beat.json(200)["leases"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| json!([one["ok"], one["reason"]]))
        .collect();
    let lost = json!([false, "lost"]);
    assert_eq!(verdicts, [lost.clone(), lost, json!([true, null])]);

    world
        .about(&second, "events", text("two", &second["next_seq"]))
        .await
        .json(200);
    let output = json!({"output": 2});
    world.about(&second, "complete", output).await.json(200);
    let beat = json!({"lease_ids": [first["lease_id"], second["lease_id"]]});
    let beat = world.worker.post("/leases/heartbeat", &beat).send().await;
    let beat = beat.json(200);
    assert_eq!(beat["leases"][0]["reason"], "lost");
    assert_eq!(beat["leases"][1]["reason"], "finished");
    let log = world.log(&id).await;
    let names: Vec<&str> = log.iter().map(|one| one.0.as_str()).collect();
    assert_eq!(
        names,
        [
            "created", "started", "message", "retry", "started", "message", "done"
        ]
    );
    assert!(!format!("{log:?}").contains("late"), "{log:?}");
}

#[tokio::test]
async fn a_failed_attempt_is_followed_by_another_and_a_released_one_is_not_counted() {
    let world = World::new().await;
    let id = world.ask().await;
    let lease = world.lease("a", 30).await.unwrap();
    world.about(&lease, "release", json!({})).await.json(200);
    let again = world.lease("a", 30).await.unwrap();
    assert_eq!(again["action"]["attempt"], 1);
    let failure = json!({"error": {"code": "out_of_paper", "message": "No paper."},
        "retryable": true, "retry_after_seconds": 0});
    world.about(&again, "fail", failure).await.json(200);
    let last = until(SOON, async || world.lease("a", 30).await.ok_or("not yet")).await;
    assert_eq!(last["action"]["attempt"], 2);
    let failure = json!({"error": {"code": "broken", "message": "Broken."}, "retryable": false});
    for _ in 0..2 {
        world.about(&last, "fail", failure.clone()).await.json(200);
    }
    let action = world.action(&id).await;
    assert_eq!(action["status"], "failed");
    assert_eq!(action["error"]["code"], "broken");
}

#[tokio::test]
async fn a_worker_hears_that_its_action_is_cancelled() {
    let world = World::new().await;
    let id = world.ask().await;
    let lease = world.lease("a", 30).await.unwrap();
    let cancel = format!("/actions/{id}/cancel");
    world.asker.request("POST", &cancel).send().await.json(202);
    let beat = json!({"lease_ids": [lease["lease_id"]]});
    let beat = world.worker.post("/leases/heartbeat", &beat).send().await;
    assert_eq!(beat.json(200)["leases"][0]["cancel_requested"], true);
    let failure = json!({"error": {"code": "cancelled", "message": "Stopped."}, "retryable": true});
    world.about(&lease, "fail", failure).await.json(200);
    assert_eq!(world.action(&id).await["status"], "cancelled");
}

#[tokio::test]
async fn a_key_performs_the_types_of_its_scope_only() {
    let world = World::new().await;
    world.ask().await;
    let lease = world.lease("a", 30).await.unwrap();
    let other = world.server.user(&["actions:work:other"]).await;
    let body = json!({"types": [TYPE], "worker": "other"});
    let refused = other.post("/leases", &body).send().await;
    refused.problem(403, "insufficient_scope");
    let path = format!("/leases/{}/complete", lease["lease_id"].as_str().unwrap());
    let foreign = other.post(&path, &json!({"output": 1})).send().await;
    foreign.problem(409, "lease_lost");
    let output = json!({"output": 1});
    world.about(&lease, "complete", output).await.json(200);
}

#[tokio::test]
async fn a_type_goes_when_its_actions_are_over() {
    let world = World::new().await;
    let id = world.ask().await;
    let path = format!("/action-types/{TYPE}");
    let root = world.server.root();
    let remove = async || root.request("DELETE", &path).send().await;
    remove().await.problem(409, "type_has_actions");
    let lease = world.lease("a", 30).await.unwrap();
    remove().await.problem(409, "type_has_actions");
    let output = json!({"output": 1});
    world.about(&lease, "complete", output).await.json(200);
    assert_eq!(remove().await.status, 204);
    remove().await.problem(404, "action_type_not_found");
    assert_eq!(world.action(&id).await["type"], TYPE);
    let body = json!({"type": TYPE, "input": {"page": 7}});
    let refused = world.asker.post("/actions", &body).send().await;
    refused.problem(400, "unknown_action_type");
}

#[tokio::test]
async fn the_typed_client_is_a_worker_too() {
    let world = World::new().await;
    let id = world.ask().await;
    let client = Typed::builder(&world.server.base)
        .api_key(world.worker.key().unwrap())
        .build()
        .unwrap();
    let wanted = LeaseActions {
        types: vec![TYPE.to_owned()],
        max: None,
        lease_seconds: None,
        worker: "typed".to_owned(),
        wait_seconds: None,
        request_id: None,
    };
    let lease = client
        .lease_actions(&wanted)
        .await
        .unwrap()
        .leases
        .remove(0);
    let beat = Heartbeat {
        lease_ids: vec![lease.lease_id.clone()],
    };
    assert!(client.renew_leases(&beat).await.unwrap().leases[0].ok);
    client.release_lease(&lease.lease_id).await.unwrap();
    let late = client.release_lease(&lease.lease_id).await.unwrap_err();
    assert_eq!(late.code(), Some("lease_lost"));
    let lease = client
        .lease_actions(&wanted)
        .await
        .unwrap()
        .leases
        .remove(0);
    let events = ReportEvents {
        checkpoint: None,
        from_seq: lease.next_seq,
        events: vec![WorkerEvent {
            event: WorkerEventName::Message,
            data: serde_json::value::to_raw_value(&1).unwrap(),
        }],
    };
    let reported = client
        .report_events(&lease.lease_id, &events)
        .await
        .unwrap();
    assert_eq!(reported.next_seq, lease.next_seq + 1);
    let tokens: Vec<WorkerEvent> = ["a", "b", "c"]
        .iter()
        .map(|token| WorkerEvent {
            event: WorkerEventName::Message,
            data: serde_json::value::to_raw_value(token).unwrap(),
        })
        .collect();
    for _ in 0..2 {
        let reported = client
            .report_lines(&lease.lease_id, reported.next_seq, &tokens)
            .await
            .unwrap();
        assert_eq!(reported.next_seq, lease.next_seq + 4);
    }
    let output = CompleteLease {
        output: serde_json::value::to_raw_value(&2).unwrap(),
    };
    client
        .complete_lease(&lease.lease_id, &output)
        .await
        .unwrap();
    assert_eq!(world.action(&id).await["output"], 2);
    let said: Vec<Value> = world.log(&id).await.into_iter().map(|one| one.1).collect();
    assert_eq!(
        said[said.len() - 5..said.len() - 1],
        [json!(1), json!("a"), json!("b"), json!("c")]
    );
}

#[tokio::test]
async fn what_an_attempt_has_left_comes_with_the_next_lease() {
    let world = World::new().await;
    world.ask().await;
    let first = world.lease("a", 30).await.unwrap();
    assert_eq!(first["checkpoint"], Value::Null);
    let mut report = text("one", &first["next_seq"]);
    report["checkpoint"] = json!({"page": 1});
    for _ in 0..2 {
        let answer = world.about(&first, "events", report.clone()).await;
        assert_eq!(answer.json(200)["next_seq"], 4);
    }
    let alone = json!({"from_seq": 4, "events": [], "checkpoint": {"page": 2}});
    world.about(&first, "events", alone).await.json(200);
    let nothing = json!({"from_seq": 4, "events": []});
    let refused = world.about(&first, "events", nothing).await;
    refused.problem(400, "validation_failed");
    world.about(&first, "release", json!({})).await.json(200);
    let second = world.lease("b", 30).await.unwrap();
    assert_eq!(second["checkpoint"], json!({"page": 2}));
    // A holder of yesterday can't overwrite it.
    let late = json!({"from_seq": second["next_seq"], "events": [], "checkpoint": "late"});
    let late = world.about(&first, "events", late).await;
    late.problem(409, "lease_lost");
    world.about(&second, "release", json!({})).await.json(200);
    let third = world.lease("c", 30).await.unwrap();
    assert_eq!(third["checkpoint"], json!({"page": 2}));
}

#[tokio::test]
async fn an_action_ends_when_its_time_is_up_waiting_or_not() {
    let world = World::new().await;
    let put = |limit: u32| {
        let path = format!("/action-types/{TYPE}");
        let body = json!({"time_limit_seconds": limit});
        let request = world.server.root().request("PUT", &path).json(&body);
        async move { request.send().await.json(200) }
    };
    assert_eq!(put(2).await["time_limit_seconds"], 2);
    let (running, waiting) = (world.ask().await, world.ask().await);
    put(60).await;
    let later = world.ask().await;
    let held = world.lease("a", 30).await.unwrap();
    let ended = async |id: &str| {
        until(SOON, async || {
            let action = world.action(id).await;
            match action["status"].as_str() {
                Some("failed") => Ok(action),
                _ => Err(action),
            }
        })
        .await
    };
    for id in [&running, &waiting] {
        let action = ended(id).await;
        assert_eq!(action["error"]["code"], "time_limit");
        let last = world.log(id).await.pop().unwrap();
        assert_eq!(
            (last.0.as_str(), &last.1["status"]),
            ("done", &json!("failed"))
        );
    }
    assert_eq!(held["action"]["id"], running.as_str());
    let output = json!({"output": "late"});
    let late = world.about(&held, "complete", output).await;
    late.problem(409, "lease_lost");
    // This one has time left, but not for a pause like that: the worker's error is the action's.
    let held = world.lease("a", 30).await.unwrap();
    assert_eq!(held["action"]["id"], later.as_str());
    let failure = json!({"error": {"code": "out_of_paper", "message": "No paper."},
        "retryable": true, "retry_after_seconds": 3600});
    world.about(&held, "fail", failure).await.json(200);
    assert_eq!(ended(&later).await["error"]["code"], "out_of_paper");
}
