//! PostgreSQL that is away for a while, under load.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use deed_e2e::client::{Client, Request};
use deed_e2e::cluster::OwnPostgres;
use deed_e2e::database::Database;
use deed_e2e::proxy::{Fault, FaultyProxy};
use deed_e2e::server::Server;
use deed_e2e::stream::{Item, check_whole_log, words};
use deed_e2e::unique;
use deed_e2e::wait::{SOON, until};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::{ACTIONS, DEED, alone, check_honest, note};

/// What is promised of answers while PostgreSQL is away, and of the time after its return.
const READ: Duration = Duration::from_millis(2_500);
const WRITE: Duration = Duration::from_secs(7);
const BACK: Duration = Duration::from_secs(3);
/// How often a stream that is silent shows that it lives.
const HEARTBEAT: Duration = Duration::from_secs(15);
const TYPE: &str = "outage.work";
/// How long the load lasts before an outage, and how long an outage takes that answers nothing.
const WARM_UP: Duration = Duration::from_secs(2);
const LENGTH: Duration = Duration::from_secs(6);

/// The pause between two requests of a client.
const PAUSE: Duration = Duration::from_millis(50);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Read,
    Write,
}

/// One request and what came of it.
struct Record {
    kind: Kind,
    begun: Instant,
    ended: Instant,
    status: u16,
}

/// Many clients, each of which asks again as soon as it is answered.
struct Load {
    user: Client,
    worker: Client,
    records: Mutex<Vec<Record>>,
    /// The actions that were acknowledged.
    acknowledged: Mutex<Vec<String>>,
    stop: watch::Sender<bool>,
}

impl Load {
    async fn over(server: &Server) -> Self {
        let path = format!("/action-types/{TYPE}");
        let put = server.root().request("PUT", &path).json(&json!({}));
        put.send().await.json(201);
        Self {
            user: server.user(&ACTIONS).await,
            worker: server.user(&["actions:work"]).await,
            records: Mutex::default(),
            acknowledged: Mutex::default(),
            stop: watch::Sender::new(false),
        }
    }

    fn is_over(&self) -> bool {
        *self.stop.borrow()
    }

    /// Sends it and keeps what came of it; answers the body of a success.
    async fn ask(&self, kind: Kind, request: Request, success: &[u16]) -> Option<Value> {
        let begun = Instant::now();
        let answer = request.send().await;
        let ended = Instant::now();
        check_honest(&answer, success);
        let taken = ended - begun;
        if answer.status == 503 {
            let promised = match kind {
                Kind::Read => READ,
                Kind::Write => WRITE,
            };
            assert!(
                taken <= promised,
                "{kind:?} after {taken:?}: {}",
                answer.body
            );
        }
        self.records.lock().unwrap().push(Record {
            kind,
            begun,
            ended,
            status: answer.status,
        });
        tokio::time::sleep(PAUSE).await;
        (answer.status != 503).then(|| answer.json(answer.status))
    }

    async fn run(&self) {
        let reader = async |path: &str| {
            while !self.is_over() {
                self.ask(Kind::Read, self.user.get(path), &[200]).await;
            }
        };
        tokio::join!(
            reader("/actions"),
            reader("/actions?limit=200"),
            reader("/users/me"),
            reader("/action-types/echo"),
            self.write("echo"),
            self.write("echo"),
            self.write(TYPE),
            self.work(),
        );
    }

    /// Submits actions, each until it is acknowledged.
    async fn write(&self, action_type: &str) {
        while !self.is_over() {
            let key = unique();
            let body = json!({"type": action_type, "input": {"text": key}});
            loop {
                let request = self
                    .user
                    .post("/actions", &body)
                    .header("Prefer", "respond-async");
                let request = request.header("Idempotency-Key", &key);
                if let Some(action) = self.ask(Kind::Write, request, &[201, 202]).await {
                    let id = action["id"].as_str().unwrap().to_owned();
                    self.acknowledged.lock().unwrap().push(id);
                    break;
                }
            }
        }
    }

    /// Performs actions as a worker does. What it could not finish in time is performed again.
    async fn work(&self) {
        let wanted = json!({"types": [TYPE], "worker": "w", "lease_seconds": 5, "max": 4});
        while !self.is_over() {
            let request = self.worker.post("/leases", &wanted);
            let Some(granted) = self.ask(Kind::Write, request, &[200]).await else {
                continue;
            };
            for lease in granted["leases"].as_array().unwrap() {
                let path = format!("/leases/{}/complete", lease["lease_id"].as_str().unwrap());
                let body = json!({"output": 1});
                loop {
                    let request = self.worker.post(&path, &body);
                    // Lost while PostgreSQL was away is a right answer too.
                    if self.ask(Kind::Write, request, &[200, 409]).await.is_some() {
                        break;
                    }
                }
            }
        }
    }
}

/// When PostgreSQL was away, and when a silent stream showed that it lives.
struct Outage {
    away: Instant,
    back: Instant,
    heartbeats: Vec<Instant>,
}

impl Outage {
    fn between(away: Instant, back: Instant) -> Self {
        Self {
            away,
            back,
            heartbeats: Vec::new(),
        }
    }
}

/// Puts a server under load for `warm_up`, lets `outage` happen to its database, and checks all that is promised. A stream
/// that is silent shows that it lives, be it in the middle of the outage or after it.
async fn check_outage(
    fault: &str,
    server: &mut Server,
    warm_up: Duration,
    outage: impl AsyncFnOnce() -> Outage,
) -> Outage {
    let load = Load::over(server).await;
    // In mid-sentence when the outage begins.
    let talking = json!({"type": "echo", "input": {"text": "a b c d e f g h i j", "delay_ms": 250, "repeat": 4}});
    let mut talking = load.user.post("/stream", &talking).stream().await;
    let silent = json!({"type": "wait", "input": {"seconds": 60}});
    let mut silent = load.user.post("/stream", &silent).stream().await;
    silent.event_named("started").await;
    let mut heartbeats = Vec::new();
    let mut stopped = load.stop.subscribe();
    let listen = async {
        loop {
            tokio::select! {
                _ = stopped.changed() => return,
                item = silent.try_item() => match item.unwrap() {
                    Some(Item::Comment(_)) => heartbeats.push(Instant::now()),
                    Some(_) => {}
                    None => panic!("a stream has ended"),
                }
            }
        }
    };
    let happen = async {
        tokio::time::sleep(warm_up).await;
        let outage = outage().await;
        let settled = outage.back + BACK + Duration::from_secs(1);
        tokio::time::sleep_until(settled.into()).await;
        load.stop.send_replace(true);
        outage
    };
    let (outage, (), (), events) = tokio::join!(happen, listen, load.run(), talking.rest());
    check_whole_log(&events);
    assert_eq!(words(&events).concat(), "abcdefghij".repeat(4));
    let path = silent.headers["location"]
        .to_str()
        .unwrap()
        .replace("/events", "/cancel");
    load.user.request("POST", &path).send().await;
    silent.event_named("done").await;

    check_records(fault, &load.records.lock().unwrap(), &outage);
    assert!(server.process.is_running(), "the process stays");
    let acknowledged = std::mem::take(&mut *load.acknowledged.lock().unwrap());
    check_performed(&load, &acknowledged).await;
    Outage {
        heartbeats,
        ..outage
    }
}

/// Answers failed while PostgreSQL was away, and hardly longer; each in time is checked as it comes.
fn check_records(fault: &str, records: &[Record], outage: &Outage) {
    let Outage { away, back, .. } = *outage;
    let mut statuses: BTreeMap<(Kind, u16), usize> = BTreeMap::new();
    for record in records.iter() {
        *statuses.entry((record.kind, record.status)).or_default() += 1;
    }
    let slowest = |kind: Kind| {
        let of_kind = records
            .iter()
            .filter(|one| one.kind == kind && one.status == 503);
        of_kind
            .map(|one| one.ended - one.begun)
            .max()
            .unwrap_or_default()
    };
    assert!(
        slowest(Kind::Read) > Duration::ZERO,
        "nothing was away: {statuses:?}"
    );
    let last = records
        .iter()
        .filter(|one| one.status == 503)
        .map(|one| one.ended)
        .max();
    let recovered = last.unwrap().saturating_duration_since(back);
    assert!(recovered <= BACK, "{recovered:?} after its return");
    for kind in [Kind::Read, Kind::Write] {
        let after = records
            .iter()
            .any(|one| one.kind == kind && one.begun > back && one.status < 300);
        assert!(after, "no {kind:?} succeeded afterwards");
    }
    note(
        fault,
        format!(
            "{:.1} s; {statuses:?}; slowest 503: read {} ms, write {} ms; last 503 {} ms after its return",
            (back - away).as_secs_f64(),
            slowest(Kind::Read).as_millis(),
            slowest(Kind::Write).as_millis(),
            recovered.as_millis(),
        ),
    );
}

/// Nothing that was acknowledged is lost: each action is there once, and what a server performs is performed.
async fn check_performed(load: &Load, acknowledged: &[String]) {
    let mut all = Vec::new();
    let mut next = "/actions?limit=200".to_owned();
    loop {
        let page = load.user.get(&next).send().await.json(200);
        all.extend(page["items"].as_array().unwrap().clone());
        match page["next_cursor"].as_str() {
            Some(cursor) => next = format!("/actions?limit=200&cursor={cursor}"),
            None => break,
        }
    }
    // And the two that were followed.
    assert_eq!(all.len(), acknowledged.len() + 2, "one key, one action");
    join_all(acknowledged.iter().map(async |id| {
        let path = format!("/actions/{id}");
        let action = load.user.get(&path).send().await.json(200);
        if action["type"] == TYPE {
            return;
        }
        until(SOON, async || {
            let action = load.user.get(&path).send().await.json(200);
            if action["status"] == "succeeded" {
                Ok(())
            } else {
                Err(action)
            }
        })
        .await;
    }))
    .await;
}

/// A server at its own PostgreSQL.
async fn own(name: &str) -> (OwnPostgres, Server) {
    let postgres = OwnPostgres::start(name, &[]).await;
    let server = Server::start(DEED, &postgres.database()).await;
    (postgres, server)
}

#[tokio::test]
async fn postgresql_that_is_stopped_for_ten_seconds_costs_ten_seconds() {
    let _machine = alone().await;
    let (mut postgres, mut server) = own("stopped").await;
    let outage = async || {
        let away = Instant::now();
        postgres.stop().await;
        tokio::time::sleep_until((away + Duration::from_secs(10)).into()).await;
        postgres.start_again().await;
        let back = Instant::now();
        Outage::between(away, back)
    };
    let fault = "PostgreSQL stopped for 10 s";
    // So that the silent stream has been silent for as long as it may while PostgreSQL is away.
    let warm_up = HEARTBEAT - Duration::from_secs(9);
    let Outage {
        away,
        back,
        heartbeats,
    } = check_outage(fault, &mut server, warm_up, outage).await;
    let is_meanwhile = |at: &Instant| away < *at && *at < back;
    assert!(heartbeats.iter().any(is_meanwhile), "no heartbeat");
}

#[tokio::test]
async fn postgresql_that_freezes_is_not_waited_for() {
    let _machine = alone().await;
    let (postgres, mut server) = own("frozen").await;
    let outage = async || {
        let away = Instant::now();
        let frozen = postgres.freeze();
        tokio::time::sleep_until((away + LENGTH).into()).await;
        drop(frozen);
        let back = Instant::now();
        Outage::between(away, back)
    };
    let fault = "PostgreSQL frozen";
    check_outage(fault, &mut server, WARM_UP, outage).await;
}

#[tokio::test]
async fn postgresql_that_is_cut_off_is_not_waited_for() {
    let _machine = alone().await;
    let database = Database::fresh().await;
    let proxy = FaultyProxy::before(database.url()).await;
    let mut server = Server::setup(&database)
        .environment("DATABASE_URL", &proxy.url(database.url()))
        .start(DEED)
        .await;
    let outage = async || {
        let away = Instant::now();
        proxy.switch(Fault::BlackHole);
        tokio::time::sleep_until((away + LENGTH).into()).await;
        proxy.switch(Fault::None);
        let back = Instant::now();
        Outage::between(away, back)
    };
    let fault = "PostgreSQL cut off";
    check_outage(fault, &mut server, WARM_UP, outage).await;
}

#[tokio::test]
async fn a_restart_of_postgresql_is_hardly_noticed() {
    let _machine = alone().await;
    let (mut postgres, mut server) = own("restarted").await;
    let client = server.user(&ACTIONS).await;
    let body =
        json!({"type": "echo", "input": {"text": "a b c d e", "delay_ms": 100, "repeat": 6}});
    let mut stream = client.post("/stream", &body).stream().await;
    let first = stream.event_named("message").await;
    for _ in 0..2 {
        postgres.stop().await;
        postgres.start_again().await;
        let back = Instant::now();
        until(BACK, async || {
            let answer = client.get("/actions").send().await;
            check_honest(&answer, &[200]);
            if answer.status == 200 {
                Ok(())
            } else {
                Err(answer)
            }
        })
        .await;
        note(
            "PostgreSQL restarted",
            format!("back after {} ms", back.elapsed().as_millis()),
        );
    }
    let mut positions = vec![first.seq()];
    let rest = stream.rest().await;
    positions.extend(rest.iter().map(|event| event.seq()));
    assert!(
        positions.windows(2).all(|pair| pair[1] == pair[0] + 1),
        "{positions:?}"
    );
    assert_eq!(rest.last().unwrap().json()["status"], "succeeded");
    assert!(server.process.is_running());
}
