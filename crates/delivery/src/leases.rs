//! `/leases`.

use std::time::Duration;

use apistos::api_operation;
use deed_api::lease::{
    CompleteLease, DoneBody, FailLease, FailureError, Heartbeat, HeartbeatBody, NotRenewed,
    ReleaseLease, RenewedBody, ReportEvents, ReportedBody, WorkerEvent, WorkerEventName,
};
use deed_domain::Error;
use deed_domain::action::event::Progress;
use deed_domain::action::{ActionError, LeaseRef, NewEvent, Payload, Sequence};
use deed_domain::ports::{Failure, HeartbeatVerdict};
use deed_domain::service::{Report, Reported};
use serde::Deserialize;

use crate::answer::Answer;
use crate::app::Api;
use crate::extract::caller::CanWork;
use crate::extract::{Caller, NoQuery, PathLease, Report as ReportBody, Valid};
use crate::lease_id;
use crate::openapi::operation::{Content, Example, Link, Operation, Success, Tag};
use crate::problem::{ErrorCode, Refusal};
pub(crate) use finish::{FINISH, finish};
pub(crate) use granting::{LEASE, lease};

mod finish;
mod granting;

const EXAMPLE_HEARTBEAT: &str = r#"{"lease_ids":["AZjA3gAAcACAAAAAAAAAwV3uG0KdqUTSijDnIY9oCPU"]}"#;
const EXAMPLE_RENEWED: &str = r#"{"leases":[{"lease_id":"AZjA3gAAcACAAAAAAAAAwV3uG0KdqUTSijDnIY9oCPU","ok":true,"reason":null,"expires_at":"2026-01-31T10:00:40Z","cancel_requested":false}]}"#;
const EXAMPLE_EVENTS: &str =
    r#"{"from_seq":3,"events":[{"event":"message","data":{"text":"page 1"}}]}"#;
const EXAMPLE_REPORTED: &str = r#"{"next_seq":4,"cancel_requested":false}"#;
const EXAMPLE_COMPLETE: &str = r#"{"output":{"url":"https://example.com/report.pdf"}}"#;
const EXAMPLE_FAIL: &str =
    r#"{"error":{"code":"out_of_paper","message":"There is no paper."},"retryable":true}"#;
const EXAMPLE_EMPTY: &str = "{}";

/// What a worker does with the first lease that it is granted.
const TO_FIRST_LEASE: &[Link] = &[
    Link {
        operation: "reportEvents",
        id: "$response.body#/leases/0/lease_id",
    },
    Link {
        operation: "completeLease",
        id: "$response.body#/leases/0/lease_id",
    },
    Link {
        operation: "failLease",
        id: "$response.body#/leases/0/lease_id",
    },
    Link {
        operation: "releaseLease",
        id: "$response.body#/leases/0/lease_id",
    },
];

pub(crate) const HEARTBEAT: Operation = Operation {
    id: "renewLeases",
    summary: "Renew leases",
    description: "Tells that a worker lives: each lease is renewed by the length that it was granted for. Answers one \
        verdict each, in the order asked, and whether somebody has asked to cancel the action. What arrives within a \
        second is renewed together, so an answer may take a second.",
    tag: Tag::Leases,
    success: &[Success {
        status: 200,
        description: "How each lease stands.",
        headers: &[],
        content: Content::Json,
        example: Example::Json(EXAMPLE_RENEWED),
        links: &[],
    }],
    errors: &[],
    request_example: Some(EXAMPLE_HEARTBEAT),
    deprecated: None,
};

/// POST `/leases/heartbeat`.
#[api_operation(operation_id = "renewLeases")]
pub(crate) async fn heartbeat(
    caller: Caller<CanWork>,
    _: NoQuery,
    body: Valid<Heartbeat>,
    api: Api,
) -> Result<Answer<HeartbeatBody>, Refusal> {
    let caller = caller.caller;
    let asked = body.value.lease_ids;
    let parsed: Vec<Option<LeaseRef>> = asked.iter().map(|id| lease_id::parse(id)).collect();
    let known: Vec<LeaseRef> = parsed.iter().copied().flatten().collect();
    let perform = api.services().perform.clone();
    let mut verdicts = api
        .run(async move { perform.heartbeat(&caller, &known).await })
        .await?
        .into_iter();
    let leases = asked
        .into_iter()
        .zip(parsed)
        .map(|(lease_id, lease)| {
            // What is no lease's id is nobody's lease.
            let verdict = lease.and_then(|_| verdicts.next());
            match verdict.unwrap_or(HeartbeatVerdict::Lost) {
                HeartbeatVerdict::Held {
                    expires_at,
                    cancel_requested,
                } => RenewedBody {
                    lease_id,
                    ok: true,
                    reason: None,
                    expires_at: Some(expires_at),
                    cancel_requested,
                },
                HeartbeatVerdict::Finished => over(lease_id, NotRenewed::Finished),
                HeartbeatVerdict::Lost => over(lease_id, NotRenewed::Lost),
            }
        })
        .collect();
    Ok(Answer::ok(HeartbeatBody {
        leases,
        draining: api.is_draining(),
    }))
}

fn over(lease_id: String, reason: NotRenewed) -> RenewedBody {
    RenewedBody {
        lease_id,
        ok: false,
        reason: Some(reason),
        expires_at: None,
        cancel_requested: false,
    }
}

pub(crate) const REPORT: Operation = Operation {
    id: "reportEvents",
    summary: "Report output and progress",
    description: "Writes into the action's log, where its readers see it at once. The same events from the same \
        `from_seq` again are written once. A `checkpoint` is kept with them, or by itself, for the next attempt of the \
        action. Many small chunks may come line by line instead, as `application/x-ndjson`, one event a line, with \
        `from_seq` in the query. Renews the lease.",
    tag: Tag::Leases,
    success: &[Success {
        status: 200,
        description: "It is written.",
        headers: &[],
        content: Content::Json,
        example: Example::Json(EXAMPLE_REPORTED),
        links: &[],
    }],
    errors: &[ErrorCode::LeaseLost, ErrorCode::SequenceConflict],
    request_example: Some(EXAMPLE_EVENTS),
    deprecated: None,
};

/// POST `/leases/{lease_id}/events`.
#[api_operation(operation_id = "reportEvents")]
pub(crate) async fn report(
    caller: Caller<CanWork>,
    lease: PathLease,
    body: ReportBody,
    api: Api,
) -> Result<Answer<ReportedBody>, Refusal> {
    let caller = caller.caller;
    let ReportEvents {
        from_seq,
        events,
        checkpoint,
    } = body.0;
    let from_seq = Sequence::new(from_seq)
        .ok_or_else(|| Refusal::bad_pointer("#/from_seq", "is too large".to_owned()))?;
    let events = events
        .into_iter()
        .enumerate()
        .map(|(place, event)| read_event(place, &event))
        .collect::<Result<Vec<_>, _>>()?;
    let checkpoint = checkpoint
        .map(|state| Payload::parse(state.get()))
        .transpose()
        .map_err(|error| Refusal::bad_pointer("#/checkpoint", error.to_string()))?;
    let report = Report {
        from_seq,
        events,
        checkpoint,
    };
    let lease = lease.held()?;
    let perform = api.services().perform.clone();
    let Reported {
        next_seq,
        cancel_requested,
    } = api
        .run(async move { perform.report(&caller, lease, report).await })
        .await?;
    Ok(Answer::ok(ReportedBody {
        next_seq: next_seq.get(),
        cancel_requested,
    }))
}

/// How far it is, as a worker says it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProgressData {
    percent: Option<u8>,
    note: Option<String>,
}

fn read_event(place: usize, event: &WorkerEvent) -> Result<NewEvent, Refusal> {
    let wrong = |said: String| Refusal::from(Error::invalid(format!("/events/{place}/data"), said));
    match event.event {
        WorkerEventName::Message => Payload::parse(event.data.get())
            .map(NewEvent::message)
            .map_err(|error| wrong(error.to_string())),
        WorkerEventName::Progress => {
            let data: ProgressData = serde_json::from_str(event.data.get())
                .map_err(|_| wrong("must be {\"percent\"?: 0–100, \"note\"?: text}".to_owned()))?;
            if data.percent.is_some_and(|percent| percent > 100) {
                return Err(wrong("percent must be between 0 and 100".to_owned()));
            }
            Ok(NewEvent::progress(&Progress {
                percent: data.percent,
                note: data.note,
            }))
        }
    }
}

const DONE: &[Success] = &[Success {
    status: 200,
    description: "It is written, now or before.",
    headers: &[],
    content: Content::Json,
    example: Example::Json(EXAMPLE_EMPTY),
    links: &[],
}];

pub(crate) const COMPLETE: Operation = Operation {
    id: "completeLease",
    summary: "Complete an action",
    description: "Ends the action with an output. The holder of the lease may repeat it: it is written once.",
    tag: Tag::Leases,
    success: DONE,
    errors: &[ErrorCode::LeaseLost],
    request_example: Some(EXAMPLE_COMPLETE),
    deprecated: None,
};

/// POST `/leases/{lease_id}/complete`.
#[api_operation(operation_id = "completeLease")]
pub(crate) async fn complete(
    caller: Caller<CanWork>,
    _: NoQuery,
    lease: PathLease,
    body: Valid<CompleteLease>,
    api: Api,
) -> Result<Answer<DoneBody>, Refusal> {
    let caller = caller.caller;
    let output = Payload::parse(body.value.output.get())
        .map_err(|error| Refusal::bad_pointer("#/output", error.to_string()))?;
    let lease = lease.held()?;
    let perform = api.services().perform.clone();
    api.run(async move { perform.complete(&caller, lease, output).await })
        .await?;
    Ok(Answer::ok(DoneBody {}))
}

pub(crate) const FAIL: Operation = Operation {
    id: "failLease",
    summary: "Fail an attempt",
    description: "Ends the attempt with an error. If another attempt may help and one is left, it follows after a \
        pause; else the action has failed. If somebody has asked to cancel the action, a retryable failure ends it \
        as cancelled.",
    tag: Tag::Leases,
    success: DONE,
    errors: &[ErrorCode::LeaseLost],
    request_example: Some(EXAMPLE_FAIL),
    deprecated: None,
};

/// POST `/leases/{lease_id}/fail`.
#[api_operation(operation_id = "failLease")]
pub(crate) async fn fail(
    caller: Caller<CanWork>,
    _: NoQuery,
    lease: PathLease,
    body: Valid<FailLease>,
    api: Api,
) -> Result<Answer<DoneBody>, Refusal> {
    let caller = caller.caller;
    let failure = failure(body.value);
    let lease = lease.held()?;
    let perform = api.services().perform.clone();
    api.run(async move { perform.fail(&caller, lease, failure).await })
        .await?;
    Ok(Answer::ok(DoneBody {}))
}

fn failure(body: FailLease) -> Failure {
    let FailLease {
        error: FailureError { code, message },
        retryable,
        retry_after_seconds,
    } = body;
    Failure {
        error: ActionError::new(code, message),
        is_retryable: retryable,
        retry_after: retry_after_seconds
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
    }
}

pub(crate) const RELEASE: Operation = Operation {
    id: "releaseLease",
    summary: "Give an action back",
    description: "Puts the action back into the queue; no attempt is used.",
    tag: Tag::Leases,
    success: DONE,
    errors: &[ErrorCode::LeaseLost],
    request_example: Some(EXAMPLE_EMPTY),
    deprecated: None,
};

/// POST `/leases/{lease_id}/release`.
#[api_operation(operation_id = "releaseLease")]
pub(crate) async fn release(
    caller: Caller<CanWork>,
    _: NoQuery,
    lease: PathLease,
    _: Valid<ReleaseLease>,
    api: Api,
) -> Result<Answer<DoneBody>, Refusal> {
    let (caller, lease) = (caller.caller, lease.held()?);
    let perform = api.services().perform.clone();
    api.run(async move { perform.release(&caller, lease).await })
        .await?;
    Ok(Answer::ok(DoneBody {}))
}
