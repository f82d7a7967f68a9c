//! Hints for the other replicas, gathered for some milliseconds and sent together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

use deed_domain::action::Sequence;
use deed_domain::id::ActionId;
use diesel::QueryableByName;
use diesel::sql_types::{Array, Int8, Text};
use tokio::sync::Notify;
use tokio::time::Instant;
use uuid::Uuid;

use super::{GATHER, Shared, lock};
use crate::postgres::pool::Access;
use crate::postgres::statement::Statement;

/// A NOTIFY payload must be shorter than 8000 bytes.
const PAYLOAD_MAX: usize = 7_500;
/// More hints than this are dropped; the pulse finds what they told.
const HINTS_MAX: usize = 20_000;

/// When a timed message is no longer expected, and another one is timed.
const ECHO_LOST: Duration = Duration::from_secs(30);

/// What others may want to look at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Hints {
    pub(super) logs: BTreeMap<ActionId, Sequence>,
    pub(super) cancels: BTreeSet<ActionId>,
    pub(super) queue: bool,
    pub(super) identities: bool,
}

#[derive(Default)]
pub(super) struct Outbox {
    hints: Mutex<Hints>,
    ready: Notify,
    pub(super) echo: Mutex<Echo>,
}

impl Outbox {
    pub(super) fn put(&self, add: impl FnOnce(&mut Hints)) {
        add(&mut lock(&self.hints));
        self.ready.notify_one();
    }
}

impl Hints {
    pub(super) fn log(&mut self, action: ActionId, last: Sequence) {
        if self.logs.len() < HINTS_MAX || self.logs.contains_key(&action) {
            let known = self.logs.entry(action).or_insert(last);
            *known = last.max(*known);
        }
    }

    pub(super) fn cancel(&mut self, action: ActionId) {
        if self.cancels.len() < HINTS_MAX {
            self.cancels.insert(action);
        }
    }

    /// As payloads from `replica`: its name, and a word for each hint.
    pub(super) fn payloads(&self, replica: &str) -> Vec<String> {
        let flags = [(self.queue, "q"), (self.identities, "i")];
        let words = flags
            .into_iter()
            .filter(|(is_set, _)| *is_set)
            .map(|(_, word)| word.to_owned())
            .chain(
                self.cancels
                    .iter()
                    .map(|action| format!("c{}", action.as_uuid().simple())),
            )
            .chain(
                self.logs
                    .iter()
                    .map(|(action, last)| format!("l{}={last}", action.as_uuid().simple())),
            );
        let mut payloads = Vec::new();
        let mut payload = replica.to_owned();
        for word in words {
            if payload.len() + word.len() >= PAYLOAD_MAX {
                payloads.push(std::mem::replace(&mut payload, replica.to_owned()));
            }
            payload.push(' ');
            payload.push_str(&word);
        }
        if payload.len() > replica.len() {
            payloads.push(payload);
        }
        payloads
    }

    /// Reads the words of a payload. What a newer replica may say and this one doesn't know is left out.
    pub(super) fn parse(words: &str) -> Self {
        let mut hints = Self::default();
        for word in words.split_ascii_whitespace() {
            match (word.get(..1), word.get(1..)) {
                (Some("q"), Some("")) => hints.queue = true,
                (Some("i"), Some("")) => hints.identities = true,
                (Some("c"), Some(id)) => {
                    if let Ok(id) = Uuid::try_parse(id) {
                        hints.cancel(ActionId::from_uuid(id));
                    }
                }
                (Some("l"), Some(rest)) => {
                    if let Some((id, last)) = rest.split_once('=')
                        && let Ok(id) = Uuid::try_parse(id)
                        && let Some(last) = last.parse().ok().and_then(Sequence::new)
                    {
                        hints.log(ActionId::from_uuid(id), last);
                    }
                }
                _ => {}
            }
        }
        hints
    }
}

/// Times the way of own messages through PostgreSQL and back: one at a time, told apart by a number.
#[derive(Debug, Default)]
pub(super) struct Echo {
    number: u64,
    sent_at: Option<Instant>,
}

impl Echo {
    /// Marks `payload` as the one to be timed, unless another is on its way.
    fn mark(&mut self, payload: &mut String) {
        if self.sent_at.is_some_and(|at| at.elapsed() < ECHO_LOST) {
            return;
        }
        self.number = self.number.wrapping_add(1);
        self.sent_at = Some(Instant::now());
        payload.push_str(&format!(" t{}", self.number));
    }

    /// How long the message of these words was on its way, if it is the one that is timed.
    pub(super) fn came_back(&mut self, words: &str) -> Option<Duration> {
        let (_, number) = words.rsplit_once('t')?;
        if number.parse() != Ok(self.number) {
            return None;
        }
        self.sent_at.take().map(|at| at.elapsed())
    }
}

#[derive(QueryableByName)]
struct SentRow {
    #[diesel(sql_type = Int8)]
    sent: i64,
}

/// Sends what gathers. A hint that can't be sent is dropped: a late one would be of no more use than the pulse.
pub(super) async fn run(shared: &Shared) {
    loop {
        shared.outbox.ready.notified().await;
        tokio::time::sleep(GATHER).await;
        let hints = std::mem::take(&mut *lock(&shared.outbox.hints));
        send(shared, hints.payloads(&shared.replica)).await;
    }
}

pub(super) async fn send(shared: &Shared, mut payloads: Vec<String>) {
    let Some(last) = payloads.last_mut() else {
        return;
    };
    lock(&shared.outbox.echo).mark(last);
    let statement =
        Statement::new(include_str!("../sql/notify.sql")).bind::<Array<Text>, _>(payloads);
    match shared
        .database
        .row::<SentRow>(Access::Read, &statement)
        .await
    {
        Ok(row) => log::trace!(sent = row.map_or(0, |row| row.sent); "told the other replicas"),
        Err(error) => log::debug!(error:err = error; "the other replicas could not be told"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn action(n: u128) -> ActionId {
        ActionId::from_uuid(Uuid::from_u128(n))
    }

    fn at(position: u32) -> Sequence {
        Sequence::new(position).unwrap()
    }

    #[test]
    fn payloads_are_read_as_they_were_written() {
        let mut hints = Hints {
            queue: true,
            identities: true,
            ..Hints::default()
        };
        hints.cancel(action(3));
        hints.log(action(1), at(7));
        hints.log(action(1), at(5));
        let payloads = hints.payloads("me");
        assert_eq!(payloads.len(), 1);
        assert_eq!(
            Hints::parse(payloads[0].strip_prefix("me ").unwrap()),
            hints
        );
        assert_eq!(hints.logs[&action(1)], at(7));
    }

    #[test]
    fn many_hints_become_several_payloads_and_none_is_lost() {
        let mut hints = Hints::default();
        for n in 0..1_000 {
            hints.log(action(n), at(1));
        }
        let payloads = hints.payloads("me");
        assert!(payloads.len() > 1 && payloads.iter().all(|payload| payload.len() < 8_000));
        let read: usize = payloads
            .iter()
            .map(|payload| Hints::parse(payload.strip_prefix("me").unwrap()).logs.len())
            .sum();
        assert_eq!(read, 1_000);
    }

    #[tokio::test(start_paused = true)]
    async fn one_message_at_a_time_is_timed() {
        let mut echo = Echo::default();
        let mark = |echo: &mut Echo| {
            let mut payload = "me q".to_owned();
            echo.mark(&mut payload);
            payload
        };
        assert_eq!(mark(&mut echo), "me q t1");
        tokio::time::advance(Duration::from_millis(7)).await;
        assert_eq!(mark(&mut echo), "me q", "the first is on its way");
        assert_eq!(echo.came_back("q"), None);
        assert_eq!(echo.came_back("q t1"), Some(Duration::from_millis(7)));
        assert_eq!(echo.came_back("q t1"), None, "only once");
        assert_eq!(mark(&mut echo), "me q t2");
        tokio::time::advance(ECHO_LOST).await;
        assert_eq!(mark(&mut echo), "me q t3", "the second is lost");
        assert_eq!(echo.came_back("q t2"), None);
        assert_eq!(echo.came_back("q t3"), Some(Duration::ZERO));
    }

    #[test]
    fn the_mark_of_a_timed_message_is_no_hint() {
        assert_eq!(Hints::parse("t7"), Hints::default());
    }

    #[test]
    fn nothing_to_tell_is_no_payload() {
        assert!(Hints::default().payloads("me").is_empty());
    }

    #[test]
    fn unknown_words_are_left_out() {
        assert_eq!(Hints::parse("x qq c1 l=3 lzz=1 é  "), Hints::default());
        assert!(Hints::parse("zzz q").queue);
    }

    #[test]
    fn the_number_of_hints_is_bounded() {
        let mut hints = Hints::default();
        for n in 0..=20_000 {
            hints.log(action(n), at(1));
        }
        assert_eq!(hints.logs.len(), HINTS_MAX);
    }
}
