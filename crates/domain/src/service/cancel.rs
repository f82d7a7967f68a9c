use std::sync::Arc;

use crate::action::Action;
use crate::caller::Caller;
use crate::error::Error;
use crate::id::ActionId;
use crate::ports::{ActionReader, CancelVerdict, Submissions};
use crate::scope::Permission;
use crate::service::Retention;

/// Cancels actions.
#[derive(Clone)]
pub struct Cancel {
    submissions: Arc<dyn Submissions>,
    actions: Arc<dyn ActionReader>,
    retention: Retention,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub enum CancelAnswer {
    /// The action is over: cancelled now, or ended before.
    Over(Action),
    /// Its performer was told, and will stop soon.
    Asked(Action),
}

impl Cancel {
    /// The use case over these ports.
    #[must_use]
    pub fn new(submissions: Arc<dyn Submissions>, actions: Arc<dyn ActionReader>) -> Self {
        Self {
            submissions,
            actions,
            retention: Retention::default(),
        }
    }

    /// The same, which says of actions that are older than what is kept that they are gone.
    #[must_use]
    pub fn keeping(self, retention: Retention) -> Self {
        Self { retention, ..self }
    }

    /// Cancels an action of the caller's subject. Idempotent.
    ///
    /// # Errors
    /// [`Error::InsufficientScope`] without `actions:write`, [`Error::ActionNotFound`], [`Error::ActionGone`].
    pub async fn run(&self, caller: &Caller, id: ActionId) -> Result<CancelAnswer, Error> {
        caller.require(Permission::ActionsWrite)?;
        let reach = caller.reach(Permission::ActionsWrite);
        let verdict = self.submissions.cancel(id, &reach).await?;
        if verdict == CancelVerdict::NotFound {
            return Err(self.retention.not_found(id));
        }
        let action = self
            .actions
            .find(id, &reach)
            .await?
            .ok_or_else(|| self.retention.not_found(id))?;
        // It may have ended since: what is said is what is so now.
        if action.overview.status.is_over() {
            Ok(CancelAnswer::Over(action))
        } else {
            Ok(CancelAnswer::Asked(action))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::Status;
    use crate::ports::{MockActionReader, MockSubmissions};
    use crate::service::testing::{action, key_of, user};

    async fn run(verdict: CancelVerdict, status: Status) -> Result<CancelAnswer, Error> {
        let mut submissions = MockSubmissions::new();
        submissions
            .expect_cancel()
            .withf(|_, reach| reach.owner == Some(user(1)))
            .returning(move |_, _| Ok(verdict));
        let mut actions = MockActionReader::new();
        actions
            .expect_find()
            .returning(move |id, _| Ok(Some(action(id, status))));
        let id = ActionId::from_uuid(uuid::Uuid::from_u128(1));
        Cancel::new(Arc::new(submissions), Arc::new(actions))
            .run(&key_of(user(1), &["actions:write"]), id)
            .await
    }

    #[tokio::test]
    async fn says_how_the_action_stands_now() {
        let over = run(CancelVerdict::Cancelled, Status::Cancelled)
            .await
            .unwrap();
        assert!(matches!(over, CancelAnswer::Over(_)));
        let asked = run(CancelVerdict::Asked, Status::Running).await.unwrap();
        assert!(matches!(asked, CancelAnswer::Asked(_)));
        let ended_meanwhile = run(CancelVerdict::Asked, Status::Succeeded).await.unwrap();
        assert!(matches!(ended_meanwhile, CancelAnswer::Over(_)));
    }

    #[tokio::test]
    async fn a_foreign_action_does_not_exist() {
        assert_eq!(
            run(CancelVerdict::NotFound, Status::Queued).await,
            Err(Error::ActionNotFound)
        );
    }
}
