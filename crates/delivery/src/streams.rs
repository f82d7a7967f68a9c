//! `/stream`, `/actions/{id}/events`, and the tickets for the latter.

mod feed;
mod places;
pub(crate) mod ticket;

pub(crate) use feed::End as StreamEnd;
pub(crate) use places::Places;

use std::convert::Infallible;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, Responder};
use apistos::ApiComponent;
use apistos::api_operation;
use apistos::reference_or::ReferenceOr;
use bytes::Bytes;
use deed_api::action::CreateAction;
use deed_api::event::{EventBody, EventQuery};
use deed_api::page::Page;
use deed_api::problem::Fault;
use deed_domain::action::{Event, Sequence};
use deed_domain::id::ActionId;
use deed_domain::service::Followed;
use futures_util::stream;

use crate::accept::Representation;
use crate::actions::{EXAMPLE_REQUEST, submit_request};
use crate::answer::{Answer, IDEMPOTENCY_REPLAYED};
use crate::app::Api;
use crate::cursor::ListName;
use crate::extract::caller::CanSubmit;
use crate::extract::{
    AcceptHeader, Caller, FollowQuery, Follower, HeadRequest, Idempotent, LAST_EVENT_ID,
    LastEventId, NoQuery, PathId, Valid,
};
use crate::json::raw;
use crate::list::List;
use crate::metrics::StreamStart;
use crate::openapi::operation::{Content, Example, Operation, Success, Tag};
use crate::problem::{ErrorCode, Refusal};
use places::Place;

/// Those of POST `/actions`, and its own.
const STREAM_ERRORS: &[ErrorCode] = &[
    ErrorCode::UnknownActionType,
    ErrorCode::UserRequired,
    ErrorCode::IdempotencyInFlight,
    ErrorCode::IdempotencyKeyReused,
    ErrorCode::TooManyQueued,
    ErrorCode::TooManyStreams,
];

const PATH: &str = "/stream";

const EXAMPLE_STREAM: &str = "retry: 2000\n\nid: 1\nevent: created\ndata: {\"action_id\":\"0198c0de-0000-7000-8000-0000000000c1\"}\n\nid: 2\nevent: started\ndata: {\"attempt\":1}\n\nid: 3\nevent: message\ndata: {\"text\":\"hello\"}\n\nid: 4\nevent: message\ndata: {\"text\":\"world\"}\n\nid: 5\nevent: done\ndata: {\"status\":\"succeeded\",\"output\":{\"text\":\"hello world\"}}\n\n";
const EXAMPLE_PAGE: &str = r#"{"items":[{"seq":1,"event":"created","at":"2026-01-31T10:00:00Z","data":{"action_id":"0198c0de-0000-7000-8000-0000000000c1"}},{"seq":2,"event":"started","at":"2026-01-31T10:00:00.004Z","data":{"attempt":1}}],"next_cursor":null}"#;

/// What both operations say of streams.
macro_rules! about {
    ($first:literal) => {
        concat!(
            $first,
            " Each event has the action's sequence as `id`, a name, and one line of JSON as `data`. The last one is \
             `done`, whatever the outcome, and the answer ends right after it. `message` carries a chunk of output; \
             others are `created`, `started`, `progress` and `retry`; ignore names that you don't know. A comment \
             shows every 15 seconds that the connection lives. A connection that ends before `done` is resumed with \
             `Last-Event-ID`: the events after that sequence, without gap or duplicate."
        )
    };
}

pub(crate) const CREATE: Operation = Operation {
    id: "createStream",
    summary: "Perform an action and follow it",
    description: about!(
        "Accepts an action and answers its events as they come: POST `/actions` and GET `/actions/{id}/events` in one \
         call. `Location` is where to resume. A repeated `Idempotency-Key` replays the same action's events from the \
         first."
    ),
    tag: Tag::Streams,
    success: &[Success {
        status: 200,
        description: "The events, as they come.",
        headers: &[
            "Location",
            "Idempotency-Replayed",
            "Cache-Control",
            "X-Accel-Buffering",
        ],
        content: Content::EventStream,
        example: Example::Text(EXAMPLE_STREAM),
        links: &[],
    }],
    errors: STREAM_ERRORS,
    request_example: Some(EXAMPLE_REQUEST),
    deprecated: None,
};

/// POST `/stream`.
#[api_operation(operation_id = "createStream")]
pub(crate) async fn create(
    caller: Caller<CanSubmit>,
    _: NoQuery,
    key: Idempotent,
    body: Valid<CreateAction>,
    api: Api,
) -> Result<HttpResponse, Refusal> {
    api.refuse_while_draining()?;
    let caller = caller.caller;
    let idempotency = api.idempotency(Some(&caller), PATH, key.0, &body.bytes);
    let request = submit_request(body.value)?;
    // Before anything is accepted: an action that nobody may follow was not asked for.
    let place = api.places().take(&caller)?;
    let (submit, follow) = (api.services().submit.clone(), api.services().follow.clone());
    let (submission, followed) = api
        .run(async move {
            let submission = submit.run(&caller, request, idempotency).await?;
            let followed = follow.submitted(&caller, submission.id).await;
            Ok((submission, followed))
        })
        .await?;
    let location = format!("/actions/{}/events", submission.id);
    // It is accepted, whatever came of following it: who is told where it is needs no second try.
    let followed = followed.map_err(|error| Refusal::from(error).located(&location))?;
    let id = submission.id;
    let mut response = respond(
        &api,
        id,
        StreamStart::First,
        followed,
        HeadRequest(false),
        place,
    );
    let location = location
        .parse()
        .map_err(|error: header::InvalidHeaderValue| {
            Refusal::new(ErrorCode::InternalError).because(error)
        })?;
    response.headers_mut().insert(header::LOCATION, location);
    if submission.is_replay {
        response.headers_mut().insert(
            IDEMPOTENCY_REPLAYED,
            header::HeaderValue::from_static("true"),
        );
    }
    Ok(response)
}

pub(crate) const EVENTS: Operation = Operation {
    id: "getActionEvents",
    summary: "Read or follow the events of an action",
    description: about!(
        "With `Accept: application/json` a page of the action's log; else a stream: what is stored, then what comes. \
         204 when the log is over and fully read, which stops an `EventSource`."
    ),
    tag: Tag::Streams,
    success: &[
        Success {
            status: 200,
            description: "A page of the log, or its events as they come.",
            headers: &["Link", "Cache-Control", "X-Accel-Buffering"],
            content: Content::JsonOrEventStream,
            example: Example::JsonAndStream(EXAMPLE_PAGE, EXAMPLE_STREAM),
            links: &[],
        },
        Success {
            status: 204,
            description: "The log is over, and nothing comes after the given sequence.",
            headers: &[],
            content: Content::Empty,
            example: Example::None,
            links: &[],
        },
    ],
    errors: &[
        ErrorCode::ActionNotFound,
        ErrorCode::ActionGone,
        ErrorCode::InvalidCursor,
        ErrorCode::NotAcceptable,
        ErrorCode::TooManyStreams,
    ],
    request_example: None,
    deprecated: None,
};

/// GET `/actions/{id}/events`.
#[api_operation(operation_id = "getActionEvents")]
pub(crate) async fn events(
    caller: Follower,
    id: PathId<ActionId>,
    query: FollowQuery,
    accept: AcceptHeader,
    last: LastEventId,
    head: HeadRequest,
    api: Api,
) -> Result<EventsAnswer, Refusal> {
    let (caller, id, query) = (caller.0, id.0, query.0);
    match accept.0 {
        Representation::Json => page(&api, caller, id, query).await.map(EventsAnswer::Page),
        Representation::EventStream => {
            let (text, refusal) = match (last.0, query.last_event_id) {
                (Some(text), _) => (Some(text), bad_position(Fault::in_header, LAST_EVENT_ID)),
                (None, text) => (text, bad_position(Fault::in_parameter, "last_event_id")),
            };
            let after = match text.as_deref().map(sequence) {
                Some(Some(after)) => after,
                Some(None) => return Err(refusal),
                None => Sequence::START,
            };
            let place = if head.0 {
                Place::UNCOUNTED
            } else {
                api.places().take(&caller)?
            };
            let follow = api.services().follow.clone();
            let followed = api
                .run(async move { follow.run(&caller, id, after).await })
                .await
                .map_err(|error| match error.code() {
                    ErrorCode::InvalidCursor => refusal,
                    _ => error,
                })?;
            let start = match after {
                Sequence::START => StreamStart::First,
                _ => StreamStart::Resumed,
            };
            Ok(EventsAnswer::Stream(respond(
                &api, id, start, followed, head, place,
            )))
        }
    }
}

/// The refusal of a stream's position, with the place where it stands.
fn bad_position(fault: fn(&'static str, &'static str) -> Fault, place: &'static str) -> Refusal {
    Refusal::new(ErrorCode::InvalidCursor)
        .message("The position does not fit this stream.")
        .faults(vec![fault(
            place,
            "must be a number from 0 to the last sequence",
        )])
}

/// A decimal number: digits alone, no sign.
fn sequence(text: &str) -> Option<Sequence> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    Sequence::new(is_number.then(|| text.parse().ok()).flatten()?)
}

async fn page(
    api: &Api,
    caller: deed_domain::caller::Caller,
    id: ActionId,
    query: EventQuery,
) -> Result<Answer<Page<EventBody>>, Refusal> {
    let path = format!("/actions/{id}/events");
    let list = List {
        path: &path,
        name: ListName::new("events", &caller).filter("action", Some(id)),
    };
    let page = list.page(api, query.limit, query.cursor.as_deref(), sequence)?;
    let after = page.after.unwrap_or(Sequence::START);
    let read = api.services().read_actions.clone();
    let found = api
        .run(async move { read.events(&caller, id, after, page.limit).await })
        .await?;
    let end = found.events.last().map(|event| event.seq);
    let next = end
        .filter(|end| *end < found.last)
        .map(|end| end.to_string());
    let items = found
        .events
        .into_iter()
        .map(render)
        .collect::<Result<_, _>>()?;
    list.answer(api, items, next, query, |query, cursor| EventQuery {
        cursor: Some(cursor),
        ..query
    })
}

fn render(event: Event) -> Result<EventBody, Refusal> {
    let Event {
        seq,
        name,
        at,
        data,
    } = event;
    Ok(EventBody {
        seq: seq.get(),
        event: name.as_str().to_owned(),
        at,
        data: raw(&data)?,
    })
}

/// The stream, 204 at the log's end, or the headers alone.
fn respond(
    api: &Api,
    action: ActionId,
    start: StreamStart,
    followed: Followed,
    head: HeadRequest,
    place: Place,
) -> HttpResponse {
    let events = match followed {
        Followed::AtEnd => return HttpResponse::NoContent().finish(),
        Followed::Events(events) => events,
    };
    let mut response = HttpResponse::Ok();
    response
        .insert_header((header::CONTENT_TYPE, "text/event-stream"))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header(("X-Accel-Buffering", "no"));
    if head.0 {
        // No body is sent after HEAD; an empty stream keeps the headers those of GET.
        return response.streaming(stream::empty::<Result<Bytes, Infallible>>());
    }
    response.streaming(feed::start(api, action, start, events, place))
}

/// What GET `/actions/{id}/events` answers.
pub(crate) enum EventsAnswer {
    Page(Answer<Page<EventBody>>),
    Stream(HttpResponse),
}

impl Responder for EventsAnswer {
    type Body = actix_web::body::BoxBody;

    fn respond_to(self, request: &HttpRequest) -> HttpResponse {
        match self {
            Self::Page(page) => page.respond_to(request),
            Self::Stream(response) => response,
        }
    }
}

impl ApiComponent for EventsAnswer {
    fn child_schemas() -> Vec<(String, ReferenceOr<apistos::Schema>)> {
        Page::<EventBody>::child_schemas()
    }

    fn schema() -> Option<(String, ReferenceOr<apistos::Schema>)> {
        Page::<EventBody>::schema()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_a_decimal_number() {
        let check = |text: &str, expected: Option<u32>| {
            assert_eq!(sequence(text).map(Sequence::get), expected, "{text}");
        };
        check("0", Some(0));
        check("17", Some(17));
        check("007", Some(7));
        check("2147483647", Some(2_147_483_647));
        for wrong in [
            "",
            "-1",
            "+1",
            "1.0",
            "x",
            " 1",
            "2147483648",
            "99999999999999999999",
        ] {
            check(wrong, None);
        }
    }
}
