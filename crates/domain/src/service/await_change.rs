use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::future::{Either, select};
use futures_util::pin_mut;
use futures_util::stream::{BoxStream, StreamExt as _};

use super::signals::{Signal, signals};
use crate::action::{Action, Status};
use crate::caller::Caller;
use crate::error::Error;
use crate::id::ActionId;
use crate::ports::{ActionReader, Authenticator, Clock, Wakeups};
use crate::scope::Permission;
use crate::service::Retention;
use crate::store_time::apart;

/// How often to look at an action that is due and still scheduled: that it is queued now is written into no log.
const POLL: Duration = Duration::from_secs(1);
/// The first pause between two looks that were in vain, and the longest. Each is twice the one before, so that one who
/// waits beside an action that says much costs the store little.
const PAUSES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(256));

/// Waits until an action is otherwise.
#[derive(Clone)]
pub struct AwaitChange {
    actions: Arc<dyn ActionReader>,
    wakeups: Arc<dyn Wakeups>,
    authenticator: Arc<dyn Authenticator>,
    clock: Arc<dyn Clock>,
    retention: Retention,
}

impl AwaitChange {
    /// The use case over these ports.
    #[must_use]
    pub fn new(
        actions: Arc<dyn ActionReader>,
        wakeups: Arc<dyn Wakeups>,
        authenticator: Arc<dyn Authenticator>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            actions,
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

    /// An action of the caller's subject, as soon as it `is_awaited`, or is over and will never be otherwise, or `enough`
    /// is ready; then as it is. It looks when there is something new in the action's log, and holds nothing while it
    /// waits. The first look is on the request's time at the store, each one after it has a bound of its own.
    ///
    /// # Errors
    /// [`Error::InsufficientScope`] without `actions:read`, [`Error::ActionNotFound`], [`Error::ActionGone`];
    /// [`Error::InvalidApiKey`] as soon as the caller is no longer valid.
    pub async fn run(
        &self,
        caller: &Caller,
        id: ActionId,
        is_awaited: impl Fn(&Action) -> bool,
        enough: impl Future<Output = ()>,
    ) -> Result<Action, Error> {
        caller.require(Permission::ActionsRead)?;
        let reach = caller.reach(Permission::ActionsRead);
        let find = async || {
            let found = self.actions.find(id, &reach).await?;
            found.ok_or_else(|| self.retention.not_found(id))
        };
        let is_settled = |action: &Action| action.overview.status.is_over() || is_awaited(action);
        // Watch first, then look: what happens between the two is not missed.
        let mut signals = signals(&*self.wakeups, &self.clock, caller, id);
        let action = find().await?;
        if is_settled(&action) {
            return Ok(action);
        }
        let mut due = due_at(&action);
        // Inputs may be large, and those who wait many.
        drop(action);
        apart(async {
            pin_mut!(enough);
            let mut pause = PAUSES.0;
            loop {
                {
                    let news = self.news(&mut signals, caller, due);
                    pin_mut!(news);
                    // Whether it is enough is asked first: a log may have news for ever.
                    match select(&mut enough, news).await {
                        // It may have changed in the very last moment.
                        Either::Left(_) => return find().await,
                        Either::Right((outcome, _)) => outcome?,
                    }
                }
                if let Either::Left(_) = select(&mut enough, self.clock.sleep(pause)).await {
                    return find().await;
                }
                pause = (pause * 2).min(PAUSES.1);
                let action = find().await?;
                if is_settled(&action) {
                    return Ok(action);
                }
                due = due_at(&action);
            }
        })
        .await
    }

    /// Returns when it is worth to look again.
    async fn news(
        &self,
        signals: &mut BoxStream<'static, Signal>,
        caller: &Caller,
        due: Option<DateTime<Utc>>,
    ) -> Result<(), Error> {
        let due = self.due(due);
        pin_mut!(due);
        match select(signals.next(), due).await {
            Either::Left((Some(Signal::CheckCaller), _)) => {
                match self.authenticator.is_still_valid(caller).await? {
                    true => Ok(()),
                    false => Err(Error::InvalidApiKey),
                }
            }
            Either::Left((Some(Signal::Expired), _)) => Err(Error::InvalidApiKey),
            Either::Left((Some(Signal::Grown(_)) | None, _)) | Either::Right(_) => Ok(()),
        }
    }

    /// Ready a little after `due`; without it never.
    async fn due(&self, due: Option<DateTime<Utc>>) {
        match due {
            Some(due) => {
                let left = (due - self.clock.now()).to_std().unwrap_or(Duration::ZERO);
                self.clock.sleep(left.saturating_add(POLL)).await;
            }
            None => std::future::pending().await,
        }
    }
}

/// When an action should be looked at although its log says nothing; for most of them never.
fn due_at(action: &Action) -> Option<DateTime<Utc>> {
    action
        .overview
        .run_at
        .filter(|_| action.overview.status == Status::Scheduled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StoreError;
    use crate::action::Sequence;
    use crate::caller::Identity;
    use crate::ports::{MockActionReader, MockAuthenticator, MockClock, MockWakeups};
    use crate::service::testing::{action, key_of, user};
    use chrono::TimeDelta;
    use futures_util::stream;
    use std::future;
    use std::sync::Mutex;
    use uuid::Uuid;

    /// How an action stands at each look; the last one stays.
    struct World {
        stands: &'static [Status],
        run_at: Option<DateTime<Utc>>,
        /// How often its log grows.
        growth: usize,
        /// What the checks of the caller answer, one for each change of identities.
        checks: &'static [bool],
        expires: bool,
    }

    impl World {
        fn of(stands: &'static [Status]) -> Self {
            Self {
                stands,
                run_at: None,
                growth: 9,
                checks: &[],
                expires: false,
            }
        }

        /// Waits for `awaited`, or until `enough`; answers how it stood then, how often it was looked at and how long
        /// was slept in all.
        async fn wait(
            self,
            awaited: Status,
            enough: impl Future<Output = ()>,
        ) -> (Result<Status, Error>, usize, Duration) {
            let looks = Arc::new(Mutex::new(0));
            let slept = Arc::new(Mutex::new(Duration::ZERO));
            let mut actions = MockActionReader::new();
            let (counted, stands, run_at) = (Arc::clone(&looks), self.stands, self.run_at);
            actions.expect_find().returning(move |id, _| {
                let mut looks = counted.lock().unwrap();
                let status = stands.get(*looks).or(stands.last());
                *looks += 1;
                Ok(status.map(|status| {
                    let mut action = action(id, *status);
                    action.overview.run_at = run_at;
                    action
                }))
            });
            let (growth, checks) = (self.growth, self.checks);
            let mut wakeups = MockWakeups::new();
            wakeups.expect_watch_log().returning(move |_| {
                let hints = stream::repeat(Sequence::FIRST).take(growth);
                hints.chain(stream::pending()).boxed()
            });
            wakeups.expect_watch_identities().returning(move || {
                let changes = stream::repeat(()).take(checks.len());
                changes.chain(stream::pending()).boxed()
            });
            let mut authenticator = MockAuthenticator::new();
            let mut left = checks.iter();
            authenticator.expect_is_still_valid().returning(move |_| {
                let cause = Arc::new(std::io::Error::other("asked too often"));
                left.next().copied().ok_or(StoreError::Bug(cause))
            });
            let mut clock = MockClock::new();
            clock.expect_now().return_const(DateTime::UNIX_EPOCH);
            let total = Arc::clone(&slept);
            clock
                .expect_sleep()
                .returning(move |pause| *total.lock().unwrap() += pause);
            let use_case = AwaitChange::new(
                Arc::new(actions),
                Arc::new(wakeups),
                Arc::new(authenticator),
                Arc::new(clock),
            );
            let lasting = key_of(user(1), &["actions:read"]);
            let caller = Identity {
                expires_at: self
                    .expires
                    .then_some(DateTime::UNIX_EPOCH + TimeDelta::seconds(5)),
                ..lasting.identity().clone()
            }
            .for_itself();
            let id = ActionId::from_uuid(Uuid::from_u128(1));
            let waiting = use_case.run(
                &caller,
                id,
                |action| action.overview.status == awaited,
                enough,
            );
            // One that waits for ever has to fail its test, too.
            let outcome = tokio::time::timeout(Duration::from_secs(10), waiting).await;
            let status = outcome
                .expect("it ends")
                .map(|action| action.overview.status);
            let (looks, slept) = (*looks.lock().unwrap(), *slept.lock().unwrap());
            (status, looks, slept)
        }
    }

    use Status::{Cancelled, Failed, Queued, Running, Scheduled, Succeeded};

    #[tokio::test]
    async fn it_answers_as_soon_as_what_is_awaited_is_so() {
        let world = World::of(&[Queued, Queued, Running, Succeeded]);
        let (status, looks, _) = world.wait(Running, future::pending()).await;
        assert_eq!((status, looks), (Ok(Running), 3));
        let (status, looks, slept) = World::of(&[Queued]).wait(Queued, future::pending()).await;
        assert_eq!((status, looks, slept), (Ok(Queued), 1, Duration::ZERO));
    }

    /// Nothing will ever change any more.
    #[tokio::test]
    async fn what_is_over_is_not_waited_for() {
        for over in [&[Succeeded], &[Failed], &[Cancelled]] {
            let (status, looks, _) = World::of(over).wait(Running, future::pending()).await;
            assert_eq!((status, looks), (Ok(over[0]), 1));
        }
    }

    #[tokio::test]
    async fn it_looks_once_more_when_it_is_enough() {
        // However much the log has to say.
        for growth in [0, 50] {
            let world = World {
                growth,
                ..World::of(&[Queued, Running])
            };
            let (status, looks, _) = world.wait(Succeeded, future::ready(())).await;
            assert_eq!((status, looks), (Ok(Running), 2));
        }
    }

    /// Nobody has to wait for the end of a pause either.
    #[tokio::test]
    async fn enough_ends_a_pause() {
        let mut polls = 0;
        let enough = future::poll_fn(|_| {
            polls += 1;
            match polls > 5 {
                true => std::task::Poll::Ready(()),
                false => std::task::Poll::Pending,
            }
        });
        let world = World {
            growth: 50,
            ..World::of(&[Running])
        };
        let (status, looks, _) = world.wait(Succeeded, enough).await;
        // Asked twice a round, before the news and before the pause.
        assert_eq!((status, looks), (Ok(Running), 4));
    }

    #[tokio::test]
    async fn what_is_not_there_is_not_waited_for() {
        let (status, _, _) = World::of(&[]).wait(Running, future::pending()).await;
        assert_eq!(status, Err(Error::ActionNotFound));
    }

    /// A log that grows all the time is looked at less and less often.
    #[tokio::test]
    async fn looks_in_vain_have_pauses_between_them() {
        let mut stands = vec![Running; 20];
        stands.push(Succeeded);
        let world = World {
            growth: 100,
            ..World::of(stands.leak())
        };
        let (status, looks, slept) = world.wait(Succeeded, future::pending()).await;
        assert_eq!((status, looks), (Ok(Succeeded), 21));
        // 1 + 2 + 4 + … + 128, and 256 for each of the other twelve.
        assert_eq!(slept, Duration::from_millis(255 + 12 * 256));
    }

    /// From scheduled to queued is no entry of the log.
    #[tokio::test]
    async fn a_scheduled_one_is_looked_at_when_it_is_due() {
        let world = World {
            growth: 0,
            run_at: Some(DateTime::UNIX_EPOCH + TimeDelta::seconds(40)),
            ..World::of(&[Scheduled, Queued])
        };
        let (status, looks, slept) = world.wait(Queued, future::pending()).await;
        assert_eq!((status, looks), (Ok(Queued), 2));
        assert_eq!(slept, Duration::from_secs(41) + PAUSES.0);
    }

    #[tokio::test]
    async fn it_ends_when_the_caller_is_no_longer_valid() {
        let world = World {
            growth: 0,
            checks: &[true, true, false],
            ..World::of(&[Running])
        };
        let (status, _, _) = world.wait(Succeeded, future::pending()).await;
        assert_eq!(status, Err(Error::InvalidApiKey));
        let world = World {
            growth: 0,
            expires: true,
            ..World::of(&[Running])
        };
        let (status, _, slept) = world.wait(Succeeded, future::pending()).await;
        assert_eq!(status, Err(Error::InvalidApiKey));
        assert_eq!(slept, Duration::from_secs(5));
    }

    #[tokio::test]
    async fn reading_takes_the_scope() {
        let mut wakeups = MockWakeups::new();
        wakeups.expect_watch_log().never();
        let use_case = AwaitChange::new(
            Arc::new(MockActionReader::new()),
            Arc::new(wakeups),
            Arc::new(MockAuthenticator::new()),
            Arc::new(MockClock::new()),
        );
        let caller = key_of(user(1), &["actions:write"]);
        let id = ActionId::from_uuid(Uuid::from_u128(1));
        let refused = use_case
            .run(&caller, id, |_| true, future::pending())
            .await
            .unwrap_err();
        assert_eq!(
            refused,
            Error::InsufficientScope("actions:read".parse().unwrap())
        );
    }
}
