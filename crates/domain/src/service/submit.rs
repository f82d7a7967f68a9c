use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use crate::StoreError;
use crate::action::{ActionType, ActionTypeName, NewAction, Payload, Priority};
use crate::caller::Caller;
use crate::error::{Error, Violation};
use crate::id::{ActionId, UserId};
use crate::idempotency::Idempotency;
use crate::ports::{ActionTypes, Clock, Ids, InputSchemas, Submissions, Submitted};
use crate::scope::{Permission, Scope};
use crate::trace::TraceParent;

pub use batch::{BatchItem, BatchSubmission, SubmitBatch};

mod batch;

/// Accepts actions.
#[derive(Clone)]
pub struct Submit {
    submissions: Arc<dyn Submissions>,
    types: Arc<dyn ActionTypes>,
    schemas: Arc<dyn InputSchemas>,
    ids: Arc<dyn Ids>,
    clock: Arc<dyn Clock>,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubmitRequest {
    /// What to perform.
    pub action_type: ActionTypeName,
    /// With what.
    pub input: Payload,
    /// When to begin at the earliest; a time that has passed is at once.
    pub run_at: Option<DateTime<Utc>>,
    /// Which waiting action goes first.
    pub priority: Priority,
    /// In which trace.
    pub traceparent: Option<TraceParent>,
}

/// An accepted action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Submission {
    /// Its id.
    pub id: ActionId,
    /// Whether the same request was accepted before.
    pub is_replay: bool,
}

impl Submit {
    /// How far in the future an action may be scheduled.
    pub const HORIZON: TimeDelta = TimeDelta::days(366);

    /// The use case over these ports.
    #[must_use]
    pub fn new(
        submissions: Arc<dyn Submissions>,
        types: Arc<dyn ActionTypes>,
        schemas: Arc<dyn InputSchemas>,
        ids: Arc<dyn Ids>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            submissions,
            types,
            schemas,
            ids,
            clock,
        }
    }

    /// Accepts an action for the caller's subject. When this returns it is durable.
    ///
    /// # Errors
    /// [`Error::InsufficientScope`] without `actions:write` for the type; [`Error::UserRequired`];
    /// [`Error::UnknownActionType`]; [`Error::Invalid`] for an input that breaks the type's schema or a time beyond
    /// [`Self::HORIZON`]; [`Error::IdempotencyKeyReused`], [`Error::IdempotencyInFlight`]; [`Error::TooManyQueued`] for
    /// a request that was not accepted before.
    pub async fn run(
        &self,
        caller: &Caller,
        request: SubmitRequest,
        idempotency: Option<Idempotency>,
    ) -> Result<Submission, Error> {
        caller.require(Permission::ActionsWrite)?;
        let user_id = caller.require_subject()?;
        if !caller
            .reach(Permission::ActionsWrite)
            .types
            .includes(&request.action_type)
        {
            // Before the look-up: whether a type exists is not told to keys that may not use it.
            return Err(Error::InsufficientScope(narrowed(&request.action_type)));
        }
        let action_type = self
            .types
            .find(&request.action_type)
            .await?
            .ok_or(Error::UnknownActionType)?;
        let violations = self.check(&action_type, &request)?;
        if !violations.is_empty() {
            return Err(Error::Invalid(violations));
        }
        let action = self.accepted(caller, user_id, &action_type, request);
        let id = action.id;
        match self.submissions.submit(action, idempotency).await? {
            Submitted::New => Ok(Submission {
                id,
                is_replay: false,
            }),
            Submitted::Replayed(id) => Ok(Submission {
                id,
                is_replay: true,
            }),
            Submitted::KeyReused => Err(Error::IdempotencyKeyReused),
            Submitted::InFlight => Err(Error::IdempotencyInFlight),
            Submitted::UnknownType => Err(Error::UnknownActionType),
            Submitted::TooManyQueued => Err(Error::TooManyQueued),
        }
    }

    /// What is wrong with a request for an action of that type, with pointers into the action.
    fn check(
        &self,
        action_type: &ActionType,
        request: &SubmitRequest,
    ) -> Result<Vec<Violation>, Error> {
        let mut violations = Vec::new();
        if let Some(schema) = &action_type.input_schema {
            let found = self
                .schemas
                .check(schema, &request.input)
                .map_err(|error| StoreError::Bug(Arc::new(error)))?;
            violations.extend(found.into_iter().map(|violation| {
                Violation::new(format!("/input{}", violation.pointer), violation.message)
            }));
        }
        let latest = self.clock.now() + Self::HORIZON;
        if request.run_at.is_some_and(|at| at > latest) {
            violations.push(Violation::new("/run_at", "must lie within a year from now"));
        }
        Ok(violations)
    }

    /// The action that a request asks for.
    fn accepted(
        &self,
        caller: &Caller,
        user_id: UserId,
        action_type: &ActionType,
        request: SubmitRequest,
    ) -> NewAction {
        NewAction {
            id: ActionId::from_uuid(self.ids.time_ordered()),
            user_id,
            api_key_id: caller.actor().key_id(),
            action_type: request.action_type,
            priority: request.priority,
            max_attempts: action_type.max_attempts,
            run_at: request.run_at,
            retry_of: None,
            input: request.input,
            traceparent: request.traceparent,
            max_queued: caller.limits().queued,
        }
    }
}

fn narrowed(name: &ActionTypeName) -> Scope {
    let text = format!("{}:{name}", Permission::ActionsWrite);
    text.parse().unwrap_or(Scope::all(Permission::ActionsWrite))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::{ActionType, PerformedBy};
    use crate::caller::{Actor, Identity};
    use crate::id::{ApiKeyId, UserId};
    use crate::key_limits::KeyLimits;
    use crate::ports::{MockActionTypes, MockClock, MockIds, MockInputSchemas, MockSubmissions};
    use crate::scope::ScopeSet;
    use std::num::NonZeroU32;
    use uuid::Uuid;

    const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;

    struct World {
        scope: &'static str,
        known: bool,
        violations: Vec<Violation>,
        answer: Submitted,
    }

    impl Default for World {
        fn default() -> Self {
            Self {
                scope: "actions:write",
                known: true,
                violations: Vec::new(),
                answer: Submitted::New,
            }
        }
    }

    fn name(text: &str) -> ActionTypeName {
        ActionTypeName::parse(text).unwrap()
    }

    async fn run(world: World, run_at: Option<DateTime<Utc>>) -> Result<Submission, Error> {
        let mut submissions = MockSubmissions::new();
        submissions
            .expect_submit()
            .withf(|action, _| {
                action.max_attempts == 3
                    && action.user_id == UserId::from_uuid(Uuid::from_u128(1))
                    && action.max_queued == NonZeroU32::new(7)
            })
            .returning(move |_, _| Ok(world.answer));
        let mut types = MockActionTypes::new();
        types.expect_find().returning(move |name| {
            Ok(world.known.then(|| ActionType {
                input_schema: Some(Payload::empty_object()),
                ..ActionType::new(name.clone(), PerformedBy::Handler)
            }))
        });
        let mut schemas = MockInputSchemas::new();
        schemas
            .expect_check()
            .returning(move |_, _| Ok(world.violations.clone()));
        let mut ids = MockIds::new();
        ids.expect_time_ordered().returning(|| Uuid::from_u128(8));
        let mut clock = MockClock::new();
        clock.expect_now().return_const(NOW);
        let caller = Identity {
            actor: Actor::Key(ApiKeyId::from_uuid(Uuid::from_u128(9))),
            owner: Some(UserId::from_uuid(Uuid::from_u128(1))),
            scopes: ScopeSet::of([world.scope.parse().unwrap()]).unwrap(),
            expires_at: None,
            limits: KeyLimits {
                queued: NonZeroU32::new(7),
                ..KeyLimits::NONE
            },
        }
        .for_itself();
        let request = SubmitRequest {
            action_type: name("echo"),
            input: Payload::empty_object(),
            run_at,
            priority: Priority::default(),
            traceparent: None,
        };
        Submit::new(
            Arc::new(submissions),
            Arc::new(types),
            Arc::new(schemas),
            Arc::new(ids),
            Arc::new(clock),
        )
        .run(&caller, request, None)
        .await
    }

    #[tokio::test]
    async fn what_is_right_is_accepted() {
        let submission = run(World::default(), None).await.unwrap();
        assert_eq!(submission.id, ActionId::from_uuid(Uuid::from_u128(8)));
        assert!(!submission.is_replay);
    }

    #[tokio::test]
    async fn the_same_request_again_is_the_same_action() {
        let first = ActionId::from_uuid(Uuid::from_u128(4));
        let world = World {
            answer: Submitted::Replayed(first),
            ..World::default()
        };
        let expected = Submission {
            id: first,
            is_replay: true,
        };
        assert_eq!(run(world, None).await, Ok(expected));
    }

    #[tokio::test]
    async fn a_narrowed_key_submits_its_types_only() {
        let narrow = |scope| World {
            scope,
            known: false,
            ..World::default()
        };
        assert_eq!(
            run(narrow("actions:write:report.*"), None).await,
            Err(Error::InsufficientScope(
                "actions:write:echo".parse().unwrap()
            ))
        );
        assert_eq!(
            run(narrow("actions:write:echo"), None).await,
            Err(Error::UnknownActionType)
        );
        assert_eq!(
            run(narrow("actions:read"), None).await,
            Err(Error::InsufficientScope("actions:write".parse().unwrap()))
        );
    }

    #[tokio::test]
    async fn violations_point_into_the_body_and_come_together() {
        let world = World {
            violations: vec![
                Violation::new("/text", "is missing"),
                Violation::new("", "is odd"),
            ],
            ..World::default()
        };
        let expected = vec![
            Violation::new("/input/text", "is missing"),
            Violation::new("/input", "is odd"),
            Violation::new("/run_at", "must lie within a year from now"),
        ];
        assert_eq!(
            run(world, Some(NOW + TimeDelta::days(367))).await,
            Err(Error::Invalid(expected))
        );
    }

    #[tokio::test]
    async fn refusals_have_names() {
        for (answer, expected) in [
            (Submitted::KeyReused, Error::IdempotencyKeyReused),
            (Submitted::InFlight, Error::IdempotencyInFlight),
            (Submitted::UnknownType, Error::UnknownActionType),
            (Submitted::TooManyQueued, Error::TooManyQueued),
        ] {
            let world = World {
                answer,
                ..World::default()
            };
            assert_eq!(run(world, None).await, Err(expected));
        }
    }
}
