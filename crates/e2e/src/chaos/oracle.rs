//! Says what contradicts the promises, of what was written down and what is stored. Pure: it asks nobody.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde_json::Value;

use super::history::{Blow, Entry, Moment, Record};

mod logs;
mod requests;
mod streams;
#[cfg(test)]
mod tests;
mod workers;

/// What the database holds when all has come to rest.
#[derive(Debug, Clone, Default)]
pub struct Stored {
    /// The actions by their ids.
    pub actions: BTreeMap<String, StoredAction>,
    /// The action of each Idempotency-Key.
    pub keys: BTreeMap<String, String>,
}

/// An action as it is stored.
#[derive(Debug, Clone)]
pub struct StoredAction {
    /// The name of its type.
    pub action_type: String,
    /// What it was asked with.
    pub input: Value,
    /// In how many of the queue, the leases and the results it stands.
    pub places: u64,
    /// How it ended, if it did.
    pub result: Option<StoredResult>,
    /// Its log.
    pub log: Vec<StoredEvent>,
}

/// How an action ended.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredResult {
    /// `succeeded`, `failed` or `cancelled`.
    pub status: String,
    /// The output, or null.
    pub output: Value,
    /// The error, or null.
    pub error: Value,
    /// The last position of the log.
    pub last_seq: u64,
}

/// An event as it is stored.
#[derive(Debug, Clone)]
pub struct StoredEvent {
    /// Its position.
    pub seq: u64,
    /// Its name.
    pub event: String,
    /// Its data.
    pub data: Value,
    /// When it was written.
    pub at: Moment,
}

/// What is granted to a machine that does other things, too.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// How late an event may reach a subscriber that is connected to a server that runs.
    pub delivery: Duration,
    /// How long a server that was asked to stop may take.
    pub drain: Duration,
}

/// Something that must not be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// An acknowledged action isn't there.
    Lost,
    /// An action is not over, or at two places at once.
    NotOver,
    /// A request with a key was stored twice, or answered with two actions.
    StoredTwice,
    /// A log has a gap, a wrong order, or something after its end.
    BrokenLog,
    /// The result is another than the log says, or than the performance gave.
    WrongResult,
    /// Who performed has written what isn't its own to write.
    ForeignWrite,
    /// What a worker was told is written isn't.
    WriteLost,
    /// What a worker was told is lost was written, or a lost lease was obeyed.
    LateWrite,
    /// The holder of a lease was told of a conflict.
    FalseConflict,
    /// A client was told of another end than the one that is stored.
    ToldOtherwise,
    /// An action started before its time.
    TooEarly,
    /// A subscriber saw a gap, a duplicate, another order or another event than the stored one.
    SeenOtherwise,
    /// A subscriber was connected and did not hear of an event in time.
    NotTold,
    /// A server gave an answer that nobody may get.
    UnexpectedAnswer,
    /// A server that was asked to stop did not do so in time, or not cleanly.
    NotDrained,
    /// A process ended by itself, or panicked.
    Died,
}

/// A contradiction, with its evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// What it is.
    pub kind: Kind,
    /// Whom it concerns: the id of an action, or the name of a process.
    pub whom: String,
    /// What shows it.
    pub evidence: String,
}

impl Violation {
    fn new(kind: Kind, whom: &str, evidence: impl Into<String>) -> Self {
        Self {
            kind,
            whom: whom.to_owned(),
            evidence: evidence.into(),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kind,
            whom,
            evidence,
        } = self;
        write!(f, "{kind:?}: {whom}: {evidence}")
    }
}

/// Everything that contradicts the promises.
#[must_use]
pub fn judge(history: &[Entry], stored: &Stored, bounds: &Bounds) -> Vec<Violation> {
    let mut found = Vec::new();
    for (id, action) in &stored.actions {
        found.extend(logs::check(id, action));
    }
    found.extend(requests::check(history, stored));
    found.extend(workers::check(history, stored));
    found.extend(streams::check(history, stored, bounds.delivery));
    found.extend(processes(history, bounds.drain));
    found
}

/// Whether the processes kept to their part.
fn processes(history: &[Entry], drain: Duration) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut asked: BTreeMap<&str, Moment> = BTreeMap::new();
    for Entry { at, record } in history {
        match record {
            Record::Struck {
                victim,
                blow: Blow::Term,
            } => drop(asked.insert(victim, *at)),
            Record::Drained { victim, code } => {
                let took = asked.get(victim.as_str()).map(|from| at.since(*from));
                if *code != Some(0) || took.is_some_and(|took| took > drain) {
                    let said = format!("exit code {code:?} after {took:?}");
                    found.push(Violation::new(Kind::NotDrained, victim, said));
                }
            }
            Record::Died { victim, how } => {
                found.push(Violation::new(Kind::Died, victim, how));
            }
            Record::Unexpected {
                request,
                status,
                body,
            } => {
                let said = format!("{status} {body}");
                found.push(Violation::new(Kind::UnexpectedAnswer, request, said));
            }
            _ => {}
        }
    }
    found
}
