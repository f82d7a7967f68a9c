//! Workers that freeze or die: their actions are taken over, and what they say afterwards changes nothing.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use deed_e2e::client::Client;
use deed_e2e::database::Database;
use deed_e2e::process::{Output, Process};
use deed_e2e::server::{Server, deed};
use deed_e2e::wait::{SOON, within};
use futures_util::future::join_all;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::sync::{Mutex, oneshot};

use crate::{ACTIONS, DEED, alone, note};

const WORKER: &str = env!("CARGO_BIN_EXE_e2e-worker");
const WORKERS: usize = 40;
const FREEZES: usize = 5;
/// A silent worker's action is taken over within its lease of 1 s, and 5 s.
const TAKEOVER: Duration = Duration::from_secs(6);

/// A server, and somebody who performs what others have left.
struct World {
    _database: Database,
    server: Server,
    asker: Client,
    rescuer: Client,
    /// The types whose worker is frozen, and who waits for their lease.
    left: Mutex<HashMap<String, oneshot::Sender<Value>>>,
}

impl World {
    async fn new() -> Self {
        let database = Database::fresh().await;
        let server = Server::start(DEED, &database).await;
        Self {
            asker: server.user(&ACTIONS).await,
            rescuer: server.user(&["actions:work"]).await,
            server,
            left: Mutex::default(),
            _database: database,
        }
    }

    /// A worker's process, and the type that it performs.
    async fn worker(&self, number: usize) -> (Process, String) {
        let name = format!("freeze.{number}");
        let path = format!("/action-types/{name}");
        let put = self.server.root().request("PUT", &path).json(&json!({}));
        put.send().await.json(201);
        let mut command = deed(WORKER);
        command.args([&self.server.base, self.rescuer.key().unwrap(), &name]);
        (Process::start(&mut command), name)
    }

    /// Asks for an action, and answers its id when the worker is in the middle of it.
    async fn begin(&self, worker: &Process, name: &str, said: usize) -> String {
        let body = json!({"type": name, "input": {}});
        let request = self.asker.post("/actions", &body);
        let answer = request.header("Prefer", "respond-async").send().await;
        let id = answer.json(202)["id"].as_str().unwrap().to_owned();
        let count = |_: Output, line: &str| {
            let line: Value = serde_json::from_str(line).unwrap();
            (line["leased"] == id.as_str()).then_some(())
        };
        worker.line(SOON, count).await;
        let has_said = async {
            loop {
                let lines = worker.lines(Output::Stdout);
                let of_it = lines
                    .iter()
                    .filter(|line| line.contains("said") && line.contains(&id));
                if of_it.count() >= said {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        within(SOON, "what the worker says", has_said).await;
        id
    }

    /// Waits for the lease of an action of this type, whose worker is frozen.
    async fn take_over(&self, name: &str) -> Value {
        let (sender, granted) = oneshot::channel();
        self.left.lock().await.insert(name.to_owned(), sender);
        within(TAKEOVER, "the takeover", granted).await.unwrap()
    }

    /// Takes leases of what was left, for as long as it is polled.
    async fn rescue(&self) {
        loop {
            let mut left = self.left.lock().await;
            let types: Vec<String> = left.keys().cloned().collect();
            if !types.is_empty() {
                let wanted = json!({"types": types, "worker": "rescuer", "lease_seconds": 30, "max": WORKERS});
                let granted = self.rescuer.post("/leases", &wanted).send().await.json(200);
                for lease in granted["leases"].as_array().unwrap() {
                    let waiting = left.remove(lease["action"]["type"].as_str().unwrap());
                    waiting.unwrap().send(lease.clone()).unwrap();
                }
            }
            drop(left);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn rescuer_says(&self, lease: &Value, call: &str, body: Value) {
        let path = format!("/leases/{}/{call}", lease["lease_id"].as_str().unwrap());
        self.rescuer.post(&path, &body).send().await.json(200);
    }

    async fn end(&self, lease: &Value) {
        self.rescuer_says(lease, "complete", json!({"output": "rescued"}))
            .await;
    }

    /// Fails unless the log is whole, and holds nothing of the first worker after the takeover.
    async fn check_log(&self, id: &str) {
        let request = self.asker.get(&format!("/actions/{id}/events?limit=200"));
        let page = request
            .header("Accept", "application/json")
            .send()
            .await
            .json(200);
        let events = page["items"].as_array().unwrap();
        let told: Vec<String> = (1..)
            .zip(events)
            .map(|(seq, event)| {
                assert_eq!(event["seq"], seq, "{page}");
                match event["data"]["by"].as_str() {
                    Some(by) => by.to_owned(),
                    None => event["event"].as_str().unwrap().to_owned(),
                }
            })
            .collect();
        let mut expected = told.clone();
        expected.retain(|one| one == "frozen");
        expected.splice(0..0, ["created", "started"].map(str::to_owned));
        expected.extend(["retry", "started", "rescuer", "done"].map(str::to_owned));
        assert_eq!(told, expected, "{page}");
        let last = events.last().unwrap();
        assert_eq!(
            last["data"],
            json!({"status": "succeeded", "output": "rescued"})
        );
    }
}

/// What a call on a lost lease is answered.
fn check_refused(answers: &Value) {
    for call in ["events", "events_again", "complete", "fail", "release"] {
        let refusal = json!({"status": 409, "error": "lease_lost"});
        assert_eq!(answers[call], refusal, "{call}: {answers}");
    }
    assert_eq!(answers["heartbeat"], json!({"status": 200, "ok": false}));
}

/// Freezes the worker in the middle of an action until somebody else has it; answers how long the takeover took.
async fn freeze(world: &World, worker: &Process, name: &str, said: usize) -> Duration {
    let id = world.begin(worker, name, said).await;
    worker.signal(Signal::STOP);
    let frozen = Instant::now();
    let lease = world.take_over(name).await;
    let taken = frozen.elapsed();
    assert_eq!(lease["action"]["id"], id.as_str());
    assert_eq!(lease["action"]["attempt"], 2);
    let message = json!({"from_seq": lease["next_seq"], "events": [{"event": "message", "data": {"by": "rescuer"}}]});
    world.rescuer_says(&lease, "events", message).await;
    // It wakes up while the other works, or when that is over.
    let is_over = said.is_multiple_of(2);
    if is_over {
        world.end(&lease).await;
    }
    worker.signal(Signal::CONT);
    let answers = |_: Output, line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        (line["lost"] == id.as_str()).then(|| line["answers"].clone())
    };
    check_refused(&worker.line(SOON, answers).await);
    if !is_over {
        world.end(&lease).await;
    }
    world.check_log(&id).await;
    taken
}

#[tokio::test]
async fn a_frozen_worker_that_wakes_up_changes_nothing() {
    let _machine = alone().await;
    let began = Instant::now();
    let world = World::new().await;
    let freezes = join_all((0..WORKERS).map(async |number| {
        let (worker, name) = world.worker(number).await;
        let mut taken = Vec::new();
        for round in 0..FREEZES {
            taken.push(freeze(&world, &worker, &name, (number + round) % 7).await);
        }
        taken
    }));
    let mut taken = tokio::select! {
        () = world.rescue() => Vec::new(),
        all = freezes => all.concat(),
    };
    taken.sort_unstable();
    assert_eq!(taken.len(), 200);
    note(
        "worker frozen",
        format!(
            "{} freezes, 0 late writes; taken over after {} ms, at most {} ms, of a lease of 1 s; {:.0} s altogether",
            taken.len(),
            taken[taken.len() / 2].as_millis(),
            taken[taken.len() - 1].as_millis(),
            began.elapsed().as_secs_f64(),
        ),
    );
}

#[tokio::test]
async fn a_killed_workers_action_is_taken_over() {
    let _machine = alone().await;
    let world = World::new().await;
    let (mut worker, name) = world.worker(0).await;
    let id = world.begin(&worker, &name, 2).await;
    worker.kill().await;
    let killed = Instant::now();
    let lease = tokio::select! {
        () = world.rescue() => Value::Null,
        lease = world.take_over(&name) => lease,
    };
    note(
        "worker killed",
        format!(
            "taken over after {} ms, of a lease of 1 s",
            killed.elapsed().as_millis()
        ),
    );
    assert_eq!(lease["action"]["id"], id.as_str());
    let message = json!({"from_seq": lease["next_seq"], "events": [{"event": "message", "data": {"by": "rescuer"}}]});
    world.rescuer_says(&lease, "events", message).await;
    world.end(&lease).await;
    world.check_log(&id).await;
}
