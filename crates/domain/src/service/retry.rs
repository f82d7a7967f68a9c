use std::sync::Arc;

use crate::action::{NewAction, Status};
use crate::caller::Caller;
use crate::error::{Error, NotRetryable, StoreError};
use crate::id::ActionId;
use crate::idempotency::Idempotency;
use crate::ports::{ActionReader, ActionTypes, Ids, InputSchemas, Submissions, Submitted};
use crate::scope::Permission;
use crate::service::{Retention, Submission};
use crate::trace::TraceParent;

/// Tries actions again that failed or were cancelled, each as a new action: what is over stays as it is.
#[derive(Clone)]
pub struct Retry {
    submissions: Arc<dyn Submissions>,
    actions: Arc<dyn ActionReader>,
    types: Arc<dyn ActionTypes>,
    schemas: Arc<dyn InputSchemas>,
    ids: Arc<dyn Ids>,
    retention: Retention,
}

impl Retry {
    /// The use case over these ports.
    #[must_use]
    pub fn new(
        submissions: Arc<dyn Submissions>,
        actions: Arc<dyn ActionReader>,
        types: Arc<dyn ActionTypes>,
        schemas: Arc<dyn InputSchemas>,
        ids: Arc<dyn Ids>,
    ) -> Self {
        Self {
            submissions,
            actions,
            types,
            schemas,
            ids,
            retention: Retention::default(),
        }
    }

    /// The same, which says of actions that are older than what is kept that they are gone.
    #[must_use]
    pub fn keeping(self, retention: Retention) -> Self {
        Self { retention, ..self }
    }

    /// Accepts a new action with the type, input and priority of an action of the caller's subject. It begins at once,
    /// is performed for the same user, and has as many attempts as its type allows now. It belongs to the trace of
    /// this request, else to that of the action. When this returns it is durable.
    ///
    /// # Errors
    /// [`Error::InsufficientScope`] without `actions:write`, [`Error::ActionNotFound`], [`Error::ActionGone`];
    /// [`Error::ActionNotRetryable`] for an action that is not over or has succeeded, or that would be refused today;
    /// [`Error::IdempotencyKeyReused`], [`Error::IdempotencyInFlight`]; [`Error::TooManyQueued`] for a request that was
    /// not accepted before.
    pub async fn run(
        &self,
        caller: &Caller,
        id: ActionId,
        traceparent: Option<TraceParent>,
        idempotency: Option<Idempotency>,
    ) -> Result<Submission, Error> {
        caller.require(Permission::ActionsWrite)?;
        let reach = caller.reach(Permission::ActionsWrite);
        let first = self.actions.find(id, &reach).await?;
        let first = first.ok_or_else(|| self.retention.not_found(id))?;
        match first.overview.status {
            Status::Failed | Status::Cancelled => {}
            Status::Succeeded => return Err(NotRetryable::Succeeded.into()),
            Status::Scheduled | Status::Queued | Status::Running => {
                return Err(NotRetryable::NotOver.into());
            }
        }
        let action_type = self.types.find(&first.overview.action_type).await?;
        let action_type = action_type.ok_or(NotRetryable::TypeGone)?;
        if let Some(schema) = &action_type.input_schema {
            // The type may have changed since.
            let violations = self
                .schemas
                .check(schema, &first.input)
                .map_err(|error| StoreError::Bug(Arc::new(error)))?;
            if !violations.is_empty() {
                return Err(NotRetryable::InputOutdated.into());
            }
        }
        let action = NewAction {
            id: ActionId::from_uuid(self.ids.time_ordered()),
            user_id: first.overview.user_id,
            api_key_id: caller.actor().key_id(),
            action_type: action_type.name,
            priority: first.overview.priority,
            max_attempts: action_type.max_attempts,
            run_at: None,
            retry_of: Some(id),
            input: first.input,
            traceparent: traceparent.or(first.traceparent),
            max_queued: caller.limits().queued,
        };
        let made = action.id;
        match self.submissions.submit(action, idempotency).await? {
            Submitted::New => Ok(Submission {
                id: made,
                is_replay: false,
            }),
            Submitted::Replayed(id) => Ok(Submission {
                id,
                is_replay: true,
            }),
            Submitted::KeyReused => Err(Error::IdempotencyKeyReused),
            Submitted::InFlight => Err(Error::IdempotencyInFlight),
            Submitted::UnknownType => Err(NotRetryable::TypeGone.into()),
            Submitted::TooManyQueued => Err(Error::TooManyQueued),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::{Action, ActionType, Payload, PerformedBy, Priority};
    use crate::caller::{Actor, Identity};
    use crate::error::Violation;
    use crate::key_limits::KeyLimits;
    use crate::ports::{
        MockActionReader, MockActionTypes, MockIds, MockInputSchemas, MockSubmissions,
    };
    use crate::scope::ScopeSet;
    use crate::service::testing::{action, key_of, user};
    use crate::trace::{SpanId, TraceId};
    use uuid::Uuid;

    const MADE: Uuid = Uuid::from_u128(8);

    fn first() -> ActionId {
        ActionId::from_uuid(Uuid::from_u128(4))
    }

    fn trace(n: u8) -> TraceParent {
        let (trace_id, span_id) = (TraceId::from_bytes([n; 16]), SpanId::from_bytes([n; 8]));
        TraceParent::new(trace_id.unwrap(), span_id.unwrap(), true)
    }

    /// What is asked, found and answered in one test.
    struct World {
        found: Option<Action>,
        traceparent: Option<TraceParent>,
        type_exists: bool,
        input_fits: bool,
        answer: Submitted,
    }

    impl World {
        fn with(status: Status) -> Self {
            let mut found = action(first(), status);
            found.overview.priority = Priority::new(2).unwrap();
            found.input = Payload::parse("{\"n\": 1}").unwrap();
            found.traceparent = Some(trace(4));
            Self {
                found: Some(found),
                traceparent: None,
                type_exists: true,
                input_fits: true,
                answer: Submitted::New,
            }
        }

        async fn run(self, caller: &Caller) -> (Result<Submission, Error>, Option<NewAction>) {
            let (sender, receiver) = std::sync::mpsc::channel();
            let mut submissions = MockSubmissions::new();
            submissions.expect_submit().returning(move |action, _| {
                sender.send(action).unwrap();
                Ok(self.answer)
            });
            let mut actions = MockActionReader::new();
            let owner = caller.subject();
            actions
                .expect_find()
                .withf(move |id, reach| *id == first() && reach.owner == owner)
                .return_const(Ok(self.found));
            let mut types = MockActionTypes::new();
            types.expect_find().returning(move |name| {
                Ok(self.type_exists.then(|| ActionType {
                    input_schema: Some(Payload::empty_object()),
                    max_attempts: 7,
                    ..ActionType::new(name.clone(), PerformedBy::Handler)
                }))
            });
            let mut schemas = MockInputSchemas::new();
            let wrong = Violation::new("/n", "must be a string");
            schemas.expect_check().returning(move |_, _| {
                Ok(if self.input_fits {
                    Vec::new()
                } else {
                    vec![wrong.clone()]
                })
            });
            let mut ids = MockIds::new();
            ids.expect_time_ordered().return_const(MADE);
            let answer = Retry::new(
                Arc::new(submissions),
                Arc::new(actions),
                Arc::new(types),
                Arc::new(schemas),
                Arc::new(ids),
            )
            .run(caller, first(), self.traceparent, None)
            .await;
            (answer, receiver.try_recv().ok())
        }
    }

    fn ada() -> Caller {
        key_of(user(1), &["actions:write"])
    }

    #[tokio::test]
    async fn what_failed_or_was_cancelled_is_asked_for_anew() {
        for status in [Status::Failed, Status::Cancelled] {
            let (answer, submitted) = World::with(status).run(&ada()).await;
            let made = ActionId::from_uuid(MADE);
            let expected = Submission {
                id: made,
                is_replay: false,
            };
            assert_eq!(answer, Ok(expected), "{status}");
            let found = World::with(status).found.unwrap();
            let expected = NewAction {
                id: made,
                user_id: user(1),
                api_key_id: ada().actor().key_id(),
                action_type: found.overview.action_type,
                priority: Priority::new(2).unwrap(),
                max_attempts: 7,
                run_at: None,
                retry_of: Some(first()),
                input: found.input,
                traceparent: Some(trace(4)),
                max_queued: None,
            };
            assert_eq!(submitted, Some(expected), "{status}");
        }
    }

    #[tokio::test]
    async fn it_belongs_to_the_trace_of_who_asks_if_there_is_one() {
        let world = World {
            traceparent: Some(trace(5)),
            ..World::with(Status::Failed)
        };
        let (_, submitted) = world.run(&ada()).await;
        assert_eq!(submitted.unwrap().traceparent, Some(trace(5)));
    }

    #[tokio::test]
    async fn what_has_not_failed_is_not_retried() {
        let check = async |status, why| {
            let (answer, submitted) = World::with(status).run(&ada()).await;
            assert_eq!(answer, Err(Error::ActionNotRetryable(why)), "{status}");
            assert_eq!(submitted, None, "{status}");
        };
        check(Status::Scheduled, NotRetryable::NotOver).await;
        check(Status::Queued, NotRetryable::NotOver).await;
        check(Status::Running, NotRetryable::NotOver).await;
        check(Status::Succeeded, NotRetryable::Succeeded).await;
    }

    #[tokio::test]
    async fn what_would_be_refused_today_is_not_retried() {
        let outdated = World {
            input_fits: false,
            ..World::with(Status::Failed)
        };
        let gone = World {
            type_exists: false,
            ..World::with(Status::Failed)
        };
        let just_gone = World {
            answer: Submitted::UnknownType,
            ..World::with(Status::Failed)
        };
        for (world, why) in [
            (outdated, NotRetryable::InputOutdated),
            (gone, NotRetryable::TypeGone),
            (just_gone, NotRetryable::TypeGone),
        ] {
            let (answer, _) = world.run(&ada()).await;
            assert_eq!(answer, Err(Error::ActionNotRetryable(why)));
        }
    }

    #[tokio::test]
    async fn a_foreign_action_does_not_exist() {
        let foreign = World {
            found: None,
            ..World::with(Status::Failed)
        };
        let (answer, submitted) = foreign.run(&ada()).await;
        assert_eq!((answer, submitted), (Err(Error::ActionNotFound), None));
    }

    #[tokio::test]
    async fn it_takes_the_scope() {
        let reader = key_of(user(1), &["actions:read"]);
        let (answer, submitted) = World::with(Status::Failed).run(&reader).await;
        let lacking = Error::InsufficientScope("actions:write".parse().unwrap());
        assert_eq!((answer, submitted), (Err(lacking), None));
    }

    #[tokio::test]
    async fn the_root_key_retries_for_the_same_user() {
        let root = Identity {
            actor: Actor::Root,
            owner: None,
            scopes: ScopeSet::everything(),
            expires_at: None,
            limits: KeyLimits::NONE,
        }
        .for_itself();
        let (_, submitted) = World::with(Status::Failed).run(&root).await;
        let submitted = submitted.unwrap();
        assert_eq!((submitted.user_id, submitted.api_key_id), (user(1), None));
    }

    #[tokio::test]
    async fn the_same_request_again_is_the_same_action() {
        let world = World {
            answer: Submitted::Replayed(ActionId::from_uuid(Uuid::from_u128(5))),
            ..World::with(Status::Failed)
        };
        let expected = Submission {
            id: ActionId::from_uuid(Uuid::from_u128(5)),
            is_replay: true,
        };
        assert_eq!(world.run(&ada()).await.0, Ok(expected));
    }
}
