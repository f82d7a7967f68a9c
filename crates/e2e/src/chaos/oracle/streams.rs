//! What each subscriber saw is the log, from where it began, without gap, duplicate or other order, and in time.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Kind, Stored, StoredEvent, Violation};
use crate::chaos::history::{Blow, Closed, Entry, Moment, Record};
use crate::chaos::members::replica_name;

/// One connection of a subscriber.
struct Stream<'a> {
    name: String,
    action: &'a str,
    replica: String,
    opened: Moment,
    /// The last position that it has brought.
    at: u64,
    is_over: bool,
}

/// When each server was frozen.
type Frozen<'a> = BTreeMap<&'a str, Vec<(Moment, Moment)>>;

pub(super) fn check(history: &[Entry], stored: &Stored, delivery: Duration) -> Vec<Violation> {
    let frozen = frozen(history);
    let mut streams: BTreeMap<u64, Stream<'_>> = BTreeMap::new();
    let mut found = Vec::new();
    for Entry { at, record } in history {
        match record {
            Record::Opened {
                stream,
                subscriber,
                action,
                after,
                replica,
            } => {
                let opened = Stream {
                    name: format!("{subscriber}, connection {stream} to replica {replica}"),
                    action,
                    replica: replica_name(*replica),
                    opened: *at,
                    at: *after,
                    is_over: false,
                };
                streams.insert(*stream, opened);
            }
            Record::Seen {
                stream,
                seq,
                event,
                data,
            } => {
                let Some(stream) = streams.get_mut(stream) else {
                    continue;
                };
                let there = event_at(stored, stream.action, *seq);
                let expected = stream.at + 1;
                let is_as_stored =
                    there.is_some_and(|there| there.event == *event && there.data == *data);
                if stream.is_over || *seq != expected || !is_as_stored {
                    let said = format!(
                        "{} saw {seq} {event} {data} where {expected} was to come; stored is {there:?}",
                        stream.name
                    );
                    found.push(Violation::new(Kind::SeenOtherwise, stream.action, said));
                }
                if let Some(there) = there {
                    found.extend(late(stream, there, *at, delivery, &frozen));
                }
                stream.at = *seq;
                stream.is_over = event == "done";
            }
            Record::StreamClosed { stream, how } => {
                let Some(stream) = streams.remove(stream) else {
                    continue;
                };
                let next = event_at(stored, stream.action, stream.at + 1);
                match (how, next) {
                    (Closed::AtEnd, Some(next)) => {
                        let said = format!("{} was told that {next:?} is not to come", stream.name);
                        found.push(Violation::new(Kind::SeenOtherwise, stream.action, said));
                    }
                    (_, Some(next)) => found.extend(late(&stream, next, *at, delivery, &frozen)),
                    (_, None) => {}
                }
            }
            _ => {}
        }
    }
    found
}

fn event_at<'a>(stored: &'a Stored, action: &str, seq: u64) -> Option<&'a StoredEvent> {
    let log = &stored.actions.get(action)?.log;
    log.iter().find(|event| event.seq == seq)
}

/// Whether `event` was not seen until `now` by a stream that was open all the time. While its server was frozen nobody
/// could tell it.
fn late(
    stream: &Stream<'_>,
    event: &StoredEvent,
    now: Moment,
    delivery: Duration,
    frozen: &Frozen<'_>,
) -> Option<Violation> {
    let from = event.at.max(stream.opened);
    let waited = now.since(from);
    if waited <= delivery {
        return None;
    }
    let stops = frozen.get(stream.replica.as_str());
    let excused: Duration = stops
        .into_iter()
        .flatten()
        // After a thaw it has some time to catch up, as after a start.
        .map(|(stop, go)| now.min(go.after(delivery)).since(from.max(*stop)))
        .sum();
    (waited > delivery + excused).then(|| {
        let said = format!("{} heard for {waited:?} nothing of {event:?}", stream.name);
        Violation::new(Kind::NotTold, stream.action, said)
    })
}

fn frozen(history: &[Entry]) -> Frozen<'_> {
    let mut frozen = Frozen::new();
    for Entry { at, record } in history {
        match record {
            Record::Struck {
                victim,
                blow: Blow::Stop,
            } => {
                let end = Moment(i64::MAX);
                frozen.entry(victim).or_default().push((*at, end));
            }
            Record::Recovered {
                victim,
                blow: Blow::Stop,
            } => {
                if let Some(last) = frozen
                    .get_mut(victim.as_str())
                    .and_then(|all| all.last_mut())
                {
                    last.1 = *at;
                }
            }
            _ => {}
        }
    }
    frozen
}
