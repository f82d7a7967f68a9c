//! `/actions/batch`.

use actix_web::http::StatusCode;
use apistos::api_operation;
use deed_api::action::{ActionBatchBody, CreateActionBatch};

use super::{FROM_FIRST, read, render_overview};
use crate::answer::Answer;
use crate::app::Api;
use crate::extract::caller::CanSubmit;
use crate::extract::{Caller, Idempotent, NoQuery, Valid};
use crate::openapi::operation::{Content, Example, Operation, Success, Tag};
use crate::problem::{ErrorCode, Refusal};

const PATH: &str = "/actions/batch";

const EXAMPLE: &str = r#"{"items":[{"id":"0198c0de-0000-7000-8000-0000000000c1","type":"echo","status":"queued","user_id":"0198c0de-0000-7000-8000-0000000000a1","api_key_id":"0198c0de-0000-7000-8000-0000000000b1","error":null,"attempt":0,"max_attempts":3,"priority":5,"retry_of":null,"run_at":null,"created_at":"2026-01-31T10:00:00Z","started_at":null,"finished_at":null},{"id":"0198c0de-0000-7000-8000-0000000000c2","type":"echo","status":"scheduled","user_id":"0198c0de-0000-7000-8000-0000000000a1","api_key_id":"0198c0de-0000-7000-8000-0000000000b1","error":null,"attempt":0,"max_attempts":3,"priority":5,"retry_of":null,"run_at":"2026-02-01T00:00:00Z","created_at":"2026-01-31T10:00:00Z","started_at":null,"finished_at":null}]}"#;
const EXAMPLE_REQUEST: &str = r#"{"actions":[{"type":"echo","input":{"text":"now"}},{"type":"echo","input":{"text":"later"},"run_at":"2026-02-01T00:00:00Z"}]}"#;

pub(crate) const CREATE: Operation = Operation {
    id: "createActionBatch",
    summary: "Ask for many actions",
    description: "Accepts up to 500 actions, all of them or none, and answers as soon as they are durable: in the \
        order asked, as lists do, without input and output. Whatever is wrong with any of them is told with its place, \
        as `#/actions/17/input/text`, and then nothing is stored. With an `Idempotency-Key` the same request again \
        answers the same actions, as they are then.",
    tag: Tag::Actions,
    success: &[Success {
        status: 202,
        description: "The actions are accepted, and durable.",
        headers: &["Idempotency-Replayed"],
        content: Content::Json,
        example: Example::Json(EXAMPLE),
        links: FROM_FIRST,
    }],
    errors: &[
        ErrorCode::UnknownActionType,
        ErrorCode::UserRequired,
        ErrorCode::IdempotencyInFlight,
        ErrorCode::IdempotencyKeyReused,
        ErrorCode::TooManyQueued,
        ErrorCode::ActionNotFound,
        ErrorCode::ActionGone,
    ],
    request_example: Some(EXAMPLE_REQUEST),
    deprecated: None,
};

/// POST `/actions/batch`.
#[api_operation(operation_id = "createActionBatch")]
pub(crate) async fn create(
    caller: Caller<CanSubmit>,
    _: NoQuery,
    key: Idempotent,
    body: Valid<CreateActionBatch>,
    api: Api,
) -> Result<Answer<ActionBatchBody>, Refusal> {
    api.refuse_while_draining()?;
    let caller = caller.caller;
    let idempotency = api.idempotency(Some(&caller), PATH, key.0, &body.bytes);
    let items = body.value.actions.into_iter().map(read).collect();
    let submit = api.services().submit_batch.clone();
    let submission = api
        .run(async move { submit.run(&caller, items, idempotency).await })
        .await?;
    let items = submission.actions.into_iter().map(render_overview);
    let body = ActionBatchBody {
        items: items.collect(),
    };
    Ok(Answer::new(StatusCode::ACCEPTED, body).replayed(submission.is_replay))
}
