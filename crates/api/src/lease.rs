//! Leases on the wire: how workers outside the server perform actions.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

#[cfg(feature = "openapi")]
use crate::limits;
#[cfg(feature = "openapi")]
use deed_domain::action::LeaseRequestId;
#[cfg(feature = "openapi")]
use deed_domain::service::Perform;

/// The body of POST `/leases`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(
    feature = "openapi",
    derive(garde::Validate, schemars::JsonSchema, apistos::ApiComponent)
)]
#[serde(deny_unknown_fields)]
pub struct LeaseActions {
    /// The names of the types to perform.
    #[cfg_attr(
        feature = "openapi",
        garde(custom(limits::type_count), inner(custom(limits::action_type_name))),
        schemars(length(min = 1, max = "Perform::TYPES_MAX"))
    )]
    pub types: Vec<String>,
    /// How many actions to lease at the most; 1 if left out.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::number::optional"
    )]
    #[cfg_attr(feature = "openapi", garde(inner(custom(limits::lease_count))))]
    #[cfg_attr(
        feature = "openapi",
        schemars(range(min = 1, max = "Perform::LEASES_MAX"))
    )]
    pub max: Option<u16>,
    /// How long the worker may be silent, in seconds; what the type says if left out.
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
    /// What the worker is called, for people who look.
    #[cfg_attr(
        feature = "openapi",
        garde(custom(limits::worker)),
        schemars(length(min = 1, max = "Perform::WORKER_MAX"))
    )]
    pub worker: String,
    /// How long to wait where nothing is there, in seconds; not at all if left out.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::number::optional"
    )]
    #[cfg_attr(feature = "openapi", garde(inner(custom(limits::lease_wait))))]
    #[cfg_attr(
        feature = "openapi",
        schemars(range(min = 0, max = "Perform::WAIT_MAX_SECONDS"))
    )]
    pub wait_seconds: Option<u32>,
    /// Makes the request repeatable: 1 to 64 visible ASCII characters, new for each request. The same again by the same
    /// key is granted what it was granted before and holds still.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "openapi",
        garde(inner(custom(limits::lease_request_id))),
        schemars(length(min = 1, max = "LeaseRequestId::MAX"))
    )]
    pub request_id: Option<String>,
}

/// What a worker needs to perform an action.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct LeasedActionBody {
    /// Its id.
    pub id: Uuid,
    /// The name of its type.
    pub r#type: String,
    /// For whom it is performed.
    pub user_id: Uuid,
    /// What it is performed with, as the text that came in.
    #[cfg_attr(feature = "openapi", schemars(with = "serde_json::Value"))]
    pub input: Box<RawValue>,
    /// Which attempt this is: 1, 2, …
    pub attempt: u16,
    /// How many attempts there are at the most.
    pub max_attempts: u16,
}

/// The right to perform one action until a time.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct LeaseBody {
    /// Names the lease in every further call. New with each grant.
    pub lease_id: String,
    /// What to perform.
    pub action: LeasedActionBody,
    /// When it ends unless it is renewed.
    pub expires_at: DateTime<Utc>,
    /// When the attempt ends, renewed or not.
    pub deadline_at: DateTime<Utc>,
    /// The position of the first event to write.
    #[cfg_attr(feature = "openapi", schemars(range(min = 1)))]
    pub next_seq: u32,
    /// What an earlier attempt has left for this one, as the text that came in; null where none has.
    #[cfg_attr(feature = "openapi", schemars(with = "serde_json::Value"))]
    pub checkpoint: Option<Box<RawValue>>,
}

/// The answer of POST `/leases`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(
    feature = "openapi",
    derive(schemars::JsonSchema, apistos::ApiComponent)
)]
pub struct LeasesBody {
    /// What was granted; empty where nothing waits.
    pub leases: Vec<LeaseBody>,
    /// Whether the server is about to stop: ask another one, or the same address a little later. Absent where it is not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub draining: bool,
}

/// The body of POST `/leases/heartbeat`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(
    feature = "openapi",
    derive(garde::Validate, schemars::JsonSchema, apistos::ApiComponent)
)]
#[serde(deny_unknown_fields)]
pub struct Heartbeat {
    /// Which leases to renew.
    #[cfg_attr(
        feature = "openapi",
        garde(custom(limits::lease_ids)),
        schemars(length(min = 1, max = "Perform::LEASES_MAX"))
    )]
    pub lease_ids: Vec<String>,
}

/// Why a lease was not renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum NotRenewed {
    /// It ran out, or it was given back: somebody else's action now.
    Lost,
    /// The action is over, ended by this very lease.
    Finished,
}

/// How one lease stands after a heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct RenewedBody {
    /// Which lease.
    pub lease_id: String,
    /// Whether it was renewed. If not, it is over: stop, and write nothing more.
    pub ok: bool,
    /// Why not; null where it was renewed.
    pub reason: Option<NotRenewed>,
    /// When it ends unless it is renewed again; null where it is over.
    pub expires_at: Option<DateTime<Utc>>,
    /// Whether somebody has asked to cancel the action: stop, and say `fail`.
    pub cancel_requested: bool,
}

/// The answer of POST `/leases/heartbeat`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(
    feature = "openapi",
    derive(schemars::JsonSchema, apistos::ApiComponent)
)]
pub struct HeartbeatBody {
    /// In the order asked.
    pub leases: Vec<RenewedBody>,
    /// Whether the server is about to stop: lease from another one. What is held goes on. Absent where it is not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub draining: bool,
}

/// What a worker may write into the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum WorkerEventName {
    /// One chunk of output: any JSON.
    Message,
    /// How far it is: `{"percent"?, "note"?}`.
    Progress,
}

/// One event that a worker writes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(garde::Validate, schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct WorkerEvent {
    /// Its name.
    #[cfg_attr(feature = "openapi", garde(skip))]
    pub event: WorkerEventName,
    /// What it says.
    #[cfg_attr(
        feature = "openapi",
        garde(custom(limits::chunk)),
        schemars(with = "serde_json::Value")
    )]
    pub data: Box<RawValue>,
}

/// The body of POST `/leases/{lease_id}/events`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(
    feature = "openapi",
    derive(garde::Validate, schemars::JsonSchema, apistos::ApiComponent)
)]
#[serde(deny_unknown_fields)]
pub struct ReportEvents {
    /// The position of the first of them: `next_seq` of the lease, or of the answer before.
    #[serde(deserialize_with = "crate::number::whole")]
    #[cfg_attr(
        feature = "openapi",
        garde(custom(limits::position)),
        schemars(range(min = 1))
    )]
    pub from_seq: u32,
    /// What to write; may be empty where there is a checkpoint.
    #[cfg_attr(
        feature = "openapi",
        garde(custom(limits::event_count(self.checkpoint.is_some())), dive),
        schemars(length(max = "Perform::EVENTS_MAX"))
    )]
    pub events: Vec<WorkerEvent>,
    /// What the next attempt is to get with its lease, in place of what was left for it before: any JSON but null of at
    /// most 64 KiB. It is kept together with the events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "openapi",
        garde(inner(custom(limits::checkpoint))),
        schemars(with = "serde_json::Value")
    )]
    pub checkpoint: Option<Box<RawValue>>,
}

/// The query of POST `/leases/{lease_id}/events`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(
    feature = "openapi",
    derive(garde::Validate, schemars::JsonSchema, apistos::ApiComponent)
)]
#[serde(deny_unknown_fields)]
pub struct ReportQuery {
    /// The position of the first event, where they come line by line (`application/x-ndjson`); only then, and required then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", garde(inner(custom(limits::position))))]
    #[cfg_attr(feature = "openapi", schemars(range(min = 1)))]
    pub from_seq: Option<u32>,
}

/// The answer of POST `/leases/{lease_id}/events`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(
    feature = "openapi",
    derive(schemars::JsonSchema, apistos::ApiComponent)
)]
pub struct ReportedBody {
    /// The position of the next event.
    pub next_seq: u32,
    /// Whether somebody has asked to cancel the action: stop, and say `fail`.
    pub cancel_requested: bool,
}

/// The body of POST `/leases/{lease_id}/complete`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(
    feature = "openapi",
    derive(garde::Validate, schemars::JsonSchema, apistos::ApiComponent)
)]
#[serde(deny_unknown_fields)]
pub struct CompleteLease {
    /// What came of it: any JSON of at most 1 MiB.
    #[cfg_attr(
        feature = "openapi",
        garde(custom(limits::chunk)),
        schemars(with = "serde_json::Value")
    )]
    pub output: Box<RawValue>,
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(garde::Validate, schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct FailureError {
    /// A code to program against.
    #[cfg_attr(feature = "openapi", garde(custom(limits::error_code)))]
    pub code: String,
    /// What happened, for people.
    #[cfg_attr(feature = "openapi", garde(custom(limits::error_message)))]
    pub message: String,
}

/// The body of POST `/leases/{lease_id}/fail`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(
    feature = "openapi",
    derive(garde::Validate, schemars::JsonSchema, apistos::ApiComponent)
)]
#[serde(deny_unknown_fields)]
pub struct FailLease {
    /// What went wrong.
    #[cfg_attr(feature = "openapi", garde(dive))]
    pub error: FailureError,
    /// Whether another attempt may help.
    #[cfg_attr(feature = "openapi", garde(skip))]
    pub retryable: bool,
    /// How long to wait before it, 0 for not at all; what the type's retry policy says if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", garde(inner(custom(limits::retry_pause))))]
    #[cfg_attr(
        feature = "openapi",
        schemars(range(min = 0, max = "limits::PAUSE_MAX"))
    )]
    pub retry_after_seconds: Option<f64>,
}

/// What a worker says of one attempt that is over: either that it is complete, or that it failed.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(garde::Validate))]
#[serde(deny_unknown_fields)]
pub struct FinishItem {
    /// Which lease.
    #[cfg_attr(feature = "openapi", garde(skip))]
    pub lease_id: String,
    /// The action ends with an output.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::patch::not_null"
    )]
    #[cfg_attr(feature = "openapi", garde(dive))]
    pub complete: Option<CompleteLease>,
    /// The attempt ends with an error.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::patch::not_null"
    )]
    #[cfg_attr(feature = "openapi", garde(dive))]
    pub fail: Option<FailLease>,
}

/// An attempt that is complete.
#[cfg(feature = "openapi")]
#[derive(schemars::JsonSchema, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "it is there for its schema")]
struct FinishComplete {
    /// Which lease.
    lease_id: String,
    /// The action ends with an output.
    complete: CompleteLease,
}

/// An attempt that failed.
#[cfg(feature = "openapi")]
#[derive(schemars::JsonSchema, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "it is there for its schema")]
struct FinishFail {
    /// Which lease.
    lease_id: String,
    /// The attempt ends with an error.
    fail: FailLease,
}

/// One or the other, which a list of members that may all be absent can't say.
#[cfg(feature = "openapi")]
impl schemars::JsonSchema for FinishItem {
    fn schema_name() -> String {
        "FinishItem".to_owned()
    }

    fn json_schema(generator: &mut schemars::r#gen::SchemaGenerator) -> schemars::schema::Schema {
        let mut schema = schemars::schema::SchemaObject::default();
        schema.metadata().description = Some(
            "What a worker says of one attempt that is over: either that it is complete, or that it failed."
                .to_owned(),
        );
        schema.subschemas().one_of = Some(vec![
            generator.subschema_for::<FinishComplete>(),
            generator.subschema_for::<FinishFail>(),
        ]);
        schema.into()
    }
}

/// The body of POST `/leases/finish`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(
    feature = "openapi",
    derive(garde::Validate, schemars::JsonSchema, apistos::ApiComponent)
)]
#[serde(deny_unknown_fields)]
pub struct FinishLeases {
    /// What to end; no lease twice.
    #[cfg_attr(
        feature = "openapi",
        garde(custom(limits::finish_items), dive),
        schemars(length(min = 1, max = "Perform::LEASES_MAX"))
    )]
    pub items: Vec<FinishItem>,
    /// What to lease afterwards; nothing if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", garde(dive))]
    pub then_lease: Option<LeaseActions>,
}

/// Why an end was not written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct FinishError {
    /// A code to program against: that of the problem which the call for one would have been answered with.
    pub code: String,
    /// What happened, for people.
    pub message: String,
}

/// What came of one end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct FinishedItemBody {
    /// Which lease.
    pub lease_id: String,
    /// Whether it is written, now or before.
    pub ok: bool,
    /// Why not; absent where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<FinishError>,
}

/// The answer of POST `/leases/finish`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(
    feature = "openapi",
    derive(schemars::JsonSchema, apistos::ApiComponent)
)]
pub struct FinishedBody {
    /// What came of each, in the order given.
    pub results: Vec<FinishedItemBody>,
    /// What was granted next; empty where nothing was asked for, or nothing came in time.
    pub leases: Vec<LeaseBody>,
    /// Whether the server is about to stop: lease from another one. Absent where it is not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub draining: bool,
}

/// The body of POST `/leases/{lease_id}/release`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(
    feature = "openapi",
    derive(garde::Validate, schemars::JsonSchema, apistos::ApiComponent)
)]
#[serde(deny_unknown_fields)]
pub struct ReleaseLease {}

/// An answer that says nothing but that it is done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(
    feature = "openapi",
    derive(schemars::JsonSchema, apistos::ApiComponent)
)]
pub struct DoneBody {}
