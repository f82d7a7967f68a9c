//! Action types on the wire.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

#[cfg(feature = "openapi")]
use crate::limits;
#[cfg(feature = "openapi")]
use deed_domain::{action::ActionType, action::Concurrency, action::RetryPolicy, page::Limit};

/// Who performs the actions of a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum PerformedBy {
    /// A handler within the server.
    Handler,
    /// External workers.
    Workers,
}

/// How long to wait between attempts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct RetryBody {
    /// The wait before the second attempt, in seconds.
    pub initial_seconds: f64,
    /// By what each further wait is longer.
    pub factor: f64,
    /// The longest wait, in seconds.
    pub max_seconds: f64,
}

/// How long to wait between attempts: what is left out has its default.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(garde::Validate, schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PutRetry {
    /// The wait before the second attempt, in seconds; 1 if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", garde(inner(custom(limits::retry_pause))))]
    #[cfg_attr(
        feature = "openapi",
        schemars(range(min = 0, max = "limits::PAUSE_MAX"))
    )]
    pub initial_seconds: Option<f64>,
    /// By what each further wait is longer; 2 if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", garde(inner(custom(limits::retry_factor))))]
    #[cfg_attr(
        feature = "openapi",
        schemars(range(min = 1, max = "RetryPolicy::FACTOR_LIMIT"))
    )]
    pub factor: Option<f64>,
    /// The longest wait, in seconds; 300 if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", garde(inner(custom(limits::retry_pause))))]
    #[cfg_attr(
        feature = "openapi",
        schemars(range(min = 0, max = "limits::PAUSE_MAX"))
    )]
    pub max_seconds: Option<f64>,
}

/// The body of PUT `/action-types/{name}`: what is left out has its default.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(
    feature = "openapi",
    derive(garde::Validate, schemars::JsonSchema, apistos::ApiComponent)
)]
#[serde(deny_unknown_fields)]
pub struct PutActionType {
    /// The JSON Schema (2020-12) that an input has to fit, at most 64 KiB; absent or null: any JSON does. A `$ref` may
    /// only point into the schema itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "openapi",
        garde(inner(custom(limits::input_schema))),
        schemars(with = "Option<serde_json::Value>")
    )]
    pub input_schema: Option<Box<RawValue>>,
    /// How many attempts an action has; 3 if left out.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::number::optional"
    )]
    #[cfg_attr(feature = "openapi", garde(inner(custom(limits::max_attempts))))]
    #[cfg_attr(
        feature = "openapi",
        schemars(range(min = 1, max = "ActionType::MAX_ATTEMPTS_LIMIT"))
    )]
    pub max_attempts: Option<u16>,
    /// The hard limit of one attempt, in seconds; 300 if left out.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::number::optional"
    )]
    #[cfg_attr(feature = "openapi", garde(inner(custom(limits::attempt_timeout))))]
    #[cfg_attr(
        feature = "openapi",
        schemars(range(min = 1, max = "limits::ATTEMPT_TIMEOUT_MAX"))
    )]
    pub attempt_timeout_seconds: Option<u32>,
    /// How long a worker may be silent, in seconds; 30 if left out.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::number::optional"
    )]
    #[cfg_attr(feature = "openapi", garde(inner(custom(limits::lease))))]
    #[cfg_attr(
        feature = "openapi",
        schemars(range(min = "limits::LEASE_MIN", max = "limits::LEASE_MAX"))
    )]
    pub lease_seconds: Option<u32>,
    /// How long an action may take altogether, in seconds: all its attempts and the pauses between, from when it was
    /// accepted, or from the time that it was scheduled for. No limit if left out.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::number::optional"
    )]
    #[cfg_attr(feature = "openapi", garde(inner(custom(limits::time_limit))))]
    #[cfg_attr(
        feature = "openapi",
        schemars(range(min = "limits::TIME_LIMIT_MIN", max = "limits::TIME_LIMIT_MAX"))
    )]
    pub time_limit_seconds: Option<u32>,
    /// How many of its actions are performed at a time, by all workers together; the others wait. No limit if left out.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::number::optional"
    )]
    #[cfg_attr(feature = "openapi", garde(inner(custom(limits::concurrency))))]
    #[cfg_attr(
        feature = "openapi",
        schemars(range(min = 1, max = "Concurrency::LIMIT"))
    )]
    pub max_running: Option<u16>,
    /// How many of its actions are performed at a time for each user; the others wait. No limit if left out.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::number::optional"
    )]
    #[cfg_attr(feature = "openapi", garde(inner(custom(limits::concurrency))))]
    #[cfg_attr(
        feature = "openapi",
        schemars(range(min = 1, max = "Concurrency::LIMIT"))
    )]
    pub max_running_per_user: Option<u16>,
    /// How long to wait between attempts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", garde(dive))]
    pub retry: Option<PutRetry>,
}

/// The name of an operation, with what holds for each performance of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(
    feature = "openapi",
    derive(schemars::JsonSchema, apistos::ApiComponent)
)]
pub struct ActionTypeBody {
    /// Its name.
    pub name: String,
    /// Who performs it.
    pub performed_by: PerformedBy,
    /// The JSON Schema that an input has to fit; null where any does.
    #[cfg_attr(feature = "openapi", schemars(with = "serde_json::Value"))]
    pub input_schema: Option<Box<RawValue>>,
    /// How many attempts an action has.
    pub max_attempts: u16,
    /// The hard limit of one attempt, in seconds.
    pub attempt_timeout_seconds: u32,
    /// How long a worker may be silent, in seconds.
    pub lease_seconds: u32,
    /// How long an action may take altogether, in seconds; null without a limit.
    pub time_limit_seconds: Option<u32>,
    /// How many of its actions are performed at a time; null without a limit.
    pub max_running: Option<u16>,
    /// How many of its actions are performed at a time for each user; null without a limit.
    pub max_running_per_user: Option<u16>,
    /// How many of its actions the handler of each replica performs at a time; null without a limit, and for workers.
    pub max_running_per_replica: Option<u16>,
    /// How long to wait between attempts.
    pub retry: RetryBody,
}

/// The query of GET `/action-types`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(
    feature = "openapi",
    derive(garde::Validate, schemars::JsonSchema, apistos::ApiComponent)
)]
#[serde(deny_unknown_fields)]
pub struct ActionTypeQuery {
    /// How many items a page holds at the most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", garde(inner(custom(limits::page_limit))))]
    #[cfg_attr(
        feature = "openapi",
        schemars(range(min = "Limit::MIN", max = "Limit::MAX"))
    )]
    pub limit: Option<u16>,
    /// Where the page begins: a `next_cursor` of this list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", garde(skip))]
    pub cursor: Option<String>,
}
