//! What workers were told holds: what is written stays, what is lost never was, and a lost lease is lost for good.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::logs::attempts;
use super::{Kind, Stored, StoredAction, Violation};
use crate::chaos::history::{Entry, Record, Told, Way};

pub(super) fn check(history: &[Entry], stored: &Stored) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut lost: BTreeSet<&str> = BTreeSet::new();
    let mut chunks: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for Entry { record, .. } in history {
        let (by, action, told) = match record {
            Record::Reported {
                by, action, told, ..
            }
            | Record::Renewed { by, action, told }
            | Record::Finished {
                by, action, told, ..
            } => (by.as_str(), action.as_str(), *told),
            Record::Granted {
                by,
                action,
                attempt,
            } => {
                let started = stored.actions.get(action).is_some_and(|one| {
                    let mut all = attempts(&one.log).into_iter();
                    all.any(|one| one.number == *attempt)
                });
                if !started {
                    let said = format!("{by} got attempt {attempt}, which the log does not tell");
                    found.push(Violation::new(Kind::WriteLost, action, said));
                }
                continue;
            }
            _ => continue,
        };
        match told {
            Told::Lost => drop(lost.insert(by)),
            Told::Written if lost.contains(by) => {
                let said = format!("{by} had lost its lease, and then: {record:?}");
                found.push(Violation::new(Kind::LateWrite, action, said));
            }
            Told::Conflict => {
                let said = format!("{by}: {record:?}");
                found.push(Violation::new(Kind::FalseConflict, action, said));
            }
            Told::Written | Told::Unknown => {}
        }
        let Some(one) = stored.actions.get(action) else {
            // Nobody was promised anything about it, or it is told as lost.
            continue;
        };
        let in_log = chunks
            .entry(action)
            .or_insert_with(|| one.log.iter().map(|event| event.data.to_string()).collect());
        found.extend(reported(one, in_log, record));
        found.extend(finished(one, record));
    }
    found
}

/// Compares what was reported with the log.
fn reported(
    action: &StoredAction,
    in_log: &BTreeSet<String>,
    record: &Record,
) -> Option<Violation> {
    let Record::Reported {
        by,
        action: id,
        from_seq,
        values,
        tries,
        told,
    } = record
    else {
        return None;
    };
    match told {
        Told::Written => {
            let missing = (*from_seq..).zip(values).find(|(seq, value)| {
                let mut log = action.log.iter();
                !log.any(|event| event.seq == *seq && event.data == **value)
            });
            missing.map(|(seq, value)| {
                let there = action.log.iter().find(|event| event.seq == seq);
                let said = format!("{by} was told that {value} is at {seq}, where {there:?} is");
                Violation::new(Kind::WriteLost, id, said)
            })
        }
        // With an earlier try whose answer is not known it may be written.
        Told::Lost | Told::Conflict if *tries == 1 => {
            let written = values
                .iter()
                .find(|value| in_log.contains(&value.to_string()));
            written.map(|value| {
                let said = format!("{by} was told that {value} is not written, and it is");
                Violation::new(Kind::LateWrite, id, said)
            })
        }
        _ => None,
    }
}

/// Compares what was said of an attempt's end with the log.
fn finished(action: &StoredAction, record: &Record) -> Option<Violation> {
    let Record::Finished {
        by,
        action: id,
        attempt,
        way,
        tries,
        told,
    } = record
    else {
        return None;
    };
    let is_its_output = action.result.as_ref().is_some_and(|result| {
        result.status == "succeeded" && result.output["by"].as_str() == Some(by)
    });
    let violation = |kind, said: &str| {
        let said = format!("{by}, attempt {attempt}, was told {told:?} of {way:?}, and {said}");
        Some(Violation::new(kind, id, said))
    };
    match (told, way) {
        (Told::Written, Way::Complete) if !is_its_output => violation(
            Kind::WriteLost,
            &format!("the result is {:?}", action.result),
        ),
        (Told::Lost, Way::Complete) if *tries == 1 && is_its_output => {
            violation(Kind::LateWrite, "its output is the result")
        }
        (Told::Written, Way::Fail | Way::Release) => {
            let reason = if *way == Way::Fail {
                "failed"
            } else {
                "released"
            };
            let ends = |data: &Value| {
                data["reason"].as_str() == Some(reason)
                    || data["status"] == "cancelled"
                    || (*way == Way::Fail && data["status"] == "failed")
            };
            let has_ended = attempts(&action.log)
                .iter()
                .any(|one| one.number == *attempt && one.end.is_some_and(|end| ends(&end.data)));
            match has_ended {
                true => None,
                false => violation(Kind::WriteLost, "no such attempt ended so"),
            }
        }
        _ => None,
    }
}
