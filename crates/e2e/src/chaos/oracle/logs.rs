//! Each log by itself: 1 to n, a legal life, one end.

use serde_json::{Value, json};

use super::{Kind, StoredAction, StoredEvent, StoredResult, Violation};
use crate::chaos::work;

/// One attempt, as the log tells it.
pub(super) struct Attempt<'a> {
    /// Its number.
    pub(super) number: u64,
    /// What was written during it.
    pub(super) written: Vec<&'a StoredEvent>,
    /// What ended it.
    pub(super) end: Option<&'a StoredEvent>,
}

/// The attempts of a log.
pub(super) fn attempts(log: &[StoredEvent]) -> Vec<Attempt<'_>> {
    let mut attempts: Vec<Attempt<'_>> = Vec::new();
    for event in log {
        if event.event == "started" {
            attempts.push(Attempt {
                number: event.data["attempt"].as_u64().unwrap_or(0),
                written: Vec::new(),
                end: None,
            });
        } else if let Some(attempt) = attempts.last_mut()
            && attempt.end.is_none()
        {
            match event.event.as_str() {
                "retry" | "done" => attempt.end = Some(event),
                _ => attempt.written.push(event),
            }
        }
    }
    attempts
}

pub(super) fn check(id: &str, action: &StoredAction) -> Vec<Violation> {
    let mut found = Vec::new();
    if let Err(evidence) = life(id, &action.log) {
        found.push(Violation::new(Kind::BrokenLog, id, evidence));
    }
    match &action.result {
        Some(result) if action.places == 1 => {
            if let Err(evidence) = result_of(action, result) {
                found.push(Violation::new(Kind::WrongResult, id, evidence));
            }
        }
        _ => {
            let said = format!(
                "it stands in {} of queue, leases and results, {} a result; its log ends with {:?}",
                action.places,
                if action.result.is_some() {
                    "with"
                } else {
                    "without"
                },
                action.log.last(),
            );
            found.push(Violation::new(Kind::NotOver, id, said));
        }
    }
    if let Err(evidence) = ownership(action) {
        found.push(Violation::new(Kind::ForeignWrite, id, evidence));
    }
    found
}

/// Where an action stands between two events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Nothing,
    Waiting { used: u64 },
    Running { attempt: u64 },
    Over,
}

/// Follows the log from `created` to `done`.
fn life(id: &str, log: &[StoredEvent]) -> Result<(), String> {
    let mut state = State::Nothing;
    for (expected, event) in (1..).zip(log) {
        if event.seq != expected {
            return Err(format!("position {expected} is missing before {event:?}"));
        }
        state = match (state, event.event.as_str()) {
            (State::Nothing, "created") if event.data == json!({"action_id": id}) => {
                State::Waiting { used: 0 }
            }
            (State::Waiting { used }, "started") if event.data == json!({"attempt": used + 1}) => {
                State::Running { attempt: used + 1 }
            }
            (State::Running { .. }, "message" | "progress") => state,
            // What is given back has used no attempt.
            (State::Running { attempt }, "retry") => match event.data["reason"].as_str() {
                Some("released") => State::Waiting { used: attempt - 1 },
                Some("failed" | "lease_expired" | "attempt_timeout") => {
                    State::Waiting { used: attempt }
                }
                _ => return Err(format!("no reason for a retry: {event:?}")),
            },
            (State::Running { .. }, "done") => State::Over,
            (State::Waiting { .. }, "done") if event.data == json!({"status": "cancelled"}) => {
                State::Over
            }
            _ => return Err(format!("{event:?} came to an action that was {state:?}")),
        };
    }
    match state {
        State::Over => Ok(()),
        _ => Err(format!("the log of {} events has no `done`", log.len())),
    }
}

/// Compares the result with the end of the log, and with what the performance must have given.
fn result_of(action: &StoredAction, result: &StoredResult) -> Result<(), String> {
    let Some(last) = action.log.last() else {
        return Err(format!("{result:?}, and no log"));
    };
    let told = match result.status.as_str() {
        "succeeded" => json!({"status": "succeeded", "output": result.output}),
        "failed" => json!({"status": "failed", "error": result.error}),
        _ => json!({"status": result.status}),
    };
    if last.seq != result.last_seq || last.data != told {
        return Err(format!("{result:?}, but the log ends with {last:?}"));
    }
    if result.status != "succeeded" {
        return Ok(());
    }
    let attempts = attempts(&action.log);
    let holder = attempts.last().and_then(|attempt| {
        let mut written = attempt.written.iter();
        written.find(|event| event.event == "message")
    });
    let expected = match action.action_type.as_str() {
        work::TYPE => {
            // Whoever completes an action writes at least one chunk of its own before.
            holder.map_or(Value::Null, |event| json!({"by": event.data["by"]}))
        }
        _ => action.input.clone(),
    };
    if result.output != expected {
        return Err(format!("the output is {}, not {expected}", result.output));
    }
    let said = words(&action.log).len();
    let asked = work::words_of(&action.input).len();
    if action.action_type == "echo" && said != asked {
        return Err(format!("{said} words were said, not {asked}"));
    }
    Ok(())
}

/// In one attempt one holder has written, each chunk once, and in its order.
fn ownership(action: &StoredAction) -> Result<(), String> {
    if action.action_type == "echo" {
        let (said, asked) = (words(&action.log), work::words_of(&action.input));
        return match said.iter().zip(&asked).all(|(said, asked)| said == asked)
            && said.len() <= asked.len()
        {
            true => Ok(()),
            false => Err(format!("asked to say {asked:?}, it said {said:?}")),
        };
    }
    for attempt in attempts(&action.log) {
        let number = attempt.number;
        let mut holder: Option<&Value> = None;
        let mut next = 0;
        for event in attempt.written {
            let (by, is_own) = match event.event.as_str() {
                // There is no room for more in what tells of progress.
                "progress" => (&event.data["note"], true),
                _ => (
                    &event.data["by"],
                    event.data["attempt"] == number && event.data["n"] == next,
                ),
            };
            if !is_own || holder.is_some_and(|holder| holder != by) {
                return Err(format!(
                    "in attempt {number} of {holder:?}, before chunk {next}: {event:?}"
                ));
            }
            holder = Some(by);
            next += u64::from(event.event == "message");
        }
    }
    Ok(())
}

fn words(log: &[StoredEvent]) -> Vec<&str> {
    log.iter()
        .filter(|event| event.event == "message")
        .filter_map(|event| event.data["text"].as_str())
        .collect()
}
