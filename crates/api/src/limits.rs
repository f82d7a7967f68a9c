//! The limits of request fields: each is checked by the domain's own parser, so that there is one rule.

use deed_domain::action::{ActionType, ActionTypeName, Payload, Priority, RetryPolicy};
use deed_domain::api_key::KeyName;
use deed_domain::email::Email;
use deed_domain::page::Limit;
use deed_domain::password::{Password, PasswordPolicy};
use deed_domain::scope::{Scope, ScopeSet};
use deed_domain::user::{DisplayName, ExternalId};
use serde_json::value::RawValue;

/// The limits that an operator can set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// How long a new password has to be.
    pub password: PasswordPolicy,
}

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
    within(
        (*seconds).into(),
        1,
        ActionType::ATTEMPT_TIMEOUT_LIMIT.as_secs(),
    )
}

pub(crate) fn lease<C>(seconds: &u32, _: &C) -> garde::Result {
    within(
        (*seconds).into(),
        ActionType::LEASE_MIN.as_secs(),
        ActionType::LEASE_LIMIT.as_secs(),
    )
}

pub(crate) fn retry_pause<C>(seconds: &f64, _: &C) -> garde::Result {
    within(*seconds, 0.0, RetryPolicy::MAX_LIMIT.as_secs_f64())
}

pub(crate) fn retry_factor<C>(factor: &f64, _: &C) -> garde::Result {
    within(*factor, 1.0, RetryPolicy::FACTOR_LIMIT)
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
