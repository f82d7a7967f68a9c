use std::future::Future;
use std::sync::Arc;

use futures_util::future::{Either, select};
use futures_util::{StreamExt as _, pin_mut};

use crate::action::Action;
use crate::caller::Caller;
use crate::error::Error;
use crate::id::ActionId;
use crate::ports::{ActionReader, Wakeups};
use crate::scope::Permission;
use crate::service::Retention;

/// Waits until an action is over.
#[derive(Clone)]
pub struct AwaitOutcome {
    actions: Arc<dyn ActionReader>,
    wakeups: Arc<dyn Wakeups>,
    retention: Retention,
}

impl AwaitOutcome {
    /// The use case over these ports.
    #[must_use]
    pub fn new(actions: Arc<dyn ActionReader>, wakeups: Arc<dyn Wakeups>) -> Self {
        Self {
            actions,
            wakeups,
            retention: Retention::default(),
        }
    }

    /// The same, which says of actions that are older than what is kept that they are gone: an idempotency key may
    /// outlive what it stands for.
    #[must_use]
    pub fn keeping(self, retention: Retention) -> Self {
        Self { retention, ..self }
    }

    /// The action that the caller has submitted, as soon as it is over or `enough` is ready; then as it is.
    ///
    /// # Errors
    /// [`Error::InsufficientScope`] without `actions:write`, [`Error::ActionNotFound`], [`Error::ActionGone`].
    pub async fn run(
        &self,
        caller: &Caller,
        id: ActionId,
        enough: impl Future<Output = ()>,
    ) -> Result<Action, Error> {
        caller.require(Permission::ActionsWrite)?;
        let reach = caller.reach(Permission::ActionsWrite);
        // Watch first, then look: what happens between the two is not missed.
        let mut growth = self.wakeups.watch_log(id);
        pin_mut!(enough);
        loop {
            let action = self
                .actions
                .find(id, &reach)
                .await?
                .ok_or_else(|| self.retention.not_found(id))?;
            if action.overview.status.is_over() {
                return Ok(action);
            }
            // Its input may be large, and those who wait many.
            drop(action);
            // Whether it is enough is asked first: a log may grow faster than it is looked at.
            match select(&mut enough, growth.next()).await {
                Either::Right((Some(_), _)) => {}
                Either::Right((None, _)) | Either::Left(((), _)) => {
                    // It may have ended in the very last moment.
                    return self
                        .actions
                        .find(id, &reach)
                        .await?
                        .ok_or_else(|| self.retention.not_found(id));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::{Sequence, Status};
    use crate::ports::{MockActionReader, MockClock, MockWakeups};
    use crate::service::testing::{action, key_of, user};
    use chrono::{DateTime, TimeDelta};
    use futures_util::stream;
    use std::future;
    use std::time::Duration;
    use uuid::Uuid;

    fn timeless() -> ActionId {
        ActionId::from_uuid(Uuid::from_u128(1))
    }

    async fn run(
        statuses: &'static [Status],
        id: ActionId,
        enough: impl Future<Output = ()>,
    ) -> Result<Status, Error> {
        let mut left = statuses.iter();
        let mut actions = MockActionReader::new();
        actions
            .expect_find()
            .returning(move |id, _| Ok(left.next().map(|status| action(id, *status))));
        let mut wakeups = MockWakeups::new();
        wakeups.expect_watch_log().returning(|_| {
            stream::repeat(Sequence::FIRST)
                .take(3)
                .chain(stream::pending())
                .boxed()
        });
        let mut clock = MockClock::new();
        clock
            .expect_now()
            .return_const(DateTime::UNIX_EPOCH + TimeDelta::days(2));
        AwaitOutcome::new(Arc::new(actions), Arc::new(wakeups))
            .keeping(Retention::new(
                Duration::from_secs(24 * 3600),
                Arc::new(clock),
            ))
            .run(&key_of(user(1), &["actions:write"]), id, enough)
            .await
            .map(|action| action.overview.status)
    }

    #[tokio::test]
    async fn answers_as_soon_as_it_is_over() {
        let statuses = &[Status::Queued, Status::Running, Status::Failed];
        assert_eq!(
            run(statuses, timeless(), future::pending()).await,
            Ok(Status::Failed)
        );
    }

    #[tokio::test]
    async fn looks_once_more_when_time_is_up() {
        let statuses = &[
            Status::Running,
            Status::Running,
            Status::Running,
            Status::Running,
            Status::Succeeded,
        ];
        let soon = async {
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
        };
        assert_eq!(run(statuses, timeless(), soon).await, Ok(Status::Succeeded));
    }

    #[tokio::test]
    async fn a_log_that_grows_does_not_put_off_the_end_of_the_wait() {
        let statuses = &[Status::Running, Status::Queued];
        let enough = future::ready(());
        assert_eq!(run(statuses, timeless(), enough).await, Ok(Status::Queued));
    }

    #[tokio::test]
    async fn what_is_not_there_is_not_waited_for() {
        assert_eq!(
            run(&[], timeless(), future::pending()).await,
            Err(Error::ActionNotFound)
        );
    }

    #[tokio::test]
    async fn what_is_kept_no_more_is_gone() {
        let made_at_the_epoch = ActionId::from_uuid(Uuid::from_u128(7 << 76 | 2 << 62));
        assert_eq!(
            run(&[], made_at_the_epoch, future::pending()).await,
            Err(Error::ActionGone)
        );
    }
}
