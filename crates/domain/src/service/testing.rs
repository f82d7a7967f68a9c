//! What the use cases' tests share.

use chrono::DateTime;
use uuid::Uuid;

use crate::action::{Action, ActionOverview, ActionTypeName, Payload, Priority, Status};
use crate::caller::{Actor, Caller, Identity};
use crate::id::{ActionId, ApiKeyId, UserId};
use crate::key_limits::KeyLimits;
use crate::scope::ScopeSet;

pub(crate) fn user(n: u128) -> UserId {
    UserId::from_uuid(Uuid::from_u128(n))
}

pub(crate) fn key_of(owner: UserId, scopes: &[&str]) -> Caller {
    Identity {
        actor: Actor::Key(ApiKeyId::from_uuid(Uuid::from_u128(9))),
        owner: Some(owner),
        scopes: ScopeSet::of(scopes.iter().map(|text| text.parse().unwrap())).unwrap(),
        expires_at: None,
        limits: KeyLimits::NONE,
    }
    .for_itself()
}

pub(crate) fn action(id: ActionId, status: Status) -> Action {
    Action {
        overview: ActionOverview {
            id,
            user_id: user(1),
            api_key_id: None,
            action_type: ActionTypeName::parse("echo").unwrap(),
            status,
            error: None,
            attempt: 1,
            max_attempts: 3,
            priority: Priority::default(),
            retry_of: None,
            run_at: None,
            created_at: DateTime::UNIX_EPOCH,
            started_at: None,
            finished_at: None,
        },
        input: Payload::empty_object(),
        output: None,
        traceparent: None,
    }
}
