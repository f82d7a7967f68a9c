//! `/action-types`.

use std::time::Duration;

use apistos::api_operation;
use deed_api::action_type::{ActionTypeBody, ActionTypeQuery, PerformedBy, RetryBody};
use deed_api::page::Page;
use deed_domain::action::{ActionType, ActionTypeName, PerformedBy as Performer};

use crate::answer::Answer;
use crate::app::Api;
use crate::cursor::ListName;
use crate::extract::caller::CanReadActions;
use crate::extract::{Caller, NoQuery, PathName, Query};
use crate::json::raw;
use crate::list::List;
use crate::openapi::operation::{Content, Example, Operation, Success, Tag};
use crate::problem::{ErrorCode, Refusal};

const PATH: &str = "/action-types";

const EXAMPLE: &str = r#"{"name":"echo","performed_by":"handler","input_schema":{"type":"object","required":["text"]},"max_attempts":3,"attempt_timeout_seconds":300,"lease_seconds":30,"retry":{"initial_seconds":1,"factor":2,"max_seconds":300}}"#;
const EXAMPLE_PAGE: &str = r#"{"items":[{"name":"echo","performed_by":"handler","input_schema":{"type":"object","required":["text"]},"max_attempts":3,"attempt_timeout_seconds":300,"lease_seconds":30,"retry":{"initial_seconds":1,"factor":2,"max_seconds":300}}],"next_cursor":null}"#;

pub(crate) const LIST: Operation = Operation {
    id: "listActionTypes",
    summary: "List action types",
    description: "The operations that can be asked for, by name; those that the key's scopes reach.",
    tag: Tag::ActionTypes,
    success: &[Success {
        status: 200,
        description: "A page of action types.",
        headers: &["Link"],
        content: Content::Json,
        example: Example::Json(EXAMPLE_PAGE),
        links: &[],
    }],
    errors: &[ErrorCode::InvalidCursor],
    request_example: None,
};

/// GET `/action-types`.
#[api_operation(operation_id = "listActionTypes")]
pub(crate) async fn list(
    caller: Caller<CanReadActions>,
    query: Query<ActionTypeQuery>,
    api: Api,
) -> Result<Answer<Page<ActionTypeBody>>, Refusal> {
    let (caller, query) = (caller.caller, query.0);
    let list = List {
        path: PATH,
        name: ListName::new("action-types", &caller),
    };
    let page = list.page(&api, query.limit, query.cursor.as_deref(), |name| {
        ActionTypeName::parse(name).ok()
    })?;
    let read = api.services().read_actions.clone();
    let types = api.run(async move { read.types(&caller).await }).await?;
    // They are few and come by name, so the page is cut here.
    let mut rest = types
        .into_iter()
        .filter(|kind| page.after.as_ref().is_none_or(|after| kind.name > *after));
    let items: Vec<ActionType> = rest.by_ref().take(page.limit.as_usize()).collect();
    let next = rest
        .next()
        .and_then(|_| items.last().map(|last| last.name.to_string()));
    let items = items.into_iter().map(render).collect::<Result<_, _>>()?;
    list.answer(&api, items, next, query, |query, cursor| ActionTypeQuery {
        cursor: Some(cursor),
        ..query
    })
}

pub(crate) const FIND: Operation = Operation {
    id: "getActionType",
    summary: "Get an action type",
    description: "An operation with its input schema, limits and retry policy.",
    tag: Tag::ActionTypes,
    success: &[Success {
        status: 200,
        description: "The action type.",
        headers: &[],
        content: Content::Json,
        example: Example::Json(EXAMPLE),
        links: &[],
    }],
    errors: &[ErrorCode::ActionTypeNotFound],
    request_example: None,
};

/// GET `/action-types/{name}`.
#[api_operation(operation_id = "getActionType")]
pub(crate) async fn find(
    caller: Caller<CanReadActions>,
    _: NoQuery,
    name: PathName,
    api: Api,
) -> Result<Answer<ActionTypeBody>, Refusal> {
    let caller = caller.caller;
    // What can't be a name names no type.
    let name = ActionTypeName::parse(name.as_str())
        .map_err(|_| Refusal::new(ErrorCode::ActionTypeNotFound))?;
    let read = api.services().read_actions.clone();
    let found = api
        .run(async move { read.find_type(&caller, &name).await })
        .await?;
    Ok(Answer::ok(render(found)?))
}

fn render(action_type: ActionType) -> Result<ActionTypeBody, Refusal> {
    let ActionType {
        name,
        performed_by,
        input_schema,
        max_attempts,
        attempt_timeout,
        lease,
        retry,
    } = action_type;
    Ok(ActionTypeBody {
        name: name.as_str().to_owned(),
        performed_by: match performed_by {
            Performer::Handler => PerformedBy::Handler,
            Performer::Workers => PerformedBy::Workers,
        },
        input_schema: input_schema.as_ref().map(raw).transpose()?,
        max_attempts,
        attempt_timeout_seconds: seconds(attempt_timeout),
        lease_seconds: seconds(lease),
        retry: RetryBody {
            initial_seconds: retry.initial().as_secs_f64(),
            factor: retry.factor(),
            max_seconds: retry.max().as_secs_f64(),
        },
    })
}

fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}
