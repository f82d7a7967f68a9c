//! What happened, in numbers.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use super::history::{Blow, Entry, Moment, Record, Told};
use super::oracle::Stored;
use super::work;

/// The numbers of a run.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    acknowledged: usize,
    unacknowledged: usize,
    keys: usize,
    answers: usize,
    attempts: usize,
    events: usize,
    outcomes: BTreeMap<String, usize>,
    connections: usize,
    seen: usize,
    blows: BTreeMap<Blow, usize>,
    lost_leases: usize,
    late_writes: usize,
    takeovers: usize,
    longest_takeover: Duration,
    longest_delivery: Duration,
}

impl Summary {
    /// Counts.
    #[must_use]
    pub fn of(history: &[Entry], stored: &Stored) -> Self {
        let mut summary = Self::default();
        let (mut actions, mut keys) = (BTreeSet::new(), BTreeSet::new());
        let mut streams = BTreeMap::new();
        let mut lost = BTreeSet::new();
        // When each attempt of an external worker has been heard of last.
        let mut alive: BTreeMap<&str, Vec<Moment>> = BTreeMap::new();
        for Entry { at, record } in history {
            match record {
                Record::Acknowledged { action, key, .. } => {
                    summary.answers += 1;
                    actions.insert(action);
                    keys.extend(key);
                }
                Record::Opened { stream, action, .. } => {
                    summary.connections += 1;
                    streams.insert(*stream, (action, *at));
                }
                Record::Seen { stream, seq, .. } => {
                    summary.seen += 1;
                    let Some((action, opened)) = streams.get(stream) else {
                        continue;
                    };
                    let log = stored.actions.get(*action).map(|one| &one.log);
                    let event = log.and_then(|log| log.iter().find(|event| event.seq == *seq));
                    if let Some(event) = event {
                        let took = at.since(event.at.max(*opened));
                        summary.longest_delivery = summary.longest_delivery.max(took);
                    }
                }
                Record::Struck { blow, .. } => *summary.blows.entry(*blow).or_default() += 1,
                Record::Reported {
                    by, action, told, ..
                }
                | Record::Renewed { by, action, told }
                | Record::Finished {
                    by, action, told, ..
                } => match told {
                    Told::Lost => {
                        let is_late = !lost.insert(by);
                        summary.late_writes += usize::from(is_late);
                    }
                    Told::Written => alive.entry(action).or_default().push(*at),
                    Told::Conflict | Told::Unknown => {}
                },
                _ => {}
            }
        }
        summary.acknowledged = actions.len();
        summary.unacknowledged = stored.actions.len().saturating_sub(actions.len());
        summary.keys = keys.len();
        summary.lost_leases = lost.len();
        for (id, action) in &stored.actions {
            summary.events += action.log.len();
            let status = action
                .result
                .as_ref()
                .map_or("not over", |result| &result.status);
            *summary.outcomes.entry(status.to_owned()).or_default() += 1;
            let mut last = None;
            for event in &action.log {
                summary.attempts += usize::from(event.event == "started");
                if event.data["reason"] == "lease_expired" && action.action_type == work::TYPE {
                    let mut signs = alive.get(id.as_str()).into_iter().flatten();
                    let sign = signs.rfind(|sign| **sign < event.at).copied();
                    let silence = last
                        .max(sign)
                        .map_or(Duration::ZERO, |sign| event.at.since(sign));
                    summary.takeovers += 1;
                    summary.longest_takeover = summary.longest_takeover.max(silence);
                }
                last = Some(event.at);
            }
        }
        summary
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outcomes: Vec<String> = self
            .outcomes
            .iter()
            .map(|(status, count)| format!("{count} {status}"))
            .collect();
        let blow = |blow| self.blows.get(&blow).copied().unwrap_or(0);
        writeln!(
            f,
            "  actions       {} acknowledged in {} answers, {} of them with a key; {} more whose answer was lost",
            self.acknowledged, self.answers, self.keys, self.unacknowledged
        )?;
        writeln!(
            f,
            "  performance   {} attempts, {} events; {}",
            self.attempts,
            self.events,
            outcomes.join(", ")
        )?;
        writeln!(
            f,
            "  subscribers   {} connections, {} events seen, the latest {:.1} s after it was written",
            self.connections,
            self.seen,
            self.longest_delivery.as_secs_f64()
        )?;
        writeln!(
            f,
            "  workers       {} leases lost (409), {} more writes of theirs refused; {} actions taken away, the last of them after {:.1} s of silence",
            self.lost_leases,
            self.late_writes,
            self.takeovers,
            self.longest_takeover.as_secs_f64()
        )?;
        write!(
            f,
            "  kills         {} KILL, {} TERM, {} STOP and CONT, {} connections, {} times all listeners",
            blow(Blow::Kill),
            blow(Blow::Term),
            blow(Blow::Stop),
            blow(Blow::Backend),
            blow(Blow::Listeners)
        )
    }
}
