//! Actions on the wire.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

#[cfg(feature = "openapi")]
use crate::limits;
#[cfg(feature = "openapi")]
use deed_domain::{action::ActionTypeName, action::Priority, page::Limit, service::SubmitBatch};

/// The body of POST `/actions` and POST `/stream`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(
    feature = "openapi",
    derive(garde::Validate, schemars::JsonSchema, apistos::ApiComponent)
)]
#[serde(deny_unknown_fields)]
pub struct CreateAction {
    /// The name of the action type.
    #[cfg_attr(feature = "openapi", garde(custom(limits::action_type_name)))]
    #[cfg_attr(
        feature = "openapi",
        schemars(
            length(min = 1, max = "ActionTypeName::MAX"),
            regex = "ActionTypeName::PATTERN"
        )
    )]
    pub r#type: String,
    /// What to perform it with: any JSON that fits the type's schema. It comes back as the text that came in.
    #[cfg_attr(
        feature = "openapi",
        garde(custom(limits::payload)),
        schemars(with = "serde_json::Value")
    )]
    pub input: Box<RawValue>,
    /// Not before this time, at most a year from now; absent or null: at once.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::time::rfc3339"
    )]
    #[cfg_attr(feature = "openapi", garde(skip))]
    pub run_at: Option<DateTime<Utc>>,
    /// 0 is performed first, 9 last.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::number::optional"
    )]
    #[cfg_attr(feature = "openapi", garde(inner(custom(limits::priority))))]
    #[cfg_attr(feature = "openapi", schemars(range(min = 0, max = "Priority::MAX")))]
    pub priority: Option<u8>,
}

impl CreateAction {
    /// An action of a type with this input, as soon as possible and with the usual priority.
    ///
    /// # Errors
    /// When `input` has no form in JSON.
    pub fn new(r#type: impl Into<String>, input: &impl Serialize) -> serde_json::Result<Self> {
        Ok(Self {
            r#type: r#type.into(),
            input: serde_json::value::to_raw_value(input)?,
            run_at: None,
            priority: None,
        })
    }
}

/// The body of POST `/actions/batch`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(
    feature = "openapi",
    derive(garde::Validate, schemars::JsonSchema, apistos::ApiComponent)
)]
#[serde(deny_unknown_fields)]
pub struct CreateActionBatch {
    /// What to perform: each as POST `/actions` takes it.
    // The actions' own limits are checked together with what only the server knows of their types.
    #[cfg_attr(
        feature = "openapi",
        garde(custom(limits::batch_size)),
        schemars(length(min = 1, max = "SubmitBatch::MAX"))
    )]
    pub actions: Vec<CreateAction>,
}

/// Where an action stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ActionStatus {
    /// Waits for its time, or between two attempts.
    Scheduled,
    /// Waits for a performer.
    Queued,
    /// Is being performed.
    Running,
    /// Ended with an output.
    Succeeded,
    /// Ended with an error.
    Failed,
    /// Was cancelled.
    Cancelled,
}

/// Why an action failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct ActionErrorBody {
    /// A code to program against.
    pub code: String,
    /// What happened, for people.
    pub message: String,
}

/// An action, without its payloads: what lists hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(
    feature = "openapi",
    derive(schemars::JsonSchema, apistos::ApiComponent)
)]
pub struct ActionSummaryBody {
    /// Its id.
    pub id: Uuid,
    /// The name of its type.
    pub r#type: String,
    /// Where it stands.
    pub status: ActionStatus,
    /// For whom it is performed.
    pub user_id: Uuid,
    /// The key that it was asked for with; null for the root key.
    pub api_key_id: Option<Uuid>,
    /// Why it failed, if it did.
    pub error: Option<ActionErrorBody>,
    /// The attempt that is or was the last; 0 before the first.
    pub attempt: u16,
    /// How many attempts there are at the most.
    pub max_attempts: u16,
    /// 0 is performed first, 9 last.
    pub priority: u8,
    /// The action that this one repeats.
    pub retry_of: Option<Uuid>,
    /// Not before when it is performed, while it waits.
    pub run_at: Option<DateTime<Utc>>,
    /// When it was accepted.
    pub created_at: DateTime<Utc>,
    /// When the attempt began that runs, or that ended it; null while it waits.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
}

/// The answer of POST `/actions/batch`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(
    feature = "openapi",
    derive(schemars::JsonSchema, apistos::ApiComponent)
)]
pub struct ActionBatchBody {
    /// The actions in the order asked, without input and output.
    pub items: Vec<ActionSummaryBody>,
}

/// An action.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(
    feature = "openapi",
    derive(schemars::JsonSchema, apistos::ApiComponent)
)]
pub struct ActionBody {
    /// Its id.
    pub id: Uuid,
    /// The name of its type.
    pub r#type: String,
    /// Where it stands.
    pub status: ActionStatus,
    /// For whom it is performed.
    pub user_id: Uuid,
    /// The key that it was asked for with; null for the root key.
    pub api_key_id: Option<Uuid>,
    /// What it is performed with, as the text that came in.
    #[cfg_attr(feature = "openapi", schemars(with = "serde_json::Value"))]
    pub input: Box<RawValue>,
    /// What came of it, as the text that its performer gave; null unless it succeeded.
    #[cfg_attr(feature = "openapi", schemars(with = "serde_json::Value"))]
    pub output: Option<Box<RawValue>>,
    /// Why it failed, if it did.
    pub error: Option<ActionErrorBody>,
    /// The attempt that is or was the last; 0 before the first.
    pub attempt: u16,
    /// How many attempts there are at the most.
    pub max_attempts: u16,
    /// 0 is performed first, 9 last.
    pub priority: u8,
    /// The action that this one repeats.
    pub retry_of: Option<Uuid>,
    /// Not before when it is performed, while it waits.
    pub run_at: Option<DateTime<Utc>>,
    /// When it was accepted.
    pub created_at: DateTime<Utc>,
    /// When the attempt began that runs, or that ended it; null while it waits.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
}

/// The query of GET `/actions`. All filters must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(
    feature = "openapi",
    derive(garde::Validate, schemars::JsonSchema, apistos::ApiComponent)
)]
#[serde(deny_unknown_fields)]
pub struct ActionQuery {
    /// Actions of this status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", garde(skip))]
    pub status: Option<ActionStatus>,
    /// Actions of the type with this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", garde(inner(custom(limits::action_type_name))))]
    #[cfg_attr(
        feature = "openapi",
        schemars(
            length(min = 1, max = "ActionTypeName::MAX"),
            regex = "ActionTypeName::PATTERN"
        )
    )]
    pub r#type: Option<String>,
    /// Actions accepted after this time.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::time::rfc3339"
    )]
    #[cfg_attr(feature = "openapi", garde(skip))]
    pub created_after: Option<DateTime<Utc>>,
    /// Actions accepted before this time.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::time::rfc3339"
    )]
    #[cfg_attr(feature = "openapi", garde(skip))]
    pub created_before: Option<DateTime<Utc>>,
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
