use std::sync::Arc;

use crate::action::{Action, ActionFilter, ActionOverview, ActionType, ActionTypeName, Sequence};
use crate::caller::Caller;
use crate::error::Error;
use crate::id::ActionId;
use crate::page::{Limit, Page, PageRequest};
use crate::ports::{ActionReader, ActionTypes, EventLog, EventPage};
use crate::scope::Permission;
use crate::service::Retention;

/// Reads actions, their logs, and the types.
#[derive(Clone)]
pub struct ReadActions {
    actions: Arc<dyn ActionReader>,
    log: Arc<dyn EventLog>,
    types: Arc<dyn ActionTypes>,
    retention: Retention,
}

impl ReadActions {
    /// The use case over these ports.
    #[must_use]
    pub fn new(
        actions: Arc<dyn ActionReader>,
        log: Arc<dyn EventLog>,
        types: Arc<dyn ActionTypes>,
    ) -> Self {
        Self {
            actions,
            log,
            types,
            retention: Retention::default(),
        }
    }

    /// The same, which says of actions that are older than what is kept that they are gone.
    #[must_use]
    pub fn keeping(self, retention: Retention) -> Self {
        Self { retention, ..self }
    }

    /// An action of the caller's subject.
    ///
    /// # Errors
    /// [`Error::InsufficientScope`] without `actions:read`, [`Error::ActionNotFound`], [`Error::ActionGone`].
    pub async fn find(&self, caller: &Caller, id: ActionId) -> Result<Action, Error> {
        caller.require(Permission::ActionsRead)?;
        let reach = caller.reach(Permission::ActionsRead);
        self.actions
            .find(id, &reach)
            .await?
            .ok_or_else(|| self.retention.not_found(id))
    }

    /// Actions of the caller's subject, newest first.
    ///
    /// # Errors
    /// [`Error::InsufficientScope`] without `actions:read`.
    pub async fn list(
        &self,
        caller: &Caller,
        filter: &ActionFilter,
        page: PageRequest<ActionId>,
    ) -> Result<Page<ActionOverview, ActionId>, Error> {
        caller.require(Permission::ActionsRead)?;
        let reach = caller.reach(Permission::ActionsRead);
        Ok(self.actions.list(filter, &reach, page).await?)
    }

    /// One page of an action's log.
    ///
    /// # Errors
    /// [`Error::InsufficientScope`] without `actions:read`, [`Error::ActionNotFound`], [`Error::ActionGone`],
    /// [`Error::CursorBeyondEnd`] for a position that is not stored yet.
    pub async fn events(
        &self,
        caller: &Caller,
        id: ActionId,
        after: Sequence,
        limit: Limit,
    ) -> Result<EventPage, Error> {
        caller.require(Permission::ActionsRead)?;
        let reach = caller.reach(Permission::ActionsRead);
        let page = self.log.read(id, &reach, after, limit.as_usize()).await?;
        let page = page.ok_or_else(|| self.retention.not_found(id))?;
        if after > page.last {
            return Err(Error::CursorBeyondEnd);
        }
        Ok(page)
    }

    /// The action types that the caller can read of, by name.
    ///
    /// # Errors
    /// [`Error::InsufficientScope`] without `actions:read`.
    pub async fn types(&self, caller: &Caller) -> Result<Vec<ActionType>, Error> {
        caller.require(Permission::ActionsRead)?;
        let reach = caller.reach(Permission::ActionsRead).types;
        let mut types = self.types.list().await?;
        types.retain(|action_type| reach.includes(&action_type.name));
        Ok(types)
    }

    /// The action type of that name.
    ///
    /// # Errors
    /// [`Error::InsufficientScope`] without `actions:read`, [`Error::ActionTypeNotFound`].
    pub async fn find_type(
        &self,
        caller: &Caller,
        name: &ActionTypeName,
    ) -> Result<ActionType, Error> {
        caller.require(Permission::ActionsRead)?;
        if !caller.reach(Permission::ActionsRead).types.includes(name) {
            return Err(Error::ActionTypeNotFound);
        }
        self.types
            .find(name)
            .await?
            .ok_or(Error::ActionTypeNotFound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::PerformedBy;
    use crate::ports::{MockActionReader, MockActionTypes, MockEventLog};
    use crate::service::testing::{key_of, user};
    use uuid::Uuid;

    fn use_case(log: MockEventLog) -> ReadActions {
        let mut types = MockActionTypes::new();
        let named =
            |name| ActionType::new(ActionTypeName::parse(name).unwrap(), PerformedBy::Handler);
        types
            .expect_list()
            .returning(move || Ok(vec![named("echo"), named("report.render")]));
        types
            .expect_find()
            .returning(|name| Ok(Some(ActionType::new(name.clone(), PerformedBy::Handler))));
        let mut actions = MockActionReader::new();
        actions.expect_find().returning(|_, _| Ok(None));
        ReadActions::new(Arc::new(actions), Arc::new(log), Arc::new(types))
    }

    fn id() -> ActionId {
        ActionId::from_uuid(Uuid::from_u128(1))
    }

    #[tokio::test]
    async fn a_narrowed_key_sees_its_types_only() {
        let caller = key_of(user(1), &["actions:read:report.*"]);
        let use_case = use_case(MockEventLog::new());
        let types = use_case.types(&caller).await.unwrap();
        assert_eq!(
            types.iter().map(|t| t.name.as_str()).collect::<Vec<_>>(),
            ["report.render"]
        );
        let echo = ActionTypeName::parse("echo").unwrap();
        assert_eq!(
            use_case.find_type(&caller, &echo).await,
            Err(Error::ActionTypeNotFound)
        );
    }

    #[tokio::test]
    async fn reading_takes_the_scope() {
        let caller = key_of(user(1), &["actions:write"]);
        let refused = Err(Error::InsufficientScope("actions:read".parse().unwrap()));
        assert_eq!(
            use_case(MockEventLog::new()).find(&caller, id()).await,
            refused
        );
    }

    #[tokio::test]
    async fn a_position_beyond_the_end_is_refused() {
        let mut log = MockEventLog::new();
        log.expect_read().returning(|_, _, _, _| {
            Ok(Some(EventPage {
                events: Vec::new(),
                last: Sequence::FIRST,
                is_over: false,
            }))
        });
        let caller = key_of(user(1), &["actions:read"]);
        let use_case = use_case(log);
        let at = |seq| Sequence::new(seq).unwrap();
        let limit = Limit::default();
        assert!(use_case.events(&caller, id(), at(1), limit).await.is_ok());
        assert_eq!(
            use_case.events(&caller, id(), at(2), limit).await,
            Err(Error::CursorBeyondEnd)
        );
    }
}
