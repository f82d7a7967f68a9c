use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::FutureExt as _;
use futures_util::stream::{self, BoxStream, StreamExt as _};

use super::signals::{Signal, signals};
use crate::action::{Event, Sequence};
use crate::caller::{Caller, Reach};
use crate::error::Error;
use crate::id::ActionId;
use crate::ports::{Authenticator, Clock, EventLog, EventPage, Wakeups};
use crate::scope::Permission;
use crate::service::Retention;

/// How many events are read at a time.
const BATCH: usize = 256;
/// How long to wait before reading again after the store has failed.
const PAUSE_AFTER_FAULT: Duration = Duration::from_millis(500);

/// Follows the log of an action: what is stored, then what comes, until its end.
#[derive(Clone)]
pub struct Follow {
    log: Arc<dyn EventLog>,
    wakeups: Arc<dyn Wakeups>,
    authenticator: Arc<dyn Authenticator>,
    clock: Arc<dyn Clock>,
    retention: Retention,
}

/// A log that is followed.
pub enum Followed {
    /// The log is over and fully read: there is nothing to follow.
    AtEnd,
    /// Its events in order, without gap or duplicate. Ends after `done`, or when the caller is no longer valid;
    /// stays open while the store is away.
    Events(BoxStream<'static, Event>),
}

impl Follow {
    /// The use case over these ports.
    #[must_use]
    pub fn new(
        log: Arc<dyn EventLog>,
        wakeups: Arc<dyn Wakeups>,
        authenticator: Arc<dyn Authenticator>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            log,
            wakeups,
            authenticator,
            clock,
            retention: Retention::default(),
        }
    }

    /// The same, which says of actions that are older than what is kept that they are gone.
    #[must_use]
    pub fn keeping(self, retention: Retention) -> Self {
        Self { retention, ..self }
    }

    /// Follows an action of the caller's subject from after `after`.
    ///
    /// # Errors
    /// [`Error::InsufficientScope`] without `actions:read`, [`Error::ActionNotFound`], [`Error::ActionGone`],
    /// [`Error::CursorBeyondEnd`] for a position that is not stored yet.
    pub async fn run(
        &self,
        caller: &Caller,
        id: ActionId,
        after: Sequence,
    ) -> Result<Followed, Error> {
        caller.require(Permission::ActionsRead)?;
        self.start(caller, Permission::ActionsRead, id, after).await
    }

    /// Follows an action that the caller has just submitted, from its beginning.
    ///
    /// # Errors
    /// [`Error::InsufficientScope`] without `actions:write`, [`Error::ActionNotFound`].
    pub async fn submitted(&self, caller: &Caller, id: ActionId) -> Result<Followed, Error> {
        caller.require(Permission::ActionsWrite)?;
        self.start(caller, Permission::ActionsWrite, id, Sequence::START)
            .await
    }

    async fn start(
        &self,
        caller: &Caller,
        permission: Permission,
        id: ActionId,
        after: Sequence,
    ) -> Result<Followed, Error> {
        let reach = caller.reach(permission);
        // Watch first, then read: what is written between the two is not missed.
        let signals = signals(&*self.wakeups, &self.clock, caller, id);
        let page = self.log.read(id, &reach, after, BATCH).await?;
        let page = page.ok_or_else(|| self.retention.not_found(id))?;
        if after > page.last {
            return Err(Error::CursorBeyondEnd);
        }
        if page.is_over && after == page.last {
            return Ok(Followed::AtEnd);
        }
        let mut follower = Follower {
            ports: self.clone(),
            caller: caller.clone(),
            id,
            reach,
            signals,
            cursor: after,
            known: after,
            waiting: VecDeque::new(),
            has_ended: false,
            must_check: false,
        };
        follower.take(page);
        let events = stream::unfold(follower, |mut follower| async move {
            let event = follower.next().await?;
            Some((event, follower))
        });
        Ok(Followed::Events(events.boxed()))
    }
}

struct Follower {
    ports: Follow,
    caller: Caller,
    id: ActionId,
    reach: Reach,
    signals: BoxStream<'static, Signal>,
    /// The last position that was read.
    cursor: Sequence,
    /// The last position that is known to be stored.
    known: Sequence,
    /// Read, not yet handed out.
    waiting: VecDeque<Event>,
    has_ended: bool,
    /// The caller may have lost its validity: nothing more is handed out before that is known.
    must_check: bool,
}

impl Follower {
    async fn next(&mut self) -> Option<Event> {
        loop {
            // Also while events keep coming: a stream must not outlive its key because it is busy.
            while let Some(signal) = self.signals.next().now_or_never() {
                self.hear(signal?)?;
            }
            if self.must_check {
                self.check().await?;
            } else if let Some(event) = self.waiting.pop_front() {
                return Some(event);
            } else if self.has_ended {
                return None;
            } else if self.known > self.cursor {
                self.read().await?;
            } else {
                let signal = self.signals.next().await?;
                self.hear(signal)?;
            }
        }
    }

    /// `None` ends the stream.
    fn hear(&mut self, signal: Signal) -> Option<()> {
        match signal {
            Signal::Grown(last) => self.known = self.known.max(last),
            Signal::CheckCaller => self.must_check = true,
            Signal::Expired => return None,
        }
        Some(())
    }

    /// `None` ends the stream. A check that fails is made again: nobody else would notice.
    async fn check(&mut self) -> Option<()> {
        match self.ports.authenticator.is_still_valid(&self.caller).await {
            Ok(true) => self.must_check = false,
            Ok(false) => return None,
            Err(error) => {
                log::debug!(action_id:% = self.id, error:err = error; "a stream's caller could not be checked");
                self.ports.clock.sleep(PAUSE_AFTER_FAULT).await;
            }
        }
        Some(())
    }

    async fn read(&mut self) -> Option<()> {
        match self
            .ports
            .log
            .read(self.id, &self.reach, self.cursor, BATCH)
            .await
        {
            Ok(Some(page)) => {
                self.take(page);
                Some(())
            }
            // Deleted with its user, or with its month.
            Ok(None) => None,
            Err(error) => {
                log::debug!(action_id:% = self.id, error:err = error; "a stream waits for the store");
                self.ports.clock.sleep(PAUSE_AFTER_FAULT).await;
                Some(())
            }
        }
    }

    fn take(&mut self, page: EventPage) {
        self.known = self.known.max(page.last);
        for event in page.events {
            // A page goes on exactly where the last one ended; whatever else came would be a lie.
            if event.seq == self.cursor.next() {
                self.cursor = event.seq;
                self.has_ended = event.name.is_last();
                self.waiting.push_back(event);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StoreError;
    use crate::action::{EventName, Payload};
    use crate::ports::{MockAuthenticator, MockClock, MockEventLog, MockWakeups};
    use crate::service::testing::{key_of, user};
    use chrono::DateTime;
    use std::sync::Mutex;
    use uuid::Uuid;

    fn away() -> StoreError {
        StoreError::Unavailable(Arc::new(std::io::Error::other("away")))
    }

    /// A log that grows by one event with each look, and may fail at some of them.
    fn growing(names: &'static [EventName], faults: &'static [usize]) -> MockEventLog {
        let looks = Mutex::new(0);
        let mut log = MockEventLog::new();
        log.expect_read().returning(move |_, _, after, _| {
            let mut looks = looks.lock().unwrap();
            *looks += 1;
            if faults.contains(&looks) {
                return Err(away());
            }
            let stored = (*looks).min(names.len());
            let events: Vec<Event> = (1u32..)
                .zip(&names[..stored])
                .map(|(seq, name)| Event {
                    seq: Sequence::new(seq).unwrap(),
                    name: name.clone(),
                    at: DateTime::UNIX_EPOCH,
                    data: Payload::empty_object(),
                })
                .collect();
            let is_over = events.last().is_some_and(|event| event.name.is_last());
            let last = events.last().map_or(Sequence::START, |event| event.seq);
            Ok(Some(EventPage {
                events: events
                    .into_iter()
                    .filter(|event| event.seq > after)
                    .collect(),
                last,
                is_over,
            }))
        });
        log
    }

    struct World {
        log: MockEventLog,
        identity_changes: usize,
        /// What the checks of the caller answer; `None` is a fault. The last one stays.
        checks: &'static [Option<bool>],
    }

    impl World {
        fn over(log: MockEventLog) -> Self {
            Self {
                log,
                identity_changes: 0,
                checks: &[Some(true)],
            }
        }

        async fn follow(self, after: u32) -> Result<Option<Vec<u32>>, Error> {
            let mut wakeups = MockWakeups::new();
            // Hints come, repeat themselves, and run ahead of what is read.
            wakeups.expect_watch_log().returning(|_| {
                let hints = [1u32, 2, 2, 4, 9].map(|seq| Sequence::new(seq).unwrap());
                stream::iter(hints).chain(stream::pending()).boxed()
            });
            let changes = self.identity_changes;
            wakeups.expect_watch_identities().returning(move || {
                stream::iter(vec![(); changes])
                    .chain(stream::pending())
                    .boxed()
            });
            let mut authenticator = MockAuthenticator::new();
            let mut checks = self.checks.iter();
            let mut check = checks.next();
            authenticator.expect_is_still_valid().returning(move |_| {
                let answer = check.copied().flatten();
                check = checks.next().or(check);
                answer.ok_or_else(away)
            });
            let mut clock = MockClock::new();
            clock.expect_sleep().returning(|_| ());
            let follow = Follow::new(
                Arc::new(self.log),
                Arc::new(wakeups),
                Arc::new(authenticator),
                Arc::new(clock),
            );
            let caller = key_of(user(1), &["actions:read"]);
            let id = ActionId::from_uuid(Uuid::from_u128(1));
            match follow
                .run(&caller, id, Sequence::new(after).unwrap())
                .await?
            {
                Followed::AtEnd => Ok(None),
                Followed::Events(events) => {
                    let all = events.map(|event| event.seq.get()).collect();
                    // A stream that waits for ever has to fail its test, too.
                    let all = tokio::time::timeout(Duration::from_secs(10), all).await;
                    Ok(Some(all.expect("the stream ends")))
                }
            }
        }
    }

    const LIFE: &[EventName] = &[
        EventName::Created,
        EventName::Started,
        EventName::Message,
        EventName::Message,
        EventName::Done,
    ];

    #[tokio::test]
    async fn a_log_is_followed_to_its_end_without_gap_or_duplicate() {
        assert_eq!(
            World::over(growing(LIFE, &[])).follow(0).await,
            Ok(Some(vec![1, 2, 3, 4, 5]))
        );
    }

    #[tokio::test]
    async fn it_stays_open_while_the_store_is_away() {
        let log = growing(LIFE, &[2, 3, 5]);
        assert_eq!(
            World::over(log).follow(0).await,
            Ok(Some(vec![1, 2, 3, 4, 5]))
        );
    }

    #[tokio::test]
    async fn the_cursor_is_exclusive_and_must_be_stored() {
        const DONE: &[EventName] = &[EventName::Done];
        assert_eq!(
            World::over(growing(DONE, &[])).follow(0).await,
            Ok(Some(vec![1]))
        );
        assert_eq!(World::over(growing(DONE, &[])).follow(1).await, Ok(None));
        assert_eq!(
            World::over(growing(DONE, &[])).follow(2).await,
            Err(Error::CursorBeyondEnd)
        );
    }

    #[tokio::test]
    async fn it_ends_when_the_key_is_revoked() {
        let world = World {
            identity_changes: 1,
            checks: &[Some(false)],
            ..World::over(growing(LIFE, &[]))
        };
        assert_eq!(world.follow(0).await, Ok(Some(vec![])));
        let other_keys = World {
            identity_changes: 3,
            ..World::over(growing(LIFE, &[]))
        };
        assert_eq!(other_keys.follow(0).await, Ok(Some(vec![1, 2, 3, 4, 5])));
    }

    #[tokio::test]
    async fn nothing_is_handed_out_until_it_is_known_that_the_key_is_valid() {
        let revoked = World {
            identity_changes: 1,
            checks: &[None, None, Some(false)],
            ..World::over(growing(LIFE, &[]))
        };
        assert_eq!(revoked.follow(0).await, Ok(Some(vec![])));
        let valid = World {
            identity_changes: 1,
            checks: &[None, None, Some(true)],
            ..World::over(growing(LIFE, &[]))
        };
        assert_eq!(valid.follow(0).await, Ok(Some(vec![1, 2, 3, 4, 5])));
    }

    #[tokio::test]
    async fn what_does_not_follow_is_never_handed_out() {
        // A store that answers too much (what was read before, and a gap).
        let mut log = MockEventLog::new();
        log.expect_read().returning(|_, _, _, _| {
            let event = |seq, name| Event {
                seq: Sequence::new(seq).unwrap(),
                name,
                at: DateTime::UNIX_EPOCH,
                data: Payload::empty_object(),
            };
            Ok(Some(EventPage {
                events: vec![
                    event(1, EventName::Created),
                    event(1, EventName::Created),
                    event(2, EventName::Done),
                    event(4, EventName::Message),
                ],
                last: Sequence::new(2).unwrap(),
                is_over: true,
            }))
        });
        assert_eq!(World::over(log).follow(0).await, Ok(Some(vec![1, 2])));
    }
}
