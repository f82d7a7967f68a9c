//! An external worker, as a process of its own: it is to be frozen and killed.
//!
//! It gets its settings as one line on standard input, and writes what it is told to standard output, a line each.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::history::{Entry, Moment, Record, Told, Way};
use super::random::Random;
use super::service::{Answer, Service, ask};
use super::work::{LEASE, TYPE};

/// How many actions it performs at a time.
const SLOTS: u32 = 12;
/// How often it asks for something that may be asked for again.
const TRIES: u32 = 8;
/// How long an answer may take: a frozen server must not cost the lease.
const ANSWER: Duration = Duration::from_millis(700);
/// How long it may be silent before it renews its lease.
const SILENT: Duration = Duration::from_millis(700);

/// What a worker has to know.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Settings {
    /// What it is called; no two processes have the same name.
    pub name: String,
    /// Where the servers are.
    pub replicas: Vec<String>,
    /// Its key.
    pub key: String,
    /// Where its choices come from.
    pub seed: u64,
}

/// Works until it is killed.
pub async fn run(settings: Settings) {
    let service = Arc::new(Service::new(&settings.replicas, &settings.key));
    let mut slots = JoinSet::new();
    for slot in 0..SLOTS {
        let mut slot = Slot {
            service: Arc::clone(&service),
            name: format!("{}.{slot}", settings.name),
            grants: 0,
            random: Random::of(settings.seed, &format!("{}.{slot}", settings.name)),
        };
        slots.spawn(async move {
            loop {
                slot.turn().await;
            }
        });
    }
    // None of them ends, unless by a panic.
    slots.join_all().await;
}

/// One that performs an action at a time.
struct Slot {
    service: Arc<Service>,
    name: String,
    grants: u64,
    random: Random,
}

/// A lease, as its holder knows it.
struct Grant {
    lease: String,
    action: String,
    by: String,
    attempt: u64,
    next_seq: u64,
    chunks: u64,
    progress: u64,
    tries: u32,
}

impl Slot {
    async fn turn(&mut self) {
        let body = json!({"types": [TYPE], "max": 1, "worker": self.name, "lease_seconds": LEASE.as_secs()});
        let replica = self.service.any(&mut self.random);
        let answer = ask(self.service.post(replica, "/leases", &body), ANSWER).await;
        let lease = match &answer {
            Answer::Told {
                status: 200, body, ..
            } => body["leases"].get(0),
            _ => None,
        };
        let Some(lease) = lease else {
            if !matches!(answer.code().0, 0 | 200 | 408 | 503) {
                tell_unexpected("POST /leases", &answer);
            }
            return sleep(self.random.millis(50..200)).await;
        };
        self.grants += 1;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut grant = Grant {
            lease: text(&lease["lease_id"]),
            action: text(&lease["action"]["id"]),
            by: format!("{}.{}", self.name, self.grants),
            attempt: lease["action"]["attempt"].as_u64().unwrap_or(0),
            next_seq: lease["next_seq"].as_u64().unwrap_or(0),
            chunks: 0,
            progress: 0,
            tries: 0,
        };
        tell(Record::Granted {
            by: grant.by.clone(),
            action: grant.action.clone(),
            attempt: grant.attempt,
        });
        self.perform(&mut grant, &lease["action"]["input"]).await;
    }

    async fn perform(&mut self, grant: &mut Grant, input: &Value) {
        let pause = input["pause_ms"].as_u64().unwrap_or(0);
        for _ in 0..input["chunks"].as_u64().unwrap_or(1) {
            // Now and then it forgets itself for longer than its lease, and comes back as if nothing had been.
            let pause = match self.random.chance(1) {
                true => LEASE + self.random.millis(1_500..4_000),
                false => self.random.millis(0..pause * 2 + 1),
            };
            if pause > SILENT && pause < LEASE && !self.renew(grant).await {
                return self.write_late(grant).await;
            }
            sleep(pause).await;
            match self.report(grant).await {
                Step::GoOn => {}
                Step::Cancel => {
                    let error = json!({"error": {"code": "cancelled", "message": "So it was asked."}, "retryable": true});
                    self.end(grant, Way::Fail, error).await;
                    return;
                }
                Step::Lost => return self.write_late(grant).await,
                // What has got how far nobody knows: to write something else there would be to lie.
                Step::Unknown => return,
            }
        }
        let failure = |retryable: bool| {
            let error = json!({"code": "on_purpose", "message": "It was to fail."});
            json!({"error": error, "retryable": retryable, "retry_after_seconds": 0.2})
        };
        let (way, body) = if input["is_poison"] == true {
            (Way::Fail, failure(false))
        } else if grant.attempt <= input["failures"].as_u64().unwrap_or(0) {
            (Way::Fail, failure(true))
        } else if self.random.chance(4) {
            (Way::Release, json!({}))
        } else if self.random.chance(3) {
            // It falls silent, as one that was killed.
            return;
        } else {
            (Way::Complete, json!({"output": {"by": grant.by}}))
        };
        match self.end(grant, way, body.clone()).await {
            Told::Lost => self.write_late(grant).await,
            Told::Written if way == Way::Complete && self.random.chance(10) => {
                self.end(grant, way, body).await;
            }
            _ => {}
        }
    }

    /// Writes one to three events.
    async fn report(&mut self, grant: &mut Grant) -> Step {
        let mut events = Vec::new();
        for _ in 0..self.random.within(1..3) {
            events.push(json!({"event": "message", "data": grant.chunk()}));
        }
        if self.random.chance(20) {
            events.push(json!({"event": "progress", "data": grant.progress()}));
        }
        let (told, answer) = self.write(grant, grant.next_seq, &events).await;
        match (told, &answer) {
            (Told::Written, Answer::Told { body, .. }) => {
                grant.next_seq = body["next_seq"].as_u64().unwrap_or(0);
                match body["cancel_requested"] == true {
                    true => Step::Cancel,
                    false => Step::GoOn,
                }
            }
            (Told::Lost, _) => Step::Lost,
            _ => Step::Unknown,
        }
    }

    /// Asks to write events until there is an answer, and notes it.
    async fn write(
        &mut self,
        grant: &mut Grant,
        from_seq: u64,
        events: &[Value],
    ) -> (Told, Answer) {
        let body = json!({"from_seq": from_seq, "events": events});
        let (told, answer) = self.call(grant, "events", &body).await;
        tell(Record::Reported {
            by: grant.by.clone(),
            action: grant.action.clone(),
            from_seq,
            values: events.iter().map(|event| event["data"].clone()).collect(),
            tries: grant.tries,
            told,
        });
        (told, answer)
    }

    async fn end(&mut self, grant: &mut Grant, way: Way, body: Value) -> Told {
        let call = match way {
            Way::Complete => "complete",
            Way::Fail => "fail",
            Way::Release => "release",
        };
        let (told, _) = self.call(grant, call, &body).await;
        tell(Record::Finished {
            by: grant.by.clone(),
            action: grant.action.clone(),
            attempt: grant.attempt,
            way,
            tries: grant.tries,
            told,
        });
        told
    }

    /// Renews the lease; answers whether it is still held, as far as is known.
    async fn renew(&mut self, grant: &Grant) -> bool {
        let body = json!({"lease_ids": [grant.lease]});
        let replica = self.service.any(&mut self.random);
        let answer = ask(
            self.service.post(replica, "/leases/heartbeat", &body),
            ANSWER,
        )
        .await;
        let told = match &answer {
            Answer::Told {
                status: 200, body, ..
            } => match body["leases"][0]["ok"] == true {
                true => Told::Written,
                false => Told::Lost,
            },
            _ => Told::Unknown,
        };
        tell(Record::Renewed {
            by: grant.by.clone(),
            action: grant.action.clone(),
            told,
        });
        told != Told::Lost
    }

    /// Tries all that a worker may try whose lease is lost: each has to be refused.
    async fn write_late(&mut self, grant: &mut Grant) {
        if self.random.chance(30) {
            return;
        }
        self.renew(grant).await;
        let next_seq = grant.next_seq;
        // Where the log of the next holder may have got to by now.
        for ahead in [0, 2, 3, 4] {
            let event = json!({"event": "message", "data": grant.chunk()});
            self.write(grant, next_seq + ahead, &[event]).await;
        }
        let output = json!({"output": {"by": grant.by}});
        self.end(grant, Way::Complete, output).await;
    }

    /// Asks until there is an answer.
    async fn call(&mut self, grant: &mut Grant, call: &str, body: &Value) -> (Told, Answer) {
        let path = format!("/leases/{}/{call}", grant.lease);
        for tries in 1..=TRIES {
            grant.tries = tries;
            let replica = self.service.any(&mut self.random);
            let answer = ask(self.service.post(replica, &path, body), ANSWER).await;
            let told = match answer.code() {
                (200, _) => Told::Written,
                (409, "lease_lost") => Told::Lost,
                (409, "sequence_conflict") => Told::Conflict,
                (0 | 408 | 503, _) => {
                    sleep(self.random.millis(20..200)).await;
                    continue;
                }
                _ => {
                    tell_unexpected(&format!("POST {path}"), &answer);
                    Told::Unknown
                }
            };
            return (told, answer);
        }
        (Told::Unknown, Answer::Unknown)
    }
}

/// How to go on after a report.
enum Step {
    GoOn,
    Cancel,
    Lost,
    Unknown,
}

impl Grant {
    /// Data that nobody else writes, and this one writes once.
    fn chunk(&mut self) -> Value {
        let chunk = json!({"by": self.by, "attempt": self.attempt, "n": self.chunks});
        self.chunks += 1;
        chunk
    }

    /// The same, as far as there is room for it.
    fn progress(&mut self) -> Value {
        self.progress += 1;
        json!({"percent": self.progress, "note": self.by})
    }
}

fn tell_unexpected(request: &str, answer: &Answer) {
    if let Answer::Told { status, body, .. } = answer {
        tell(Record::Unexpected {
            request: request.to_owned(),
            status: *status,
            body: body.to_string(),
        });
    }
}

/// Tells whoever started this process. One that is gone needs no worker.
fn tell(record: Record) {
    let entry = Entry {
        at: Moment::now(),
        record,
    };
    let line = serde_json::to_string(&entry).unwrap();
    writeln!(std::io::stdout().lock(), "{line}").unwrap();
}
