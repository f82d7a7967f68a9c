//! `/actions`.

use std::time::Duration;

use actix_web::http::{StatusCode, header};
use apistos::api_operation;
use deed_api::action::{
    ActionBody, ActionErrorBody, ActionQuery, ActionStatus, ActionSummaryBody, CreateAction,
};
use deed_api::page::Page;
use deed_domain::action::{
    Action, ActionError, ActionFilter, ActionOverview, ActionTypeName, Payload, Priority, Status,
};
use deed_domain::error::Violation;
use deed_domain::id::ActionId;
use deed_domain::service::{BatchItem, CancelAnswer, SubmitRequest};
use deed_domain::store_time::apart;
use tokio::sync::oneshot;

use crate::answer::{Answer, PREFERENCE_APPLIED};
use crate::app::Api;
use crate::cursor::ListName;
use crate::etag::{ETag, Verdict};
use crate::extract::caller::{CanReadActions, CanSubmit};
use crate::extract::{Caller, Conditions, Idempotent, NoQuery, PathId, Prefer, Query, Valid};
use crate::json::raw;
use crate::list::List;
use crate::openapi::operation::{Content, Example, Link, Operation, Success, Tag};
use crate::prefer::Preferences;
use crate::problem::{ErrorCode, Refusal};
use crate::request_id;

pub(crate) mod batch;

const PATH: &str = "/actions";

const EXAMPLE: &str = r#"{"id":"0198c0de-0000-7000-8000-0000000000c1","type":"echo","status":"succeeded","user_id":"0198c0de-0000-7000-8000-0000000000a1","api_key_id":"0198c0de-0000-7000-8000-0000000000b1","input":{"text":"hello world"},"output":{"text":"hello world"},"error":null,"attempt":1,"max_attempts":3,"priority":5,"retry_of":null,"run_at":null,"created_at":"2026-01-31T10:00:00Z","started_at":"2026-01-31T10:00:00.004Z","finished_at":"2026-01-31T10:00:00.009Z"}"#;
const EXAMPLE_QUEUED: &str = r#"{"id":"0198c0de-0000-7000-8000-0000000000c1","type":"echo","status":"queued","user_id":"0198c0de-0000-7000-8000-0000000000a1","api_key_id":"0198c0de-0000-7000-8000-0000000000b1","input":{"text":"hello world"},"output":null,"error":null,"attempt":0,"max_attempts":3,"priority":5,"retry_of":null,"run_at":null,"created_at":"2026-01-31T10:00:00Z","started_at":null,"finished_at":null}"#;
const EXAMPLE_CANCELLED: &str = r#"{"id":"0198c0de-0000-7000-8000-0000000000c1","type":"wait","status":"cancelled","user_id":"0198c0de-0000-7000-8000-0000000000a1","api_key_id":"0198c0de-0000-7000-8000-0000000000b1","input":{"seconds":60},"output":null,"error":null,"attempt":0,"max_attempts":3,"priority":5,"retry_of":null,"run_at":null,"created_at":"2026-01-31T10:00:00Z","started_at":null,"finished_at":"2026-01-31T10:00:01Z"}"#;
const EXAMPLE_STOPPING: &str = r#"{"id":"0198c0de-0000-7000-8000-0000000000c1","type":"wait","status":"running","user_id":"0198c0de-0000-7000-8000-0000000000a1","api_key_id":"0198c0de-0000-7000-8000-0000000000b1","input":{"seconds":60},"output":null,"error":null,"attempt":1,"max_attempts":3,"priority":5,"retry_of":null,"run_at":null,"created_at":"2026-01-31T10:00:00Z","started_at":"2026-01-31T10:00:00.004Z","finished_at":null}"#;
const EXAMPLE_RETRY: &str = r#"{"id":"0198c0de-0000-7000-8000-0000000000c2","type":"wait","status":"queued","user_id":"0198c0de-0000-7000-8000-0000000000a1","api_key_id":"0198c0de-0000-7000-8000-0000000000b1","input":{"seconds":60},"output":null,"error":null,"attempt":0,"max_attempts":3,"priority":5,"retry_of":"0198c0de-0000-7000-8000-0000000000c1","run_at":null,"created_at":"2026-01-31T10:01:00Z","started_at":null,"finished_at":null}"#;
const EXAMPLE_PAGE: &str = r#"{"items":[{"id":"0198c0de-0000-7000-8000-0000000000c1","type":"echo","status":"succeeded","user_id":"0198c0de-0000-7000-8000-0000000000a1","api_key_id":"0198c0de-0000-7000-8000-0000000000b1","error":null,"attempt":1,"max_attempts":3,"priority":5,"retry_of":null,"run_at":null,"created_at":"2026-01-31T10:00:00Z","started_at":"2026-01-31T10:00:00.004Z","finished_at":"2026-01-31T10:00:00.009Z"}],"next_cursor":null}"#;

/// The example of a body, here and for POST `/stream`.
pub(crate) const EXAMPLE_REQUEST: &str = r#"{"type":"echo","input":{"text":"hello world"}}"#;

/// The errors of accepting an action.
const SUBMIT_ERRORS: &[ErrorCode] = &[
    ErrorCode::UnknownActionType,
    ErrorCode::UserRequired,
    ErrorCode::IdempotencyInFlight,
    ErrorCode::IdempotencyKeyReused,
    ErrorCode::TooManyQueued,
];

const FROM_CREATED: &[Link] = &[
    Link {
        operation: "getAction",
        id: "$response.body#/id",
    },
    Link {
        operation: "cancelAction",
        id: "$response.body#/id",
    },
    Link {
        operation: "getActionEvents",
        id: "$response.body#/id",
    },
    Link {
        operation: "retryAction",
        id: "$response.body#/id",
    },
];

/// From a list, or a batch.
const FROM_FIRST: &[Link] = &[
    Link {
        operation: "getAction",
        id: "$response.body#/items/0/id",
    },
    Link {
        operation: "cancelAction",
        id: "$response.body#/items/0/id",
    },
    Link {
        operation: "getActionEvents",
        id: "$response.body#/items/0/id",
    },
];

pub(crate) const CREATE: Operation = Operation {
    id: "createAction",
    summary: "Perform an action",
    description: "Accepts an action and waits for its end: 10 seconds, or as `Prefer: wait=N` asks. The end within \
        that time is answered 201, whatever the outcome; else 202 with the action as it is. \
        `Prefer: respond-async` answers 202 as soon as it is durable, and so does a `run_at` in the future. A client \
        that goes away cancels nothing. With an `Idempotency-Key` the same request again answers the same action, as \
        it is then.",
    tag: Tag::Actions,
    success: &[
        Success {
            status: 201,
            description: "The action is over; `status` says how.",
            headers: &["Location", "Preference-Applied", "Idempotency-Replayed"],
            content: Content::Json,
            example: Example::Json(EXAMPLE),
            links: FROM_CREATED,
        },
        Success {
            status: 202,
            description: "The action is accepted, and durable.",
            headers: &["Location", "Preference-Applied", "Idempotency-Replayed"],
            content: Content::Json,
            example: Example::Json(EXAMPLE_QUEUED),
            links: FROM_CREATED,
        },
    ],
    errors: SUBMIT_ERRORS,
    request_example: Some(EXAMPLE_REQUEST),
    deprecated: None,
};

/// POST `/actions`.
#[api_operation(operation_id = "createAction")]
pub(crate) async fn create(
    caller: Caller<CanSubmit>,
    _: NoQuery,
    key: Idempotent,
    prefer: Prefer,
    body: Valid<CreateAction>,
    api: Api,
) -> Result<Answer<ActionBody>, Refusal> {
    api.refuse_while_draining()?;
    let caller = caller.caller;
    let idempotency = api.idempotency(Some(&caller), PATH, key.0, &body.bytes);
    let request = submit_request(body.value)?;
    let patience = Patience::of(prefer.0, request.run_at.is_some(), api.settings().wait);
    let (submit, outcome) = (
        api.services().submit.clone(),
        api.services().await_outcome.clone(),
    );
    let drained = api.drained();
    let (submission, action) = api
        .run(async move {
            let submission = submit.run(&caller, request, idempotency).await?;
            let action = async {
                if patience.is_for_the_present {
                    let at_once = std::future::ready(());
                    let action = outcome.run(&caller, submission.id, at_once).await?;
                    if action.overview.status == Status::Scheduled {
                        return Ok(action);
                    }
                }
                let enough = async move {
                    tokio::select! {
                        () = tokio::time::sleep(patience.wait) => {}
                        () = drained => {}
                    }
                };
                let outcome = outcome.run(&caller, submission.id, enough);
                if patience.wait.is_zero() {
                    return outcome.await;
                }
                apart(outcome).await
            };
            Ok((submission, action.await))
        })
        .await?;
    let location = format!("{PATH}/{}", submission.id);
    // It is accepted, whatever came of looking at it: who is told where it is needs no second try.
    let action = action.map_err(|error| Refusal::from(error).located(&location))?;
    let is_answered_early =
        patience.wait.is_zero() && prefer.0.respond_async && !submission.is_replay;
    let status = if action.overview.status.is_over() && !is_answered_early {
        StatusCode::CREATED
    } else {
        StatusCode::ACCEPTED
    };
    Ok(Answer::new(status, render(action)?)
        .header(header::LOCATION, location)
        .header_if(PREFERENCE_APPLIED, prefer.0.applied())
        .replayed(submission.is_replay))
}

/// How long POST `/actions` waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Patience {
    wait: Duration,
    /// Whether an action that waits for a time of its own is not waited for.
    is_for_the_present: bool,
}

impl Patience {
    fn of(preferences: Preferences, has_run_at: bool, usual: Duration) -> Self {
        match preferences {
            Preferences {
                wait: Some(wait), ..
            } => Self {
                wait,
                is_for_the_present: false,
            },
            Preferences {
                respond_async: true,
                ..
            } => Self {
                wait: Duration::ZERO,
                is_for_the_present: false,
            },
            Preferences { .. } => Self {
                wait: usual,
                is_for_the_present: has_run_at,
            },
        }
    }
}

/// Reads what POST `/actions` and POST `/stream` ask for.
pub(crate) fn submit_request(body: CreateAction) -> Result<SubmitRequest, Refusal> {
    read(body).map_err(|violations| deed_domain::Error::Invalid(violations).into())
}

/// Reads an action that is asked for, or says all the limits that it breaks, with pointers into it.
fn read(body: CreateAction) -> BatchItem {
    let CreateAction {
        r#type,
        input,
        run_at,
        priority,
    } = body;
    let mut violations = Vec::new();
    let mut wrong = |pointer: &str, said: String| violations.push(Violation::new(pointer, said));
    let action_type = ActionTypeName::parse(&r#type)
        .map_err(|error| wrong("/type", error.to_string()))
        .ok();
    let input = if input.get().len() > Payload::MAX_BYTES {
        wrong(
            "/input",
            format!("must have at most {} bytes", Payload::MAX_BYTES),
        );
        None
    } else {
        Payload::parse(input.get())
            .map_err(|error| wrong("/input", error.to_string()))
            .ok()
    };
    let priority = Priority::new(priority.unwrap_or_else(|| Priority::default().get()));
    if priority.is_none() {
        let most = Priority::MAX;
        wrong("/priority", format!("must be between 0 and {most}"));
    }
    match (action_type, input, priority) {
        (Some(action_type), Some(input), Some(priority)) => Ok(SubmitRequest {
            action_type,
            input,
            run_at,
            priority,
            traceparent: request_id::current_trace(),
        }),
        _ => Err(violations),
    }
}

pub(crate) const LIST: Operation = Operation {
    id: "listActions",
    summary: "List actions",
    description: "The actions of the user that the caller acts for, newest first, without input and output. The \
        filters must all hold.",
    tag: Tag::Actions,
    success: &[Success {
        status: 200,
        description: "A page of actions.",
        headers: &["Link"],
        content: Content::Json,
        example: Example::Json(EXAMPLE_PAGE),
        links: FROM_FIRST,
    }],
    errors: &[ErrorCode::InvalidCursor],
    request_example: None,
    deprecated: None,
};

/// GET `/actions`.
#[api_operation(operation_id = "listActions")]
pub(crate) async fn list(
    caller: Caller<CanReadActions>,
    query: Query<ActionQuery>,
    api: Api,
) -> Result<Answer<Page<ActionSummaryBody>>, Refusal> {
    let (caller, query) = (caller.caller, query.0);
    let filter = filter(&query)?;
    let list = List {
        path: PATH,
        name: ListName::new("actions", &caller)
            .filter("status", filter.status)
            .filter("type", filter.action_type.as_ref())
            .filter(
                "created_after",
                filter.created_after.map(|at| at.to_rfc3339()),
            )
            .filter(
                "created_before",
                filter.created_before.map(|at| at.to_rfc3339()),
            ),
    };
    let page = list.page(&api, query.limit, query.cursor.as_deref(), |id| {
        id.parse::<ActionId>().ok()
    })?;
    let read = api.services().read_actions.clone();
    let page = api
        .run(async move { read.list(&caller, &filter, page).await })
        .await?;
    let items = page.items.into_iter().map(render_overview).collect();
    let next = page.next.map(|id| id.to_string());
    list.answer(&api, items, next, query, |query, cursor| ActionQuery {
        cursor: Some(cursor),
        ..query
    })
}

fn filter(query: &ActionQuery) -> Result<ActionFilter, Refusal> {
    let ActionQuery {
        status,
        r#type,
        created_after,
        created_before,
        limit: _,
        cursor: _,
    } = query;
    let name = r#type.as_deref().map(ActionTypeName::parse).transpose();
    Ok(ActionFilter {
        status: status.map(|status| match status {
            ActionStatus::Scheduled => Status::Scheduled,
            ActionStatus::Queued => Status::Queued,
            ActionStatus::Running => Status::Running,
            ActionStatus::Succeeded => Status::Succeeded,
            ActionStatus::Failed => Status::Failed,
            ActionStatus::Cancelled => Status::Cancelled,
        }),
        action_type: name.map_err(|error| Refusal::bad_parameter("type", error.to_string()))?,
        created_after: *created_after,
        created_before: *created_before,
    })
}

pub(crate) const FIND: Operation = Operation {
    id: "getAction",
    summary: "Get an action",
    description: "An action of the user that the caller acts for, as it is now. Its `ETag` changes with whatever lists \
        show of it, such as status and attempt, and not with its events. `Prefer: wait=N` waits up to N seconds: with \
        `If-None-Match` until the `ETag` is another one, else until the action is over. One that is over is answered at \
        once, as nothing follows.",
    tag: Tag::Actions,
    success: &[
        Success {
            status: 200,
            description: "The action.",
            headers: &["ETag", "Preference-Applied"],
            content: Content::Json,
            example: Example::Json(EXAMPLE),
            links: FROM_CREATED,
        },
        Success {
            status: 304,
            description: "The action is still as `If-None-Match` says.",
            headers: &["ETag", "Preference-Applied"],
            content: Content::Empty,
            example: Example::None,
            links: &[],
        },
    ],
    errors: &[
        ErrorCode::ActionNotFound,
        ErrorCode::ActionGone,
        ErrorCode::PreconditionFailed,
    ],
    request_example: None,
    deprecated: None,
};

/// GET `/actions/{id}`.
#[api_operation(operation_id = "getAction")]
pub(crate) async fn find(
    caller: Caller<CanReadActions>,
    _: NoQuery,
    id: PathId<ActionId>,
    conditions: Conditions,
    prefer: Prefer,
    api: Api,
) -> Result<Answer<ActionBody>, Refusal> {
    let (caller, id, preferences) = (caller.caller, id.0, prefer.0.of_a_read());
    let action = match preferences.wait.filter(|wait| !wait.is_zero()) {
        Some(wait) => changed(&api, caller, id, conditions.clone(), wait).await?,
        None => {
            let read = api.services().read_actions.clone();
            api.run(async move { read.find(&caller, id).await }).await?
        }
    };
    let tag = tag(&action)?;
    let answer = Answer::if_wanted(&conditions, &tag, render(action)?)?;
    Ok(answer.header_if(PREFERENCE_APPLIED, preferences.applied()))
}

/// The action as soon as its answer would not be 304 any more, or without `If-None-Match` as soon as it is over; at the
/// latest after `wait`, when the server drains, or when nobody is there any more to be answered.
async fn changed(
    api: &Api,
    caller: deed_domain::caller::Caller,
    id: ActionId,
    conditions: Conditions,
    wait: Duration,
) -> Result<Action, Refusal> {
    let is_awaited = move |action: &Action| match tag(action).map(|tag| conditions.judge(&tag)) {
        Ok(Verdict::NotModified) => false,
        Ok(Verdict::Proceed) => conditions.if_none_match.is_some(),
        Ok(Verdict::Failed) | Err(_) => true,
    };
    let drained = api.drained();
    // Dropped with the request, which its client's going away drops.
    let (mut answers, _is_wanted) = oneshot::channel::<()>();
    let enough = async move {
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = drained => {}
            () = answers.closed() => {}
        }
    };
    let await_change = api.services().await_change.clone();
    api.run(async move { await_change.run(&caller, id, is_awaited, enough).await })
        .await
}

/// The tag of an action: of all that lists show of it. Input never changes, and output comes with the status.
fn tag(action: &Action) -> Result<ETag, Refusal> {
    let shown = render_overview(action.overview.clone());
    let bytes = serde_json::to_vec(&shown)
        .map_err(|error| Refusal::new(ErrorCode::InternalError).because(error))?;
    Ok(ETag::of_bytes(&bytes))
}

pub(crate) const CANCEL: Operation = Operation {
    id: "cancelAction",
    summary: "Cancel an action",
    description: "A waiting action is cancelled at once. A running one is told to stop, and is dropped 5 seconds \
        later. One that is over stays as it is. Idempotent.",
    tag: Tag::Actions,
    success: &[
        Success {
            status: 200,
            description: "The action is over: cancelled now, or ended before.",
            headers: &[],
            content: Content::Json,
            example: Example::Json(EXAMPLE_CANCELLED),
            links: FROM_CREATED,
        },
        Success {
            status: 202,
            description: "The action is running, and its performer is told to stop.",
            headers: &[],
            content: Content::Json,
            example: Example::Json(EXAMPLE_STOPPING),
            links: FROM_CREATED,
        },
    ],
    errors: &[ErrorCode::ActionNotFound, ErrorCode::ActionGone],
    request_example: None,
    deprecated: None,
};

/// POST `/actions/{id}/cancel`.
#[api_operation(operation_id = "cancelAction")]
pub(crate) async fn cancel(
    caller: Caller<CanSubmit>,
    _: NoQuery,
    id: PathId<ActionId>,
    api: Api,
) -> Result<Answer<ActionBody>, Refusal> {
    let (caller, id) = (caller.caller, id.0);
    let cancel = api.services().cancel.clone();
    match api
        .run(async move { cancel.run(&caller, id).await })
        .await?
    {
        CancelAnswer::Over(action) => Ok(Answer::ok(render(action)?)),
        CancelAnswer::Asked(action) => Ok(Answer::new(StatusCode::ACCEPTED, render(action)?)),
    }
}

pub(crate) const RETRY: Operation = Operation {
    id: "retryAction",
    summary: "Retry an action",
    description: "Asks for a new action with the type, input and priority of one that failed or was cancelled; its \
        `retry_of` names that one, which stays as it is. It is accepted at once and not waited for. With an \
        `Idempotency-Key` the same request again answers the same new action, as it is then.",
    tag: Tag::Actions,
    success: &[Success {
        status: 202,
        description: "The new action is accepted, and durable.",
        headers: &["Location", "Idempotency-Replayed"],
        content: Content::Json,
        example: Example::Json(EXAMPLE_RETRY),
        links: FROM_CREATED,
    }],
    errors: &[
        ErrorCode::ActionNotFound,
        ErrorCode::ActionGone,
        ErrorCode::ActionNotRetryable,
        ErrorCode::IdempotencyInFlight,
        ErrorCode::IdempotencyKeyReused,
        ErrorCode::TooManyQueued,
    ],
    request_example: None,
    deprecated: None,
};

/// POST `/actions/{id}/retry`.
#[api_operation(operation_id = "retryAction")]
pub(crate) async fn retry(
    caller: Caller<CanSubmit>,
    _: NoQuery,
    id: PathId<ActionId>,
    key: Idempotent,
    api: Api,
) -> Result<Answer<ActionBody>, Refusal> {
    api.refuse_while_draining()?;
    let (caller, id) = (caller.caller, id.0);
    let idempotency = api.idempotency(Some(&caller), &format!("{PATH}/{id}/retry"), key.0, &[]);
    let (retry, outcome) = (
        api.services().retry.clone(),
        api.services().await_outcome.clone(),
    );
    let traceparent = request_id::current_trace();
    let (submission, action) = api
        .run(async move {
            let submission = retry.run(&caller, id, traceparent, idempotency).await?;
            let at_once = std::future::ready(());
            let action = outcome.run(&caller, submission.id, at_once).await;
            Ok((submission, action))
        })
        .await?;
    let location = format!("{PATH}/{}", submission.id);
    // It is accepted, whatever came of looking at it: who is told where it is needs no second try.
    let action = action.map_err(|error| Refusal::from(error).located(&location))?;
    Ok(Answer::new(StatusCode::ACCEPTED, render(action)?)
        .header(header::LOCATION, location)
        .replayed(submission.is_replay))
}

fn render(action: Action) -> Result<ActionBody, Refusal> {
    let Action {
        overview,
        input,
        output,
        traceparent: _,
    } = action;
    let summary = render_overview(overview);
    let ActionSummaryBody {
        id,
        r#type,
        status,
        user_id,
        api_key_id,
        error,
        attempt,
        max_attempts,
        priority,
        retry_of,
        run_at,
        created_at,
        started_at,
        finished_at,
    } = summary;
    Ok(ActionBody {
        id,
        r#type,
        status,
        user_id,
        api_key_id,
        input: raw(&input)?,
        output: output.as_ref().map(raw).transpose()?,
        error,
        attempt,
        max_attempts,
        priority,
        retry_of,
        run_at,
        created_at,
        started_at,
        finished_at,
    })
}

fn render_overview(overview: ActionOverview) -> ActionSummaryBody {
    let ActionOverview {
        id,
        user_id,
        api_key_id,
        action_type,
        status,
        error,
        attempt,
        max_attempts,
        priority,
        retry_of,
        run_at,
        created_at,
        started_at,
        finished_at,
    } = overview;
    ActionSummaryBody {
        id: id.as_uuid(),
        r#type: action_type.as_str().to_owned(),
        status: match status {
            Status::Scheduled => ActionStatus::Scheduled,
            Status::Queued => ActionStatus::Queued,
            Status::Running => ActionStatus::Running,
            Status::Succeeded => ActionStatus::Succeeded,
            Status::Failed => ActionStatus::Failed,
            Status::Cancelled => ActionStatus::Cancelled,
        },
        user_id: user_id.as_uuid(),
        api_key_id: api_key_id.map(|id| id.as_uuid()),
        error: error.map(|ActionError { code, message }| ActionErrorBody { code, message }),
        attempt,
        max_attempts,
        priority: priority.get(),
        retry_of: retry_of.map(|id| id.as_uuid()),
        run_at,
        created_at,
        started_at,
        finished_at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_follows_the_preferences() {
        let usual = Duration::from_secs(10);
        let check = |respond_async, wait: Option<u64>, has_run_at, seconds, is_for_the_present| {
            let preferences = Preferences {
                respond_async,
                wait: wait.map(Duration::from_secs),
            };
            let expected = Patience {
                wait: Duration::from_secs(seconds),
                is_for_the_present,
            };
            assert_eq!(
                Patience::of(preferences, has_run_at, usual),
                expected,
                "{preferences:?} {has_run_at}"
            );
        };
        check(false, None, false, 10, false);
        check(false, None, true, 10, true);
        check(true, None, false, 0, false);
        check(true, None, true, 0, false);
        check(false, Some(5), false, 5, false);
        check(false, Some(5), true, 5, false);
        check(true, Some(5), false, 5, false);
        check(false, Some(0), false, 0, false);
    }
}
