//! `/actions/{id}/stream-ticket`.

use actix_web::http::StatusCode;
use apistos::api_operation;
use deed_api::event::StreamTicketBody;
use deed_domain::id::ActionId;

use crate::answer::Answer;
use crate::app::Api;
use crate::extract::caller::CanReadActions;
use crate::extract::{Caller, NoQuery, PathId};
use crate::openapi::operation::{Content, Example, Operation, Success, Tag};
use crate::problem::{ErrorCode, Refusal};

const EXAMPLE: &str = r#"{"ticket":"deedt_…","expires_at":"2026-01-31T10:01:00Z"}"#;

pub(crate) const CREATE: Operation = Operation {
    id: "createStreamTicket",
    summary: "Get a ticket for an action's stream",
    description: "A browser's `EventSource` sends no headers, so it can't send a key. It opens \
        `/actions/{id}/events?ticket=…` instead. The ticket is good for 60 seconds, for one request, and for the event \
        stream of this action alone. The stream that it opens ends when this request's key is no longer valid. After a \
        lost connection ask for another ticket, and go on with `last_event_id`.",
    tag: Tag::Streams,
    success: &[Success {
        status: 201,
        description: "The ticket, which is shown this once.",
        headers: &[],
        content: Content::Json,
        example: Example::Json(EXAMPLE),
        links: &[],
    }],
    errors: &[
        ErrorCode::ActionNotFound,
        ErrorCode::ActionGone,
        ErrorCode::TooManyTickets,
    ],
    request_example: None,
    deprecated: None,
};

/// POST `/actions/{id}/stream-ticket`.
#[api_operation(operation_id = "createStreamTicket")]
pub(crate) async fn create(
    caller: Caller<CanReadActions>,
    _: NoQuery,
    id: PathId<ActionId>,
    api: Api,
) -> Result<Answer<StreamTicketBody>, Refusal> {
    let (caller, id) = (caller.caller, id.0);
    let tickets = api.services().tickets.clone();
    let issued = api
        .run(async move { tickets.issue(&caller, id).await })
        .await?;
    let body = StreamTicketBody {
        ticket: issued.secret.reveal().to_owned(),
        expires_at: issued.expires_at,
    };
    Ok(Answer::new(StatusCode::CREATED, body))
}
