//! Replicas that are replaced one after the other, under load.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use deed_e2e::balancer::Balancer;
use deed_e2e::client::{Answer, Client, Request};
use deed_e2e::database::Database;
use deed_e2e::server::{DRAIN, Server};
use deed_e2e::stream::{Event, check_whole_log, words};
use deed_e2e::unique;
use deed_e2e::wait::{SOON, until};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::{ACTIONS, DEED, alone, note};

const TYPE: &str = "rolling.work";
/// How long a client tries again.
const RETRIES: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(30);

/// Clients of the balancer, which try again what they are told to try again.
struct World {
    user: Client,
    worker: Client,
    is_over: AtomicBool,
    retried: Mutex<BTreeMap<String, usize>>,
    longest: Mutex<Duration>,
}

impl World {
    /// Sends until there is an answer that is no invitation to come again.
    async fn ask(&self, request: impl Fn() -> Request) -> Answer {
        let start = Instant::now();
        let answer = until(RETRIES, async || {
            let why = match request().try_send().await {
                Ok(answer) if answer.status < 300 => return Ok(answer),
                Ok(answer) => match (answer.status, answer.header("retry-after")) {
                    (503, after) if !after.is_empty() => "503".to_owned(),
                    // The first one is under way still.
                    (409, _) => answer.json(409)["error"].as_str().unwrap().to_owned(),
                    _ => panic!("not to be retried: {} {}", answer.status, answer.body),
                },
                Err(error) => {
                    assert!(
                        error.is_request() || error.is_body() || error.is_decode(),
                        "{error:?}"
                    );
                    "connection".to_owned()
                }
            };
            if why == "lease_lost" {
                panic!("a lease was lost");
            }
            *self.retried.lock().unwrap().entry(why.clone()).or_default() += 1;
            Err(why)
        })
        .await;
        let mut longest = self.longest.lock().unwrap();
        *longest = start.elapsed().max(*longest);
        answer
    }

    /// Submits actions until it is over; answers their ids.
    async fn submit(&self, action_type: &str) -> Vec<String> {
        let mut acknowledged = Vec::new();
        while !self.is_over.load(Ordering::SeqCst) {
            let key = unique();
            let body = json!({"type": action_type, "input": {"text": "a b", "delay_ms": 20}});
            let answer = self
                .ask(|| {
                    let request = self.user.post("/actions", &body);
                    let request = request.header("Prefer", "respond-async");
                    request.header("Idempotency-Key", &key)
                })
                .await;
            let id = answer.json(answer.status)["id"].clone();
            acknowledged.push(id.as_str().unwrap().to_owned());
            tokio::time::sleep(PAUSE).await;
        }
        acknowledged
    }

    /// Performs actions and follows them to their ends, resuming whenever a stream ends early.
    async fn follow(&self) -> Vec<String> {
        let mut followed = Vec::new();
        while !self.is_over.load(Ordering::SeqCst) {
            let body = json!({"type": "echo", "input": {"text": "a b c d e", "delay_ms": 150}});
            let key = unique();
            let answer = self
                .ask(|| {
                    let request = self.user.post("/actions", &body);
                    let request = request.header("Prefer", "respond-async");
                    request.header("Idempotency-Key", &key)
                })
                .await;
            let id = answer.json(answer.status)["id"]
                .as_str()
                .unwrap()
                .to_owned();
            let mut events: Vec<Event> = Vec::new();
            let path = format!("/actions/{id}/events");
            until(RETRIES, async || {
                let last = events.last().map_or("0", |event| event.id.as_str());
                let request = self.user.get(&path).header("Last-Event-ID", last);
                let Ok(mut stream) = request.try_stream().await else {
                    return Err(events.len());
                };
                while let Some(event) = stream.event().await {
                    events.push(event);
                }
                match events.last() {
                    Some(event) if event.name == "done" => Ok(()),
                    _ => {
                        *self
                            .retried
                            .lock()
                            .unwrap()
                            .entry("resumed".to_owned())
                            .or_default() += 1;
                        Err(events.len())
                    }
                }
            })
            .await;
            check_whole_log(&events);
            assert_eq!(words(&events).concat(), "abcde");
            followed.push(id);
        }
        followed
    }

    /// Performs actions of the external type, a few at a time.
    async fn work(&self) {
        let wanted = json!({"types": [TYPE], "worker": "w", "max": 4, "lease_seconds": 20});
        while !self.is_over.load(Ordering::SeqCst) {
            let granted = self
                .ask(|| self.worker.post("/leases", &wanted))
                .await
                .json(200);
            for lease in granted["leases"].as_array().unwrap() {
                let about = |call: &str, body: &Value| {
                    let path = format!("/leases/{}/{call}", lease["lease_id"].as_str().unwrap());
                    self.worker.post(&path, body)
                };
                let message = json!({"from_seq": lease["next_seq"], "events": [{"event": "message", "data": {"text": "a"}}]});
                self.ask(|| about("events", &message)).await.json(200);
                self.ask(|| about("complete", &json!({"output": 1})))
                    .await
                    .json(200);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn check_log(&self, id: &str) {
        let path = format!("/actions/{id}");
        until(SOON, async || {
            let action = self.user.get(&path).send().await.json(200);
            if action["status"] == "succeeded" {
                Ok(())
            } else {
                Err(action)
            }
        })
        .await;
        let request = self.user.get(&format!("{path}/events"));
        check_whole_log(&request.stream().await.rest().await);
    }
}

/// Stops a replica and starts another in its place; answers how long it was away.
async fn replace(replica: &mut Server, database: &Database) -> Duration {
    let address = replica.address().to_owned();
    let start = Instant::now();
    replica.terminate();
    let status = replica.process.ended(DRAIN).await;
    assert_eq!(status.code(), Some(0), "{}", replica.process.output());
    assert!(
        !replica.process.output().contains("\"level\":\"ERROR\""),
        "{}",
        replica.process.output()
    );
    *replica = Server::setup(database).listen(&address).start(DEED).await;
    let ready = replica.anonymous();
    ready.get("/readyz").send().await.json(200);
    start.elapsed()
}

#[tokio::test]
async fn a_rolling_restart_loses_nothing_and_shows_nobody_an_error() {
    let _machine = alone().await;
    let database = Database::fresh().await;
    let mut one = Server::start(DEED, &database).await;
    let mut other = Server::start(DEED, &database).await;
    let balancer = Balancer::before(&[one.address(), other.address()]).await;
    let put = one.root().request("PUT", &format!("/action-types/{TYPE}"));
    put.json(&json!({})).send().await.json(201);
    let world = World {
        user: one.user(&ACTIONS).await.at(&balancer.base),
        worker: one.user(&["actions:work"]).await.at(&balancer.base),
        is_over: AtomicBool::new(false),
        retried: Mutex::default(),
        longest: Mutex::default(),
    };
    let load = async {
        let echoes = join_all((0..4).map(|_| world.submit("echo")));
        let works = join_all((0..2).map(|_| world.submit(TYPE)));
        let follows = join_all((0..4).map(|_| world.follow()));
        let (echoes, works, follows, ()) = tokio::join!(echoes, works, follows, world.work());
        (echoes.concat(), works.concat(), follows.concat())
    };
    let restarts = async {
        let mut away = Vec::new();
        for replica in [&mut one, &mut other] {
            tokio::time::sleep(Duration::from_secs(1)).await;
            away.push(replace(replica, &database).await);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        world.is_over.store(true, Ordering::SeqCst);
        away
    };
    let ((echoes, works, follows), away) = tokio::join!(load, restarts);
    let count = echoes.len() + works.len() + follows.len();
    let statement = "SELECT count(*) FROM actions";
    let stored = database.connect().await.query_one(statement, &[]).await;
    assert_eq!(
        stored.unwrap().get::<_, i64>(0),
        i64::try_from(count).unwrap(),
        "one key, one action"
    );
    // The worker has gone; the last few of its actions wait.
    world.is_over.store(false, Ordering::SeqCst);
    let rest = async {
        for ids in [&echoes, &works] {
            for some in ids.chunks(10) {
                join_all(some.iter().map(|id| world.check_log(id))).await;
            }
        }
    };
    tokio::select! {
        () = world.work() => {}
        () = rest => {}
    }
    let retried = world.retried.lock().unwrap();
    note(
        "rolling restart",
        format!(
            "{count} actions, 0 lost, 0 twice, 0 gaps; away for {away:.1?}; tried again: {retried:?}, the longest for {} ms",
            world.longest.lock().unwrap().as_millis()
        ),
    );
}
