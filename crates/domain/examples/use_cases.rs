//! The use cases without HTTP and without PostgreSQL.
//!
//! A use case needs nothing but its ports. Here the ports are kept in memory, in a few lines each, and the program
//! registers a user, submits an action for that user, and follows the action's log to its end.
//!
//! `cargo run -p deed-domain --example use_cases`

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::collections::HashMap;
use std::future::pending;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use deed_domain::action::{
    ActionType, ActionTypeName, Event, NewAction, NewEvent, Outcome, Payload, PerformedBy,
    Priority, Sequence,
};
use deed_domain::caller::{Actor, Attribution, Caller, Identity, Reach};
use deed_domain::email::Email;
use deed_domain::id::{ActionId, ApiKeyId, UserId};
use deed_domain::idempotency::Idempotency;
use deed_domain::key_limits::KeyLimits;
use deed_domain::page::{Page, PageRequest};
use deed_domain::password::{Password, PasswordHash, PasswordPolicy};
use deed_domain::ports::{
    ActionTypes, Authenticator, BatchSubmitted, CancelVerdict, Clock, EventLog, EventPage,
    HashingError, Ids, InputSchemas, PasswordHasher, SchemaError, Submissions, Submitted,
    TypeDefined, TypeRemoved, UserChanged, UserCreated, UserRepository, Wakeups,
};
use deed_domain::scope::ScopeSet;
use deed_domain::service::{Follow, Followed, RegisterUser, Registration, Submit, SubmitRequest};
use deed_domain::user::{
    DisplayName, NewUser, User, UserChange, UserCondition, UserFilter, UserStatus,
};
use deed_domain::{StoreError, Violation};
use futures_util::stream::{self, BoxStream, StreamExt as _};
use tokio::sync::watch;
use uuid::Uuid;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    for line in run().await? {
        println!("{line}");
    }
    Ok(())
}

/// Registers, submits, follows; answers what there is to see.
async fn run() -> Result<Vec<String>, Failure> {
    let memory = Arc::new(Memory::default());
    let mut seen = Vec::new();

    let register = RegisterUser::new(memory.clone(), memory.clone(), memory.clone());
    let registration = Registration {
        email: Email::parse("ada@example.com")?,
        name: DisplayName::parse("Ada")?,
        password: Password::parse("correct horse", PasswordPolicy::default())?,
        external_id: None,
    };
    let registered = register
        .run(registration, &Attribution::OPERATOR, None)
        .await?;
    seen.push(format!("registered {}", registered.user.name));

    let caller = caller_for(registered.user.id)?;
    let submit = Submit::new(
        memory.clone(),
        memory.clone(),
        memory.clone(),
        memory.clone(),
        memory.clone(),
    );
    let request = SubmitRequest {
        action_type: ActionTypeName::parse("greet")?,
        input: Payload::parse(r#"{"name":"Ada"}"#)?,
        run_at: None,
        priority: Priority::default(),
        traceparent: None,
    };
    let submission = submit.run(&caller, request, None).await?;

    // Somebody performs it while the log is being followed.
    let performer = memory.clone();
    let performance = tokio::spawn(async move {
        performer.write(submission.id, NewEvent::started(1));
        performer.write(
            submission.id,
            NewEvent::message(Payload::from_stored(r#"{"text":"hello"}"#)),
        );
        let output = Payload::from_stored(r#"{"greeted":"Ada"}"#);
        performer.write(submission.id, NewEvent::done(&Outcome::Succeeded(output)));
    });

    let follow = Follow::new(
        memory.clone(),
        memory.clone(),
        memory.clone(),
        memory.clone(),
    );
    if let Followed::Events(mut events) =
        follow.run(&caller, submission.id, Sequence::START).await?
    {
        while let Some(event) = events.next().await {
            seen.push(format!("{} {} {}", event.seq, event.name, event.data));
        }
    }
    performance.await?;
    Ok(seen)
}

/// A key of `user` that may submit and read actions.
fn caller_for(user: UserId) -> Result<Caller, Failure> {
    let scopes = ["actions:read".parse()?, "actions:write".parse()?];
    let identity = Identity {
        actor: Actor::Key(ApiKeyId::from_uuid(Uuid::from_u128(1))),
        owner: Some(user),
        scopes: ScopeSet::of(scopes)?,
        expires_at: None,
        limits: KeyLimits::NONE,
    };
    Ok(identity.for_itself())
}

/// Every port that these use cases need, over a few maps. One lock holds all that a method changes: a port method is
/// one fact.
#[derive(Default)]
struct Memory {
    users: Mutex<Vec<User>>,
    logs: Mutex<HashMap<ActionId, Log>>,
    ids: AtomicU64,
}

struct Log {
    owner: UserId,
    events: Vec<Event>,
    length: watch::Sender<Sequence>,
}

impl Memory {
    fn write(&self, id: ActionId, event: NewEvent) {
        if let Some(log) = lock(&self.logs).get_mut(&id) {
            log.write(event);
        }
    }
}

impl Log {
    fn write(&mut self, event: NewEvent) {
        let seq = Sequence::START.plus(self.events.len()).next();
        self.events.push(Event {
            seq,
            name: event.name,
            at: DateTime::UNIX_EPOCH,
            data: event.data,
        });
        self.length.send_replace(seq);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl UserRepository for Memory {
    async fn create(
        &self,
        user: NewUser,
        _: &Attribution,
        _: Option<Idempotency>,
    ) -> Result<UserCreated, StoreError> {
        let mut users = lock(&self.users);
        if users
            .iter()
            .any(|other| other.email.key() == user.email.key())
        {
            return Ok(UserCreated::EmailTaken);
        }
        let user = User {
            id: user.id,
            email: user.email,
            name: user.name,
            status: UserStatus::Active,
            external_id: user.external_id,
            created_at: self.now(),
            updated_at: self.now(),
        };
        users.push(user.clone());
        Ok(UserCreated::New(user))
    }

    async fn find(&self, id: UserId) -> Result<Option<User>, StoreError> {
        Ok(lock(&self.users).iter().find(|user| user.id == id).cloned())
    }

    async fn list(
        &self,
        _: &UserFilter,
        page: PageRequest<UserId>,
    ) -> Result<Page<User, UserId>, StoreError> {
        let mut users = lock(&self.users).clone();
        users.sort_by_key(|user| std::cmp::Reverse(user.id));
        users.retain(|user| page.after.is_none_or(|after| user.id < after));
        Ok(Page::from_rows(users, page.limit, |user| user.id))
    }

    async fn change(
        &self,
        id: UserId,
        change: &UserChange,
        condition: &UserCondition,
        _: &Attribution,
    ) -> Result<UserChanged, StoreError> {
        let mut users = lock(&self.users);
        let Some(user) = users.iter_mut().find(|user| user.id == id) else {
            return Ok(UserChanged::NotFound);
        };
        if !condition.holds(user.version()) {
            return Ok(UserChanged::ConditionFailed);
        }
        if let Some(name) = &change.name {
            user.name = name.clone();
            user.updated_at = self.now().max(user.updated_at + TimeDelta::microseconds(1));
        }
        Ok(UserChanged::Changed(user.clone()))
    }

    async fn delete(&self, id: UserId, _: &Attribution) -> Result<bool, StoreError> {
        let mut users = lock(&self.users);
        let before = users.len();
        users.retain(|user| user.id != id);
        Ok(users.len() < before)
    }
}

/// No hashing at all: never do this outside an example.
#[async_trait]
impl PasswordHasher for Memory {
    async fn hash(&self, _: &Password) -> Result<PasswordHash, HashingError> {
        Ok(PasswordHash::from_phc("$none$".to_owned()))
    }

    async fn verify(&self, _: &Password, _: &PasswordHash) -> Result<bool, HashingError> {
        Ok(false)
    }
}

impl Ids for Memory {
    fn time_ordered(&self) -> Uuid {
        Uuid::from_u64_pair(7, self.ids.fetch_add(1, Ordering::Relaxed))
    }

    fn random_bytes(&self) -> [u8; 64] {
        [0; 64]
    }
}

#[async_trait]
impl Clock for Memory {
    fn now(&self) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// One type, `greet`, that takes any input.
#[async_trait]
impl ActionTypes for Memory {
    async fn register_handlers(&self, _: &[ActionType]) -> Result<(), StoreError> {
        Ok(())
    }

    async fn define(&self, _: &ActionType) -> Result<TypeDefined, StoreError> {
        Ok(TypeDefined::HasHandler)
    }

    async fn remove(&self, _: &ActionTypeName) -> Result<TypeRemoved, StoreError> {
        Ok(TypeRemoved::HasHandler)
    }

    async fn find(&self, name: &ActionTypeName) -> Result<Option<ActionType>, StoreError> {
        Ok((name.as_str() == "greet").then(|| ActionType::new(name.clone(), PerformedBy::Handler)))
    }

    async fn find_all(&self, _: &[ActionTypeName]) -> Result<Vec<ActionType>, StoreError> {
        Ok(Vec::new())
    }

    async fn list(&self) -> Result<Vec<ActionType>, StoreError> {
        Ok(Vec::new())
    }
}

impl InputSchemas for Memory {
    fn admit(&self, _: &Payload) -> Result<(), SchemaError> {
        Ok(())
    }

    fn check(&self, _: &Payload, _: &Payload) -> Result<Vec<Violation>, SchemaError> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl Submissions for Memory {
    async fn submit(
        &self,
        action: NewAction,
        _: Option<Idempotency>,
    ) -> Result<Submitted, StoreError> {
        let mut log = Log {
            owner: action.user_id,
            events: Vec::new(),
            length: watch::Sender::new(Sequence::START),
        };
        log.write(NewEvent::created(action.id));
        lock(&self.logs).insert(action.id, log);
        Ok(Submitted::New)
    }

    async fn submit_batch(
        &self,
        actions: &[NewAction],
        _: Option<Idempotency>,
    ) -> Result<BatchSubmitted, StoreError> {
        for action in actions {
            self.submit(action.clone(), None).await?;
        }
        Ok(BatchSubmitted::New)
    }

    async fn cancel(&self, _: ActionId, _: &Reach) -> Result<CancelVerdict, StoreError> {
        Ok(CancelVerdict::NotFound)
    }
}

#[async_trait]
impl EventLog for Memory {
    async fn read(
        &self,
        action: ActionId,
        reach: &Reach,
        after: Sequence,
        limit: usize,
    ) -> Result<Option<EventPage>, StoreError> {
        let logs = lock(&self.logs);
        let log = logs
            .get(&action)
            .filter(|log| reach.owner.is_none_or(|owner| owner == log.owner));
        Ok(log.map(|log| EventPage {
            events: log
                .events
                .iter()
                .filter(|event| event.seq > after)
                .take(limit)
                .cloned()
                .collect(),
            last: log.events.last().map_or(Sequence::START, |event| event.seq),
            is_over: log.events.last().is_some_and(|event| event.name.is_last()),
        }))
    }
}

impl Wakeups for Memory {
    fn watch_log(&self, action: ActionId) -> BoxStream<'static, Sequence> {
        let receiver = lock(&self.logs)
            .get(&action)
            .map(|log| log.length.subscribe());
        let growth = stream::unfold(receiver, |receiver| async move {
            let mut receiver = receiver?;
            receiver.changed().await.ok()?;
            let length = *receiver.borrow_and_update();
            Some((length, Some(receiver)))
        });
        growth.chain(stream::once(pending())).boxed()
    }

    fn watch_queue(&self) -> BoxStream<'static, ()> {
        stream::pending().boxed()
    }

    fn watch_cancels(&self) -> BoxStream<'static, ActionId> {
        stream::pending().boxed()
    }

    fn watch_identities(&self) -> BoxStream<'static, ()> {
        stream::pending().boxed()
    }
}

/// Nobody sends secrets here.
#[async_trait]
impl Authenticator for Memory {
    async fn authenticate(&self, _: &str) -> Result<Option<Identity>, StoreError> {
        Ok(None)
    }

    async fn is_still_valid(&self, _: &Caller) -> Result<bool, StoreError> {
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_user_an_action_and_its_log() {
        let seen = run().await.unwrap();
        let id = Uuid::from_u64_pair(7, 1);
        assert_eq!(
            seen,
            [
                "registered Ada".to_owned(),
                format!(r#"1 created {{"action_id":"{id}"}}"#),
                r#"2 started {"attempt":1}"#.to_owned(),
                r#"3 message {"text":"hello"}"#.to_owned(),
                r#"4 done {"status":"succeeded","output":{"greeted":"Ada"}}"#.to_owned(),
            ]
        );
    }

    #[tokio::test]
    async fn the_log_of_another_user_does_not_exist() {
        let memory = Arc::new(Memory::default());
        let stranger = caller_for(UserId::from_uuid(Uuid::from_u128(99))).unwrap();
        let action = NewAction {
            id: ActionId::from_uuid(memory.time_ordered()),
            user_id: UserId::from_uuid(Uuid::from_u128(1)),
            api_key_id: None,
            action_type: ActionTypeName::parse("greet").unwrap(),
            priority: Priority::default(),
            max_attempts: 1,
            run_at: None,
            retry_of: None,
            input: Payload::empty_object(),
            traceparent: None,
            max_queued: None,
        };
        let id = action.id;
        memory.submit(action, None).await.unwrap();
        let follow = Follow::new(memory.clone(), memory.clone(), memory.clone(), memory);
        let answer = follow.run(&stranger, id, Sequence::START).await;
        assert!(matches!(answer, Err(deed_domain::Error::ActionNotFound)));
    }
}
