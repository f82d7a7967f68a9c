//! What was acknowledged is stored, once, and is as it was told.

use std::collections::{BTreeMap, BTreeSet};

use super::{Kind, Stored, StoredAction, Violation};
use crate::chaos::history::{Entry, Record};

pub(super) fn check(history: &[Entry], stored: &Stored) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut by_tag: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (id, action) in &stored.actions {
        let tag = action.input["tag"].as_str().unwrap_or_default();
        by_tag.entry(tag).or_default().insert(id);
    }
    for Entry { record, .. } in history {
        match record {
            Record::Acknowledged {
                action,
                tag,
                key,
                run_at,
                status,
            } => {
                // Two answers to one request are found whether both are stored or not.
                by_tag.entry(tag).or_default().insert(action);
                let Some(one) = stored.actions.get(action) else {
                    let said = format!("acknowledged to {tag} with the key {key:?}");
                    found.push(Violation::new(Kind::Lost, action, said));
                    continue;
                };
                if let Some(key) = key
                    && stored.keys.get(key) != Some(action)
                {
                    let said = format!(
                        "the key {key} was answered with it, and belongs to {:?}",
                        stored.keys.get(key)
                    );
                    found.push(Violation::new(Kind::StoredTwice, action, said));
                }
                let started = one.log.iter().find(|event| event.event == "started");
                if let (Some(run_at), Some(started)) = (run_at, started)
                    && started.at < *run_at
                {
                    let said = format!("{started:?}, to run at {run_at:?}");
                    found.push(Violation::new(Kind::TooEarly, action, said));
                }
                if let Some(status) = status {
                    found.extend(told_otherwise(action, one, status));
                }
            }
            Record::CancelAnswered { action, status } => {
                if let Some(one) = stored.actions.get(action) {
                    found.extend(told_otherwise(action, one, status));
                }
            }
            _ => {}
        }
    }
    for (tag, ids) in by_tag {
        if ids.len() > 1 {
            let said = format!("one request, and {ids:?}");
            found.push(Violation::new(Kind::StoredTwice, tag, said));
        }
    }
    found
}

/// An end that was told is the end.
fn told_otherwise(id: &str, action: &StoredAction, told: &str) -> Option<Violation> {
    let is = action.result.as_ref().map(|result| result.status.as_str());
    let was_over = matches!(told, "succeeded" | "failed" | "cancelled");
    (was_over && is != Some(told)).then(|| {
        let said = format!("a client was told that it has {told}, and it is {is:?}");
        Violation::new(Kind::ToldOtherwise, id, said)
    })
}
