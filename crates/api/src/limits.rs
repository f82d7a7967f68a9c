//! The limits of request fields: each is checked by the domain's own parser, so that there is one rule.

use deed_domain::action::{
    ActionError, ActionType, ActionTypeName, Concurrency, Lease, LeaseRequestId, Payload, Priority,
    RetryPolicy, Sequence,
};
use deed_domain::api_key::KeyName;
use deed_domain::email::Email;
use deed_domain::page::Limit;
use deed_domain::password::{Password, PasswordPolicy};
use deed_domain::scope::{Scope, ScopeSet};
use deed_domain::service::{Perform, SubmitBatch};
use deed_domain::user::{DisplayName, ExternalId};
use serde_json::value::RawValue;

/// The limits that an operator can set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// How long a new password has to be.
    pub password: PasswordPolicy,
}

/// The longest attempt of a type, in seconds.
pub(crate) const ATTEMPT_TIMEOUT_MAX: u64 = ActionType::ATTEMPT_TIMEOUT_LIMIT.as_secs();
/// The shortest and the longest time of an action altogether, in seconds.
pub(crate) const TIME_LIMIT_MIN: u64 = ActionType::TIME_LIMIT_MIN.as_secs();
pub(crate) const TIME_LIMIT_MAX: u64 = ActionType::TIME_LIMIT_LIMIT.as_secs();
/// The shortest and the longest lease, in seconds.
pub(crate) const LEASE_MIN: u64 = ActionType::LEASE_MIN.as_secs();
pub(crate) const LEASE_MAX: u64 = ActionType::LEASE_LIMIT.as_secs();
/// The longest pause between two attempts, in seconds.
pub(crate) const PAUSE_MAX: u64 = RetryPolicy::MAX_LIMIT.as_secs();

fn told(error: impl ToString) -> garde::Error {
    garde::Error::new(error.to_string())
}

pub(crate) fn email<C>(text: &str, _: &C) -> garde::Result {
    Email::parse(text).map(drop).map_err(told)
}

pub(crate) fn display_name<C>(text: &str, _: &C) -> garde::Result {
    DisplayName::parse(text).map(drop).map_err(told)
}

pub(crate) fn external_id<C>(text: &str, _: &C) -> garde::Result {
    ExternalId::parse(text).map(drop).map_err(told)
}

pub(crate) fn external_id_or_null<C>(text: &Option<String>, context: &C) -> garde::Result {
    text.as_deref()
        .map_or(Ok(()), |text| external_id(text, context))
}

pub(crate) fn password(text: &str, limits: &Limits) -> garde::Result {
    Password::parse(text, limits.password)
        .map(drop)
        .map_err(told)
}

pub(crate) fn key_name<C>(text: &str, _: &C) -> garde::Result {
    KeyName::parse(text).map(drop).map_err(told)
}

pub(crate) fn scope<C>(text: &str, _: &C) -> garde::Result {
    text.parse::<Scope>().map(drop).map_err(told)
}

pub(crate) fn action_type_name<C>(text: &str, _: &C) -> garde::Result {
    ActionTypeName::parse(text).map(drop).map_err(told)
}

pub(crate) fn payload<C>(json: &RawValue, _: &C) -> garde::Result {
    Payload::parse(json.get()).map(drop).map_err(told)
}

pub(crate) fn input_schema<C>(json: &RawValue, context: &C) -> garde::Result {
    let max = ActionType::INPUT_SCHEMA_MAX_BYTES;
    if json.get().len() > max {
        return Err(told(format!("must have at most {max} bytes")));
    }
    payload(json, context)
}

pub(crate) fn max_attempts<C>(number: &u16, _: &C) -> garde::Result {
    within(*number, 1, ActionType::MAX_ATTEMPTS_LIMIT)
}

pub(crate) fn attempt_timeout<C>(seconds: &u32, _: &C) -> garde::Result {
    within((*seconds).into(), 1, ATTEMPT_TIMEOUT_MAX)
}

pub(crate) fn time_limit<C>(seconds: &u32, _: &C) -> garde::Result {
    within((*seconds).into(), TIME_LIMIT_MIN, TIME_LIMIT_MAX)
}

pub(crate) fn concurrency<C>(limit: &u16, _: &C) -> garde::Result {
    within(*limit, 1, Concurrency::LIMIT)
}

pub(crate) fn lease<C>(seconds: &u32, _: &C) -> garde::Result {
    within((*seconds).into(), LEASE_MIN, LEASE_MAX)
}

pub(crate) fn retry_pause<C>(seconds: &f64, _: &C) -> garde::Result {
    within(*seconds, 0.0, RetryPolicy::MAX_LIMIT.as_secs_f64())
}

pub(crate) fn retry_factor<C>(factor: &f64, _: &C) -> garde::Result {
    within(*factor, 1.0, RetryPolicy::FACTOR_LIMIT)
}

pub(crate) fn lease_wait<C>(seconds: &u32, _: &C) -> garde::Result {
    within(*seconds, 0, Perform::WAIT_MAX_SECONDS)
}

pub(crate) fn lease_request_id<C>(text: &str, _: &C) -> garde::Result {
    LeaseRequestId::parse(text).map(drop).map_err(told)
}

pub(crate) fn lease_count<C>(number: &u16, _: &C) -> garde::Result {
    within(*number, 1, Perform::LEASES_MAX)
}

pub(crate) fn type_count<C>(types: &[String], _: &C) -> garde::Result {
    entries(types.len(), Perform::TYPES_MAX)
}

pub(crate) fn batch_size<T, C>(actions: &[T], _: &C) -> garde::Result {
    entries(actions.len(), SubmitBatch::MAX)
}

pub(crate) fn lease_ids<C>(ids: &[String], _: &C) -> garde::Result {
    entries(ids.len(), Perform::LEASES_MAX.into())
}

/// A report without events says nothing unless it has a checkpoint.
pub(crate) fn finish_items<T, C>(items: &[T], _: &C) -> garde::Result {
    entries(items.len(), Perform::LEASES_MAX.into())
}

pub(crate) fn event_count<T, C>(has_checkpoint: bool) -> impl Fn(&[T], &C) -> garde::Result {
    move |events, _| {
        if events.is_empty() && has_checkpoint {
            return Ok(());
        }
        entries(events.len(), Perform::EVENTS_MAX)
    }
}

pub(crate) fn checkpoint<C>(json: &RawValue, context: &C) -> garde::Result {
    let max = Lease::CHECKPOINT_MAX_BYTES;
    if json.get().len() > max {
        return Err(told(format!("must have at most {max} bytes")));
    }
    payload(json, context)
}

pub(crate) fn worker<C>(name: &str, _: &C) -> garde::Result {
    characters(name, Perform::WORKER_MAX)
}

pub(crate) fn error_code<C>(code: &str, _: &C) -> garde::Result {
    characters(code, ActionError::CODE_MAX)
}

pub(crate) fn error_message<C>(message: &str, _: &C) -> garde::Result {
    characters(message, ActionError::MESSAGE_MAX)
}

pub(crate) fn position<C>(position: &u32, _: &C) -> garde::Result {
    within(*position, 1, Sequence::MAX)
}

/// One chunk of output, or the whole: any JSON of at most 1 MiB.
pub(crate) fn chunk<C>(json: &RawValue, context: &C) -> garde::Result {
    if json.get().len() > Payload::MAX_BYTES {
        return Err(told(format!(
            "must have at most {} bytes",
            Payload::MAX_BYTES
        )));
    }
    payload(json, context)
}

fn characters(text: &str, max: usize) -> garde::Result {
    let length = text.chars().count();
    if (1..=max).contains(&length) && !text.contains('\0') {
        return Ok(());
    }
    Err(told(format!(
        "must have between 1 and {max} characters, none of them NUL"
    )))
}

fn entries(count: usize, max: usize) -> garde::Result {
    if (1..=max).contains(&count) {
        return Ok(());
    }
    Err(told(format!("must have between 1 and {max} entries")))
}

fn within<T: PartialOrd + std::fmt::Display>(value: T, min: T, max: T) -> garde::Result {
    if value >= min && value <= max {
        return Ok(());
    }
    Err(told(format!("must be between {min} and {max}")))
}

pub(crate) fn priority<C>(priority: &u8, _: &C) -> garde::Result {
    Priority::new(*priority)
        .map(drop)
        .ok_or_else(|| told(format!("must be between 0 and {}", Priority::MAX)))
}

pub(crate) fn scope_count<C>(scopes: &[String], _: &C) -> garde::Result {
    if (1..=ScopeSet::MAX).contains(&scopes.len()) {
        return Ok(());
    }
    Err(told(format!(
        "must have between 1 and {} entries",
        ScopeSet::MAX
    )))
}

pub(crate) fn page_limit<C>(limit: &u16, _: &C) -> garde::Result {
    Limit::new(*limit).map(drop).map_err(told)
}
