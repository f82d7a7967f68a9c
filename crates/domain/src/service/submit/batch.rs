use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::{Submit, SubmitRequest, narrowed};
use crate::action::{ActionOverview, ActionType, ActionTypeName, NewAction};
use crate::caller::Caller;
use crate::error::{Error, Violation};
use crate::id::ActionId;
use crate::idempotency::Idempotency;
use crate::ports::{ActionReader, BatchSubmitted};
use crate::scope::Permission;
use crate::service::Retention;

/// Accepts many actions at once: all of them or none.
#[derive(Clone)]
pub struct SubmitBatch {
    submit: Submit,
    actions: Arc<dyn ActionReader>,
    retention: Retention,
}

/// What one action of a batch asks for, or the limits that it breaks, with pointers into the action.
pub type BatchItem = Result<SubmitRequest, Vec<Violation>>;

/// An accepted batch.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchSubmission {
    /// Its actions, in the order asked, as they are now.
    pub actions: Vec<ActionOverview>,
    /// Whether the same request was accepted before.
    pub is_replay: bool,
}

impl SubmitBatch {
    /// How many actions a batch has at the most.
    pub const MAX: usize = 500;

    /// The use case over another one and this port.
    #[must_use]
    pub fn new(submit: Submit, actions: Arc<dyn ActionReader>) -> Self {
        Self {
            submit,
            actions,
            retention: Retention::default(),
        }
    }

    /// The same, which says of actions that are older than what is kept that they are gone.
    #[must_use]
    pub fn keeping(self, retention: Retention) -> Self {
        Self { retention, ..self }
    }

    /// Accepts actions for the caller's subject. When this returns all are durable; when it fails none is, but where
    /// only the look at them has failed.
    ///
    /// # Errors
    /// [`Error::InsufficientScope`] without `actions:write` for one of the types; [`Error::UserRequired`];
    /// [`Error::Invalid`] with all that is wrong with any of them, by pointers from `/actions/0` on, and
    /// [`Error::UnknownActionTypes`] where nothing else is wrong; [`Error::IdempotencyKeyReused`],
    /// [`Error::IdempotencyInFlight`]; [`Error::TooManyQueued`] for a batch that was not accepted before;
    /// [`Error::ActionNotFound`], [`Error::ActionGone`] for one of before that is there no more.
    pub async fn run(
        &self,
        caller: &Caller,
        items: Vec<BatchItem>,
        idempotency: Option<Idempotency>,
    ) -> Result<BatchSubmission, Error> {
        caller.require(Permission::ActionsWrite)?;
        let user_id = caller.require_subject()?;
        let reach = caller.reach(Permission::ActionsWrite);
        let mut names = BTreeSet::new();
        for request in items.iter().flatten() {
            if !reach.types.includes(&request.action_type) {
                // Before the look-up: whether a type exists is not told to keys that may not use it.
                return Err(Error::InsufficientScope(narrowed(&request.action_type)));
            }
            names.insert(request.action_type.clone());
        }
        let types = self.types(names).await?;
        self.check(&items, &types)?;
        let actions: Vec<NewAction> = items
            .into_iter()
            .flatten()
            .filter_map(|request| {
                let action_type = types.get(&request.action_type)?;
                Some(self.submit.accepted(caller, user_id, action_type, request))
            })
            .collect();
        let submitted = self
            .submit
            .submissions
            .submit_batch(&actions, idempotency)
            .await?;
        let (ids, is_replay) = match submitted {
            BatchSubmitted::New => (actions.iter().map(|action| action.id).collect(), false),
            BatchSubmitted::Replayed(ids) => (ids, true),
            BatchSubmitted::KeyReused => return Err(Error::IdempotencyKeyReused),
            BatchSubmitted::InFlight => return Err(Error::IdempotencyInFlight),
            BatchSubmitted::UnknownTypes(places) => {
                let unknown = places.into_iter().map(unknown_type).collect();
                return Err(Error::UnknownActionTypes(unknown));
            }
            BatchSubmitted::TooManyQueued => return Err(Error::TooManyQueued),
        };
        Ok(BatchSubmission {
            actions: self.look(caller, &ids).await?,
            is_replay,
        })
    }

    /// The types of those names, looked for once.
    async fn types(
        &self,
        names: BTreeSet<ActionTypeName>,
    ) -> Result<HashMap<ActionTypeName, ActionType>, Error> {
        let names: Vec<ActionTypeName> = names.into_iter().collect();
        if names.is_empty() {
            return Ok(HashMap::new());
        }
        let found = self.submit.types.find_all(&names).await?;
        Ok(found
            .into_iter()
            .map(|action_type| (action_type.name.clone(), action_type))
            .collect())
    }

    /// Checks every item, whatever is wrong with those before it.
    fn check(
        &self,
        items: &[BatchItem],
        types: &HashMap<ActionTypeName, ActionType>,
    ) -> Result<(), Error> {
        let mut violations = Vec::new();
        let mut is_of_types_only = true;
        for (place, item) in items.iter().enumerate() {
            let found = match item {
                Err(broken) => broken.clone(),
                Ok(request) => match types.get(&request.action_type) {
                    None => {
                        violations.push(unknown_type(place));
                        continue;
                    }
                    Some(action_type) => self.submit.check(action_type, request)?,
                },
            };
            is_of_types_only &= found.is_empty();
            violations.extend(found.into_iter().map(|violation| {
                Violation::new(
                    format!("/actions/{place}{}", violation.pointer),
                    violation.message,
                )
            }));
        }
        if violations.is_empty() {
            Ok(())
        } else if is_of_types_only {
            Err(Error::UnknownActionTypes(violations))
        } else {
            Err(Error::Invalid(violations))
        }
    }

    async fn look(&self, caller: &Caller, ids: &[ActionId]) -> Result<Vec<ActionOverview>, Error> {
        let reach = caller.reach(Permission::ActionsWrite);
        let found = self.actions.overviews(ids, &reach).await?;
        let mut found: HashMap<ActionId, ActionOverview> = found
            .into_iter()
            .map(|overview| (overview.id, overview))
            .collect();
        ids.iter()
            .map(|id| {
                found
                    .remove(id)
                    .ok_or_else(|| self.retention.not_found(*id))
            })
            .collect()
    }
}

fn unknown_type(place: usize) -> Violation {
    Violation::new(
        format!("/actions/{place}/type"),
        "is not a registered action type",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::{Payload, PerformedBy, Priority, Status};
    use crate::ports::{
        MockActionReader, MockActionTypes, MockClock, MockIds, MockInputSchemas, MockSubmissions,
    };
    use crate::service::testing::{action, key_of, user};
    use chrono::{DateTime, TimeDelta, Utc};
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;
    use uuid::Uuid;

    const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;

    fn id(n: u128) -> ActionId {
        ActionId::from_uuid(Uuid::from_u128(n))
    }

    fn request(name: &str) -> SubmitRequest {
        SubmitRequest {
            action_type: ActionTypeName::parse(name).unwrap(),
            input: Payload::empty_object(),
            run_at: None,
            priority: Priority::default(),
            traceparent: None,
        }
    }

    fn items(names: &[&str]) -> Vec<BatchItem> {
        names.iter().map(|name| Ok(request(name))).collect()
    }

    /// Where `echo` and `strict` are registered, and `strict` takes nothing. Ids count from 1; what was submitted is
    /// answered as `answer`, and found but for `lost`.
    async fn run(
        scope: &str,
        items: Vec<BatchItem>,
        answer: BatchSubmitted,
        lost: Option<ActionId>,
    ) -> Result<BatchSubmission, Error> {
        let mut submissions = MockSubmissions::new();
        submissions
            .expect_submit_batch()
            .returning(move |_, _| Ok(answer.clone()));
        let mut types = MockActionTypes::new();
        types.expect_find_all().times(..=1).returning(|names| {
            let known = names
                .iter()
                .filter(|name| ["echo", "strict"].contains(&name.as_str()));
            Ok(known
                .map(|name| ActionType {
                    input_schema: (name.as_str() == "strict").then(Payload::empty_object),
                    ..ActionType::new(name.clone(), PerformedBy::Handler)
                })
                .collect())
        });
        let mut schemas = MockInputSchemas::new();
        schemas.expect_check().returning(|_, _| {
            Ok(vec![
                Violation::new("/text", "is missing"),
                Violation::new("", "is odd"),
            ])
        });
        let mut ids = MockIds::new();
        let made = AtomicU64::new(1);
        ids.expect_time_ordered()
            .returning(move || Uuid::from_u128(made.fetch_add(1, Ordering::Relaxed).into()));
        let mut clock = MockClock::new();
        clock.expect_now().return_const(NOW);
        let mut actions = MockActionReader::new();
        // In an order of its own.
        actions.expect_overviews().returning(move |ids, reach| {
            assert_eq!(reach.owner, Some(user(1)));
            let found = ids.iter().rev().filter(|id| Some(**id) != lost);
            Ok(found
                .map(|id| action(*id, Status::Queued).overview)
                .collect())
        });
        let mut now = MockClock::new();
        now.expect_now().return_const(NOW + TimeDelta::days(400));
        let submit = Submit::new(
            Arc::new(submissions),
            Arc::new(types),
            Arc::new(schemas),
            Arc::new(ids),
            Arc::new(clock),
        );
        SubmitBatch::new(submit, Arc::new(actions))
            .keeping(Retention::new(
                Duration::from_secs(24 * 3600),
                Arc::new(now),
            ))
            .run(&key_of(user(1), &[scope]), items, None)
            .await
    }

    async fn refused(items: Vec<BatchItem>) -> Error {
        run("actions:write", items, BatchSubmitted::New, None)
            .await
            .unwrap_err()
    }

    fn ids_of(submission: &BatchSubmission) -> Vec<ActionId> {
        submission.actions.iter().map(|one| one.id).collect()
    }

    #[tokio::test]
    async fn all_are_accepted_and_answered_in_the_order_asked() {
        let asked = items(&["echo", "echo", "echo"]);
        let done = run("actions:write", asked, BatchSubmitted::New, None).await;
        let done = done.unwrap();
        assert_eq!(ids_of(&done), [id(1), id(2), id(3)]);
        assert!(!done.is_replay);
    }

    #[tokio::test]
    async fn a_batch_of_before_is_answered_as_it_is() {
        let before = BatchSubmitted::Replayed(vec![id(9), id(7)]);
        let done = run("actions:write", items(&["echo", "echo"]), before, None).await;
        let done = done.unwrap();
        assert_eq!((ids_of(&done), done.is_replay), (vec![id(9), id(7)], true));
    }

    #[tokio::test]
    async fn a_batch_of_before_that_is_kept_no_more_is_gone() {
        // One of a time-ordered id, made at the epoch; and one whose id has no time.
        let old = id(7 << 76 | 2 << 62);
        for (lost, expected) in [(old, Error::ActionGone), (id(5), Error::ActionNotFound)] {
            let before = BatchSubmitted::Replayed(vec![lost, id(7)]);
            let answer = run("actions:write", items(&["echo"]), before, Some(lost)).await;
            assert_eq!(answer, Err(expected));
        }
    }

    #[tokio::test]
    async fn everything_that_is_wrong_is_told_with_its_place() {
        let late = SubmitRequest {
            run_at: Some(NOW + TimeDelta::days(367)),
            ..request("echo")
        };
        let broken = vec![Violation::new(
            "/priority",
            "must be between 0 and 9".to_owned(),
        )];
        let error = refused(vec![
            Ok(request("strict")),
            Ok(request("echo")),
            Ok(request("nobodys")),
            Err(broken),
            Ok(late),
        ])
        .await;
        let expected = [
            ("/actions/0/input/text", "is missing"),
            ("/actions/0/input", "is odd"),
            ("/actions/2/type", "is not a registered action type"),
            ("/actions/3/priority", "must be between 0 and 9"),
            ("/actions/4/run_at", "must lie within a year from now"),
        ];
        let expected = expected
            .map(|(pointer, message)| Violation::new(pointer, message))
            .to_vec();
        assert_eq!(error, Error::Invalid(expected));
    }

    #[tokio::test]
    async fn unknown_types_have_a_name_of_their_own_where_nothing_else_is_wrong() {
        let unknown =
            |places: [usize; 2]| Error::UnknownActionTypes(places.map(unknown_type).to_vec());
        let asked = items(&["nobodys", "echo", "neither"]);
        assert_eq!(refused(asked).await, unknown([0, 2]));
        // One that was removed since it was looked for.
        let raced = BatchSubmitted::UnknownTypes(vec![1, 2]);
        let answer = run("actions:write", items(&["echo"; 3]), raced, None).await;
        assert_eq!(answer, Err(unknown([1, 2])));
    }

    #[tokio::test]
    async fn a_narrowed_key_submits_its_types_only() {
        let asked = items(&["report.a", "echo", "nobodys"]);
        let answer = run("actions:write:report.*", asked, BatchSubmitted::New, None).await;
        let lacking = "actions:write:echo".parse().unwrap();
        assert_eq!(answer, Err(Error::InsufficientScope(lacking)));
        let answer = run("actions:read", Vec::new(), BatchSubmitted::New, None).await;
        let lacking = "actions:write".parse().unwrap();
        assert_eq!(answer, Err(Error::InsufficientScope(lacking)));
    }

    #[tokio::test]
    async fn what_the_store_refuses_is_refused() {
        for (answer, expected) in [
            (BatchSubmitted::KeyReused, Error::IdempotencyKeyReused),
            (BatchSubmitted::InFlight, Error::IdempotencyInFlight),
            (BatchSubmitted::TooManyQueued, Error::TooManyQueued),
        ] {
            let answer = run("actions:write", items(&["echo"]), answer, None).await;
            assert_eq!(answer, Err(expected));
        }
    }
}
