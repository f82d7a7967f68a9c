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

/// Waits until an action is over.
#[derive(Clone)]
pub struct AwaitOutcome {
    actions: Arc<dyn ActionReader>,
    wakeups: Arc<dyn Wakeups>,
}

impl AwaitOutcome {
    /// The use case over these ports.
    #[must_use]
    pub fn new(actions: Arc<dyn ActionReader>, wakeups: Arc<dyn Wakeups>) -> Self {
        Self { actions, wakeups }
    }

    /// The action that the caller has submitted, as soon as it is over or `enough` is ready; then as it is.
    ///
    /// # Errors
    /// [`Error::InsufficientScope`] without `actions:write`, [`Error::ActionNotFound`].
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
                .ok_or(Error::ActionNotFound)?;
            if action.overview.status.is_over() {
                return Ok(action);
            }
            match select(growth.next(), &mut enough).await {
                Either::Left((Some(_), _)) => {}
                Either::Left((None, _)) | Either::Right(((), _)) => {
                    // It may have ended in the very last moment.
                    return self
                        .actions
                        .find(id, &reach)
                        .await?
                        .ok_or(Error::ActionNotFound);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::{Sequence, Status};
    use crate::ports::{MockActionReader, MockWakeups};
    use crate::service::testing::{action, key_of, user};
    use futures_util::stream;
    use std::future;
    use uuid::Uuid;

    async fn run(
        statuses: &'static [Status],
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
        let id = ActionId::from_uuid(Uuid::from_u128(1));
        AwaitOutcome::new(Arc::new(actions), Arc::new(wakeups))
            .run(&key_of(user(1), &["actions:write"]), id, enough)
            .await
            .map(|action| action.overview.status)
    }

    #[tokio::test]
    async fn answers_as_soon_as_it_is_over() {
        let statuses = &[Status::Queued, Status::Running, Status::Failed];
        assert_eq!(run(statuses, future::pending()).await, Ok(Status::Failed));
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
        assert_eq!(run(statuses, soon).await, Ok(Status::Succeeded));
    }

    #[tokio::test]
    async fn what_is_not_there_is_not_waited_for() {
        assert_eq!(
            run(&[], future::pending()).await,
            Err(Error::ActionNotFound)
        );
    }
}
