//! What the suites need again and again.

use std::time::Duration;

use deed_domain::action::{
    Action, ActionType, ActionTypeName, Grant, LeaseRef, NewAction, NewEvent, Payload, PerformedBy,
    Priority, Sequence, Status,
};
use deed_domain::caller::{Actor, Attribution, Reach};
use deed_domain::email::Email;
use deed_domain::id::{ActionId, ApiKeyId, UserId};
use deed_domain::idempotency::{Idempotency, IdempotencyKey, IdempotencyScope};
use deed_domain::page::{Limit, PageRequest};
use deed_domain::password::PasswordHash;
use deed_domain::ports::{
    Append, Appended, Beat, ClaimRequest, HeartbeatVerdict, Submitted, UserCreated,
};
use deed_domain::scope::TypeReach;
use deed_domain::trace::TraceParent;
use deed_domain::user::{DisplayName, NewUser, User};
use futures_util::future::{Either, select};

use crate::Ports;

/// How long anything may take that is to happen at all.
pub(crate) const SOON: Duration = Duration::from_secs(10);
/// A lease that doesn't end within a test.
pub(crate) const LONG: Duration = Duration::from_secs(60);

pub(crate) fn by_somebody() -> Attribution {
    Attribution {
        actor: Actor::Anonymous,
        subject: None,
        request_id: Some("request-1".to_owned()),
    }
}

pub(crate) fn email(text: &str) -> Email {
    Email::parse(text).unwrap()
}

pub(crate) fn name(text: &str) -> DisplayName {
    DisplayName::parse(text).unwrap()
}

pub(crate) fn json(text: &str) -> Payload {
    Payload::parse(text).unwrap()
}

pub(crate) fn type_name(text: &str) -> ActionTypeName {
    ActionTypeName::parse(text).unwrap()
}

pub(crate) fn seq(position: u32) -> Sequence {
    Sequence::new(position).unwrap()
}

pub(crate) fn page<K>(limit: u16, after: Option<K>) -> PageRequest<K> {
    PageRequest {
        limit: Limit::new(limit).unwrap(),
        after,
    }
}

pub(crate) fn owned_by(user: UserId) -> Reach {
    Reach {
        owner: Some(user),
        types: TypeReach::All,
    }
}

pub(crate) fn idempotency(key: &str, request: u8) -> Idempotency {
    Idempotency {
        scope: IdempotencyScope::of(None, "/somewhere"),
        key: IdempotencyKey::parse(key).unwrap(),
        request_hash: [request; 32],
    }
}

pub(crate) fn message(text: &str) -> NewEvent {
    NewEvent::message(json(&format!("{{\"text\":\"{text}\"}}")))
}

impl Ports {
    /// `future`'s output, which has to come soon.
    pub(crate) async fn soon<F: Future>(&self, what: &str, future: F) -> F::Output {
        let mut limit = self.clock.sleep(SOON);
        match select(std::pin::pin!(future), limit.as_mut()).await {
            Either::Left((output, _)) => output,
            Either::Right(_) => panic!("not within {SOON:?}: {what}"),
        }
    }

    /// Looks until `look` finds something, which has to be soon.
    pub(crate) async fn until<T, F: Future<Output = Option<T>>>(
        &self,
        what: &str,
        mut look: impl FnMut() -> F,
    ) -> T {
        let found = async {
            loop {
                if let Some(found) = look().await {
                    return found;
                }
                self.clock.sleep(Duration::from_millis(10)).await;
            }
        };
        self.soon(what, found).await
    }

    pub(crate) fn new_user(&self, address: &str) -> NewUser {
        NewUser {
            id: UserId::from_uuid(self.ids.time_ordered()),
            email: email(address),
            name: name("Ada"),
            password_hash: PasswordHash::from_phc("$argon2id$…"),
            external_id: None,
        }
    }

    pub(crate) async fn user(&self, address: &str) -> User {
        match self
            .users
            .create(self.new_user(address), &by_somebody(), None)
            .await
            .unwrap()
        {
            UserCreated::New(user) => user,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn register(&self, types: &[ActionType]) {
        self.action_types.register_handlers(types).await.unwrap();
    }

    /// A user and the registered types `echo` and `report.render`.
    pub(crate) async fn ready(&self) -> UserId {
        self.register(&[handler("echo"), handler("report.render")])
            .await;
        self.user("ada@example.com").await.id
    }

    pub(crate) fn new_action(&self, user: UserId, action_type: &str) -> NewAction {
        NewAction {
            id: ActionId::from_uuid(self.ids.time_ordered()),
            user_id: user,
            api_key_id: Some(ApiKeyId::from_uuid(self.ids.time_ordered())),
            action_type: type_name(action_type),
            priority: Priority::default(),
            max_attempts: 3,
            run_at: None,
            retry_of: None,
            input: json("{\"b\":1,\"a\":1.0}"),
            traceparent: None,
            max_queued: None,
        }
    }

    pub(crate) async fn submit(&self, action: NewAction) -> ActionId {
        let id = action.id;
        assert_eq!(
            self.submissions.submit(action, None).await.unwrap(),
            Submitted::New
        );
        id
    }

    pub(crate) async fn submitted(&self, user: UserId) -> ActionId {
        self.submit(self.new_action(user, "echo")).await
    }

    pub(crate) async fn claim(&self, max: usize, lease: Duration) -> Vec<Grant> {
        let request = ClaimRequest {
            types: vec![type_name("echo")],
            max,
            worker: "worker-1".to_owned(),
            lease: Some(lease),
        };
        self.leases.claim(&request).await.unwrap()
    }

    /// A submitted action that is being performed.
    pub(crate) async fn running(&self, user: UserId) -> Grant {
        let id = self.submitted(user).await;
        let grants = self.claim(1, LONG).await;
        assert_eq!(grants[0].lease.id.action_id, id);
        grants[0].clone()
    }

    pub(crate) async fn append(
        &self,
        lease: LeaseRef,
        from: u32,
        events: Vec<NewEvent>,
    ) -> Appended {
        let append = Append {
            lease,
            from_seq: seq(from),
            events,
            checkpoint: None,
        };
        self.write(append).await
    }

    pub(crate) async fn write(&self, append: Append) -> Appended {
        let verdicts = self.leases.append(&[append], &TypeReach::All).await;
        verdicts.unwrap()[0]
    }

    /// Renews, as somebody who may perform every type.
    pub(crate) async fn beat(&self, leases: &[LeaseRef]) -> Vec<HeartbeatVerdict> {
        let beats: Vec<Beat> = leases
            .iter()
            .map(|lease| Beat {
                lease: *lease,
                reach: TypeReach::All,
            })
            .collect();
        self.leases.heartbeat(&beats).await.unwrap()
    }

    pub(crate) async fn action(&self, id: ActionId) -> Action {
        self.action_reader
            .find(id, &Reach::EVERYTHING)
            .await
            .unwrap()
            .expect("the action exists")
    }

    pub(crate) async fn status(&self, id: ActionId) -> Status {
        self.action(id).await.overview.status
    }

    /// Names and data of the whole log, which is dense and ends where it says.
    pub(crate) async fn log(&self, id: ActionId) -> Vec<NewEvent> {
        let page = self
            .event_log
            .read(id, &Reach::EVERYTHING, Sequence::START, 1_000)
            .await
            .unwrap()
            .unwrap();
        let positions: Vec<u32> = page.events.iter().map(|event| event.seq.get()).collect();
        assert_eq!(
            positions,
            (1..=page.last.get()).collect::<Vec<_>>(),
            "dense from 1"
        );
        assert_eq!(
            page.is_over,
            page.events.last().is_some_and(|event| event.name.is_last())
        );
        page.events
            .into_iter()
            .map(|event| NewEvent {
                name: event.name,
                data: event.data,
            })
            .collect()
    }
}

/// A place in a trace.
pub(crate) fn traced() -> TraceParent {
    TraceParent::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap()
}

pub(crate) fn handler(name: &str) -> ActionType {
    ActionType::new(type_name(name), PerformedBy::Handler)
}
