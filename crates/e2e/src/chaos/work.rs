//! What is asked for: a mixture of actions that are performed within the servers and by external workers, that succeed,
//! fail, are tried again, and last from no time to some seconds.

use std::time::Duration;

use serde_json::{Value, json};

use super::history::Moment;
use super::random::Random;

/// The type that the external workers perform.
pub const TYPE: &str = "chaos.work";
/// How long a worker may be silent.
pub const LEASE: Duration = Duration::from_secs(2);
/// How many attempts there are: enough for an action to outlive what befalls its performers, mostly.
const ATTEMPTS: u32 = 8;

/// The definition of [`TYPE`].
#[must_use]
pub fn definition() -> Value {
    json!({
        "max_attempts": ATTEMPTS,
        "lease_seconds": LEASE.as_secs(),
        "retry": {"initial_seconds": 0.1, "factor": 2.0, "max_seconds": 1.0},
    })
}

/// A request, to be sent until it is answered.
#[derive(Debug, Clone)]
pub struct Asked {
    /// What tells it from all others.
    pub tag: String,
    /// `/actions` or `/stream`.
    pub path: &'static str,
    /// The Idempotency-Key.
    pub key: Option<String>,
    /// How long it asks to wait, in whole seconds.
    pub wait: Duration,
    /// Before when it must not start.
    pub run_at: Option<Moment>,
    /// The body.
    pub body: Value,
}

impl Asked {
    /// Any request.
    pub fn any(random: &mut Random, tag: String) -> Self {
        let (name, input) = match random.within(0..100) {
            0..38 => ("echo", echo(random, &tag)),
            38..45 => {
                let time = random.millis(0..3_000);
                ("wait", json!({"tag": tag, "seconds": time.as_secs_f64()}))
            }
            _ => (TYPE, external(random, &tag)),
        };
        let mut body = json!({"type": name, "input": input});
        let run_at = random.chance(12).then(|| {
            let ahead = random.millis(200..2_500);
            Moment(Moment::now().after(ahead).0 / 1_000 * 1_000)
        });
        if let Some(at) = run_at {
            body["run_at"] = json!(at.to_rfc3339());
        }
        if random.chance(20) {
            body["priority"] = json!(random.within(0..10));
        }
        let path = if random.chance(15) {
            "/stream"
        } else {
            "/actions"
        };
        let waits = path == "/actions" && random.chance(20);
        Self {
            path,
            key: random.chance(75).then(|| format!("key-{tag}")),
            wait: Duration::from_secs(if waits { random.within(1..4) } else { 0 }),
            run_at,
            body,
            tag,
        }
    }
}

fn echo(random: &mut Random, tag: &str) -> Value {
    let count = random.within(0..12);
    let words: Vec<String> = (0..count).map(|n| format!("w{n}")).collect();
    let delay = random.within(0..250);
    let mut input = json!({"tag": tag, "text": words.join(" "), "delay_ms": delay});
    if count > 0 && random.chance(10) {
        input["fail_at"] = json!(random.within(1..count + 1));
    }
    input
}

fn external(random: &mut Random, tag: &str) -> Value {
    let mut input = json!({
        "tag": tag,
        "chunks": random.within(1..9),
        "pause_ms": random.within(0..500),
    });
    match random.within(0..100) {
        // So many attempts fail before one succeeds, or all of them.
        0..15 => input["failures"] = json!(random.within(1..3)),
        15..18 => input["failures"] = json!(ATTEMPTS),
        18..22 => input["is_poison"] = json!(true),
        _ => {}
    }
    input
}

/// The words that an echo is asked to say.
#[must_use]
pub fn words_of(input: &Value) -> Vec<&str> {
    let text = input["text"].as_str().unwrap_or_default();
    text.split_whitespace().collect()
}
