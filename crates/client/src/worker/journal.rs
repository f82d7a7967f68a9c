//! Writes what a handler says, in its order and once.

use std::collections::VecDeque;

use deed_api::lease::ReportEvents;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::held::Held;
use super::job::Entry;
use super::{Shared, persist};
use crate::error::Error;

/// How many events wait to be written before their handler does; all of them fit into one call.
pub(super) const BUFFER: usize = 128;
/// How many bytes of data one call carries, unless one event alone has more.
const BATCH_BYTES: usize = 512 * 1024;

/// Writes what comes until `finished`, and what has come by then. Fails when the server refuses.
pub(super) async fn write(
    shared: &Shared,
    held: &Held,
    first_seq: u32,
    mut entries: mpsc::Receiver<Entry>,
    mut finished: oneshot::Receiver<()>,
) -> Result<(), Error> {
    let mut waiting = VecDeque::new();
    let mut from_seq = first_seq;
    loop {
        if waiting.is_empty() {
            let mut come = Vec::new();
            tokio::select! {
                count = entries.recv_many(&mut come, BUFFER) => if count == 0 {
                    return Ok(());
                },
                _ = &mut finished, if !entries.is_closed() => {
                    entries.close();
                    continue;
                }
            }
            waiting.extend(come);
        }
        while waiting.len() < BUFFER
            && let Ok(entry) = entries.try_recv()
        {
            waiting.push_back(entry);
        }
        let report = next_report(&mut waiting, from_seq);
        let began = Instant::now();
        let reported = persist(shared, || {
            shared.client.report_events(&held.lease_id, &report)
        })
        .await?;
        held.renewed(began, reported.cancel_requested);
        from_seq = reported.next_seq;
    }
}

/// As many of the first entries as one call takes. If there is a checkpoint among them, the last one is that of all: so
/// nothing is in a call after it.
fn next_report(waiting: &mut VecDeque<Entry>, from_seq: u32) -> ReportEvents {
    let mut bytes = 0usize;
    let fitting = waiting.iter().take_while(|entry| {
        let data = entry
            .event
            .as_ref()
            .map_or(0, |event| event.data.get().len());
        bytes = bytes.saturating_add(data);
        bytes <= BATCH_BYTES
    });
    let fitting = fitting.count().clamp(1, waiting.len().max(1));
    let mut keeping = (0..fitting).rev();
    let last = keeping.find(|place| {
        waiting
            .get(*place)
            .is_some_and(|entry| entry.checkpoint.is_some())
    });
    let count = last.map_or(fitting, |last| last + 1).min(waiting.len());
    let mut checkpoint = None;
    let mut events = Vec::new();
    for entry in waiting.drain(..count) {
        checkpoint = entry.checkpoint.or(checkpoint);
        events.extend(entry.event);
    }
    ReportEvents {
        from_seq,
        events,
        checkpoint,
    }
}

#[cfg(test)]
mod tests {
    use deed_api::lease::{WorkerEvent, WorkerEventName};
    use serde_json::value::RawValue;

    use super::*;

    fn entry(data: Option<&str>, checkpoint: Option<&str>) -> Entry {
        let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        Entry {
            event: data.map(|data| WorkerEvent {
                event: WorkerEventName::Message,
                data: raw(data),
            }),
            checkpoint: checkpoint.map(raw),
        }
    }

    /// The reports that come of `entries`, as `events/checkpoint`.
    fn check(entries: &[(Option<&str>, Option<&str>)], expected: &[&str]) {
        let mut waiting: VecDeque<Entry> = entries
            .iter()
            .map(|(data, checkpoint)| entry(*data, *checkpoint))
            .collect();
        let mut found = Vec::new();
        while !waiting.is_empty() {
            let report = next_report(&mut waiting, 7);
            assert_eq!(report.from_seq, 7);
            let data: Vec<&str> = report.events.iter().map(|event| event.data.get()).collect();
            let checkpoint = report.checkpoint.as_ref().map_or("", |state| state.get());
            found.push(format!("{}/{checkpoint}", data.join(",")));
        }
        assert_eq!(found, expected);
    }

    #[test]
    fn what_waits_goes_together_up_to_the_last_checkpoint() {
        check(&[(Some("1"), None), (Some("2"), None)], &["1,2/"]);
        check(
            &[
                (Some("1"), Some("11")),
                (Some("2"), Some("22")),
                (Some("3"), None),
            ],
            &["1,2/22", "3/"],
        );
        check(
            &[(Some("1"), None), (None, Some("11")), (None, None)],
            &["1/11", "/"],
        );
        check(&[(None, Some("1")), (None, Some("2"))], &["/2"]);
    }

    #[test]
    fn a_call_is_bounded_but_for_one_event() {
        let large = format!("\"{}\"", "x".repeat(BATCH_BYTES));
        let half = format!("\"{}\"", "y".repeat(BATCH_BYTES / 2));
        let entries = [
            (Some(large.as_str()), None),
            (Some("1"), None),
            (Some(&half), None),
            (Some(&half), None),
        ];
        let expected = [
            format!("{large}/"),
            format!("1,{half}/"),
            format!("{half}/"),
        ];
        check(&entries, &expected.each_ref().map(String::as_str));
    }
}
