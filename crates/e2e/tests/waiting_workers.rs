//! Workers that wait for work: they get it at once, wherever it was asked for, and nobody waits for one that is gone.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use std::time::{Duration, Instant};

use deed_e2e::client::{Answer, Client};
use deed_e2e::database::Database;
use deed_e2e::server::{DRAIN, Server};
use deed_e2e::wait::{SOON, until, within};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

const DEED: &str = env!("CARGO_BIN_EXE_deed-under-test");
const TYPE: &str = "report.render";

/// Two servers, a user who asks, and a worker who performs.
struct World {
    database: Database,
    servers: [Server; 2],
    asker: Client,
    worker: Client,
}

impl World {
    async fn new() -> Self {
        let database = Database::fresh().await;
        let start = async || {
            let setup = Server::setup(&database).environment("DEED_METRICS_LISTEN", "127.0.0.1:0");
            setup.start(DEED).await
        };
        let servers = [start().await, start().await];
        let put = servers[0]
            .root()
            .request("PUT", &format!("/action-types/{TYPE}"));
        put.json(&json!({})).send().await.json(201);
        Self {
            asker: servers[0].user(&["actions:read", "actions:write"]).await,
            worker: servers[0].user(&["actions:work"]).await,
            database,
            servers,
        }
    }

    /// Asks the first server for an action.
    async fn ask(&self) -> String {
        self.ask_for(TYPE, json!(7)).await
    }

    async fn ask_for(&self, action_type: &str, input: Value) -> String {
        let body = json!({"type": action_type, "input": input});
        let request = self.asker.post("/actions", &body);
        let answer = request.header("Prefer", "respond-async").send().await;
        answer.json(202)["id"].as_str().unwrap().to_owned()
    }

    /// What the worker's call to one of the servers is answered.
    async fn call(&self, server: usize, path: &str, body: Value) -> Answer {
        let worker = self.worker.at(&self.servers[server].base);
        worker.post(path, &body).send().await
    }

    /// A worker that waits at one of the servers.
    async fn waiting(&self, server: usize) -> JoinHandle<Answer> {
        let before = self.waiting_at(server).await;
        let worker = self.worker.at(&self.servers[server].base);
        let poll = worker.post("/leases", &wish(60));
        let waiting = tokio::spawn(poll.send());
        self.until_waiting(server, before + 1).await;
        waiting
    }

    async fn until_waiting(&self, server: usize, count: u64) {
        until(SOON, async || match self.waiting_at(server).await {
            now if now == count => Ok(()),
            now => Err(now),
        })
        .await;
    }

    /// How many workers wait there.
    async fn waiting_at(&self, server: usize) -> u64 {
        let base = self.servers[server].metrics_base().await;
        let text = Client::anonymous(&base).get("/metrics").send().await.body;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("deed_lease_polls_waiting "));
        line.unwrap().parse().unwrap()
    }
}

fn wish(wait: u32) -> Value {
    json!({"types": [TYPE], "worker": "w", "wait_seconds": wait, "lease_seconds": 60})
}

fn lease(answer: &Answer) -> Value {
    let leases = &answer.json(200)["leases"];
    assert_eq!(leases.as_array().unwrap().len(), 1, "{leases}");
    leases[0].clone()
}

#[tokio::test]
async fn who_waits_gets_what_is_asked_for_wherever_that_was() {
    let world = World::new().await;
    for server in [0, 1, 0, 1] {
        let waiting = world.waiting(server).await;
        let began = Instant::now();
        let id = world.ask().await;
        let answer = within(SOON, "the lease", waiting).await.unwrap();
        assert!(
            began.elapsed() < Duration::from_secs(1),
            "{:?}",
            began.elapsed()
        );
        assert_eq!(lease(&answer)["action"]["id"], id.as_str());
    }
}

#[tokio::test]
async fn who_waits_in_vain_is_told_so_in_time() {
    let world = World::new().await;
    let began = Instant::now();
    let answer = world.call(1, "/leases", wish(1)).await;
    assert_eq!(answer.json(200), json!({"leases": []}));
    let took = began.elapsed();
    assert!(
        took >= Duration::from_secs(1) && took < Duration::from_secs(3),
        "{took:?}"
    );
}

#[tokio::test]
async fn who_hangs_up_leases_nothing() {
    let world = World::new().await;
    let gone = world.waiting(0).await;
    gone.abort();
    world.until_waiting(0, 0).await;

    // One that only closes its own side has hung up too.
    let body = wish(60).to_string();
    let (key, length) = (world.worker.key().unwrap(), body.len());
    let request = format!(
        "POST /leases HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
    let mut socket = TcpStream::connect(world.servers[0].address())
        .await
        .unwrap();
    socket.write_all(request.as_bytes()).await.unwrap();
    world.until_waiting(0, 1).await;
    socket.shutdown().await.unwrap();
    world.until_waiting(0, 0).await;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.unwrap();
    assert!(answer.is_empty());

    let id = world.ask().await;
    let began = Instant::now();
    let lease = lease(&world.call(1, "/leases", wish(0)).await);
    assert!(began.elapsed() < Duration::from_secs(1));
    assert_eq!(
        (&lease["action"]["id"], &lease["action"]["attempt"]),
        (&json!(id), &json!(1))
    );
    // It was never leased to anybody before.
    let path = format!("/actions/{id}/events");
    let log = world.asker.get(&path).header("Accept", "application/json");
    let log = log.send().await.json(200);
    assert_eq!(log["items"].as_array().unwrap().len(), 2, "{log}");
}

#[tokio::test]
async fn a_request_that_is_made_again_gets_the_same_leases_at_any_server() {
    let world = World::new().await;
    for _ in 0..3 {
        world.ask().await;
    }
    let mut wish = wish(0);
    wish["request_id"] = json!("host-1/42");
    wish["max"] = json!(2);
    let granted = |answer: Answer| {
        let leases = answer.json(200)["leases"].clone();
        let leases = leases.as_array().unwrap().iter();
        let mut ids: Vec<Value> = leases.map(|lease| lease["lease_id"].clone()).collect();
        ids.sort_by_key(Value::to_string);
        ids
    };
    let first = granted(world.call(0, "/leases", wish.clone()).await);
    assert_eq!(first.len(), 2);
    for server in [0, 1] {
        assert_eq!(
            granted(world.call(server, "/leases", wish.clone()).await),
            first
        );
    }
    // Another key's request is another one.
    let other = world.servers[0].user(&["actions:work"]).await;
    let others = granted(other.post("/leases", &wish).send().await);
    assert_eq!(others.len(), 1);
    assert!(!first.contains(&others[0]));
    let path = format!("/leases/{}/complete", first[0].as_str().unwrap());
    world.call(1, &path, json!({"output": 1})).await.json(200);
    assert_eq!(granted(world.call(1, "/leases", wish).await), first[1..]);
}

#[tokio::test]
async fn ends_and_the_next_work_are_one_round_trip() {
    let world = World::new().await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(world.ask().await);
    }
    let mut all = wish(0);
    all["max"] = json!(3);
    let leases = world.call(0, "/leases", all).await.json(200)["leases"].clone();
    let of = |n: usize| leases[n]["lease_id"].clone();
    let released = format!("/leases/{}/release", of(1).as_str().unwrap());
    world.call(0, &released, json!({})).await.json(200);
    let failure = json!({"error": {"code": "broken", "message": "Broken."}, "retryable": false});
    let mut next = wish(30);
    next["request_id"] = json!("next");
    let body = json!({"items": [
        {"lease_id": of(0), "complete": {"output": {"n": 1.0}}},
        {"lease_id": of(1), "complete": {"output": "late"}},
        {"lease_id": of(2), "fail": failure},
    ], "then_lease": next});
    let mut answers = Vec::new();
    for server in [1, 0] {
        let answer = world.call(server, "/leases/finish", body.clone()).await;
        answers.push(answer.json(200));
    }
    let results = answers[0]["results"].clone();
    let oks: Vec<&Value> = results
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["ok"])
        .collect();
    assert_eq!(oks, [true, false, true]);
    assert_eq!(results[1]["error"]["code"], "lease_lost");
    assert_eq!(
        answers[0]["leases"][0]["action"]["id"],
        leases[1]["action"]["id"]
    );
    assert_eq!(answers[0]["leases"][0]["action"]["attempt"], 1);
    // The same again: written once, and the same lease.
    assert_eq!(answers[1]["results"], results);
    assert_eq!(
        answers[1]["leases"][0]["lease_id"],
        answers[0]["leases"][0]["lease_id"]
    );
    let status = async |n: usize| {
        let path = format!("/actions/{}", leases[n]["action"]["id"].as_str().unwrap());
        world.asker.get(&path).send().await.json(200)["status"].clone()
    };
    assert_eq!(
        [status(0).await, status(1).await, status(2).await],
        ["succeeded", "running", "failed"]
    );
}

#[tokio::test]
async fn a_drain_sends_workers_elsewhere_and_lets_them_finish() {
    let mut world = World::new().await;
    // Keeps the drain going.
    world.ask_for("wait", json!({"seconds": 6})).await;
    let id = world.ask().await;
    let held = lease(&world.call(0, "/leases", wish(0)).await);
    let waiting = [world.waiting(0).await, world.waiting(0).await];
    let elsewhere = world.waiting(1).await;
    // The performer of `wait` is whoever took it; both are drained, one after the other.
    let began = Instant::now();
    for server in &world.servers {
        server.terminate();
    }
    for waiting in waiting.into_iter().chain([elsewhere]) {
        let answer = within(SOON, "the end of the wait", waiting).await.unwrap();
        assert_eq!(answer.json(200), json!({"leases": [], "draining": true}));
    }
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
    let performer = until(SOON, async || {
        for server in 0..2 {
            let base = &world.servers[server].base;
            let poll = world.worker.at(base).post("/leases", &wish(60));
            if let Ok(answer) = poll.try_send().await {
                let problem = answer.problem(503, "unavailable");
                assert!(!answer.header("retry-after").is_empty(), "{problem}");
            } else {
                return Ok(1 - server);
            }
        }
        Err("both still answer")
    })
    .await;
    let call = async |path: &str, body: Value| world.call(performer, path, body).await;
    let beat = json!({"lease_ids": [held["lease_id"]]});
    let beat = call("/leases/heartbeat", beat).await.json(200);
    assert_eq!(
        (&beat["draining"], &beat["leases"][0]["ok"]),
        (&json!(true), &json!(true))
    );
    let item = json!({"lease_id": held["lease_id"], "complete": {"output": 1}});
    let body = json!({"items": [item], "then_lease": wish(60)});
    let finished = call("/leases/finish", body).await.json(200);
    assert_eq!(
        (&finished["draining"], &finished["leases"]),
        (&json!(true), &json!([]))
    );
    for server in &mut world.servers {
        let status = server.process.ended(DRAIN).await;
        assert_eq!(status.code(), Some(0), "{}", server.process.output());
    }
    let next = Server::start(DEED, &world.database).await;
    let asker = world.asker.at(&next.base);
    let action = asker.get(&format!("/actions/{id}")).send().await.json(200);
    assert_eq!(action["status"], "succeeded");
}
