//! `/action-types`.

use std::time::Duration;

use actix_web::http::{StatusCode, header};
use apistos::api_operation;
use deed_api::action_type::{
    ActionTypeBody, ActionTypeQuery, PerformedBy, PutActionType, PutRetry, RetryBody,
};
use deed_api::page::Page;
use deed_domain::action::{
    ActionType, ActionTypeName, Concurrency, Payload, PerformedBy as Performer, RetryPolicy,
};

use crate::answer::{Answer, Nothing};
use crate::app::Api;
use crate::cursor::ListName;
use crate::extract::caller::{CanReadActions, CanWriteTypes};
use crate::extract::{Caller, NoQuery, PathName, Query, Valid};
use crate::json::raw;
use crate::list::List;
use crate::openapi::operation::{Content, Example, Link, Operation, Success, Tag};
use crate::problem::{ErrorCode, Refusal};

const PATH: &str = "/action-types";

const EXAMPLE: &str = r#"{"name":"echo","performed_by":"handler","input_schema":{"type":"object","required":["text"]},"max_attempts":3,"attempt_timeout_seconds":300,"lease_seconds":30,"time_limit_seconds":null,"max_running":null,"max_running_per_user":null,"max_running_per_replica":null,"retry":{"initial_seconds":1,"factor":2,"max_seconds":300}}"#;
const EXAMPLE_PAGE: &str = r#"{"items":[{"name":"echo","performed_by":"handler","input_schema":{"type":"object","required":["text"]},"max_attempts":3,"attempt_timeout_seconds":300,"lease_seconds":30,"time_limit_seconds":null,"max_running":null,"max_running_per_user":null,"max_running_per_replica":null,"retry":{"initial_seconds":1,"factor":2,"max_seconds":300}}],"next_cursor":null}"#;

const EXAMPLE_PUT: &str = r#"{"input_schema":{"type":"object","required":["page"]},"max_attempts":5,"lease_seconds":20,"time_limit_seconds":86400,"max_running":20,"max_running_per_user":2}"#;
const EXAMPLE_WORKERS: &str = r#"{"name":"report.render","performed_by":"workers","input_schema":{"type":"object","required":["page"]},"max_attempts":5,"attempt_timeout_seconds":300,"lease_seconds":20,"time_limit_seconds":86400,"max_running":20,"max_running_per_user":2,"max_running_per_replica":null,"retry":{"initial_seconds":1,"factor":2,"max_seconds":300}}"#;

const TO_FIRST: &[Link] = &[Link {
    operation: "getActionType",
    id: "$response.body#/items/0/name",
}];
const TO_TYPE: &[Link] = &[
    Link {
        operation: "getActionType",
        id: "$response.body#/name",
    },
    Link {
        operation: "putActionType",
        id: "$response.body#/name",
    },
    Link {
        operation: "deleteActionType",
        id: "$response.body#/name",
    },
];

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
        links: TO_FIRST,
    }],
    errors: &[ErrorCode::InvalidCursor],
    request_example: None,
    deprecated: None,
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
    deprecated: None,
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

pub(crate) const PUT: Operation = Operation {
    id: "putActionType",
    summary: "Define an action type",
    description: "Defines an operation that workers perform, in place of what was defined before: what is left out \
        has its default. Actions that were accepted before keep their number of attempts and their time limit.",
    tag: Tag::ActionTypes,
    success: &[
        Success {
            status: 201,
            description: "The type is new.",
            headers: &["Location"],
            content: Content::Json,
            example: Example::Json(EXAMPLE_WORKERS),
            links: TO_TYPE,
        },
        Success {
            status: 200,
            description: "The type was there before.",
            headers: &[],
            content: Content::Json,
            example: Example::Json(EXAMPLE_WORKERS),
            links: TO_TYPE,
        },
    ],
    errors: &[ErrorCode::TypeHasHandler],
    request_example: Some(EXAMPLE_PUT),
    deprecated: None,
};

/// PUT `/action-types/{name}`.
#[api_operation(operation_id = "putActionType")]
pub(crate) async fn put(
    caller: Caller<CanWriteTypes>,
    _: NoQuery,
    name: PathName,
    body: Valid<PutActionType>,
    api: Api,
) -> Result<Answer<ActionTypeBody>, Refusal> {
    let caller = caller.caller;
    let name = ActionTypeName::parse(name.as_str())
        .map_err(|error| Refusal::bad_parameter("name", error.to_string()))?;
    let action_type = read(name, body.value)?;
    let define = api.services().define_types.clone();
    let defined = action_type.clone();
    let is_new = api
        .run(async move { define.define(&caller, &defined).await })
        .await?;
    let location = format!("{PATH}/{}", action_type.name);
    let body = render(action_type)?;
    Ok(match is_new {
        true => Answer::new(StatusCode::CREATED, body).header(header::LOCATION, location),
        false => Answer::ok(body),
    })
}

pub(crate) const REMOVE: Operation = Operation {
    id: "deleteActionType",
    summary: "Remove an action type",
    description: "Removes an operation that workers perform, once none of its actions waits or runs. What is over \
        stays readable.",
    tag: Tag::ActionTypes,
    success: &[Success {
        status: 204,
        description: "The type is gone.",
        headers: &[],
        content: Content::Empty,
        example: Example::None,
        links: &[],
    }],
    errors: &[
        ErrorCode::ActionTypeNotFound,
        ErrorCode::TypeHasHandler,
        ErrorCode::TypeHasActions,
    ],
    request_example: None,
    deprecated: None,
};

/// DELETE `/action-types/{name}`.
#[api_operation(operation_id = "deleteActionType")]
pub(crate) async fn remove(
    caller: Caller<CanWriteTypes>,
    _: NoQuery,
    name: PathName,
    api: Api,
) -> Result<Answer<Nothing>, Refusal> {
    let caller = caller.caller;
    let name = ActionTypeName::parse(name.as_str())
        .map_err(|_| Refusal::new(ErrorCode::ActionTypeNotFound))?;
    let define = api.services().define_types.clone();
    api.run(async move { define.remove(&caller, &name).await })
        .await?;
    Ok(Answer::no_content())
}

fn read(name: ActionTypeName, body: PutActionType) -> Result<ActionType, Refusal> {
    let PutActionType {
        input_schema,
        max_attempts,
        attempt_timeout_seconds,
        lease_seconds,
        time_limit_seconds,
        max_running,
        max_running_per_user,
        retry,
    } = body;
    let usual = ActionType::new(name, Performer::Workers);
    let PutRetry {
        initial_seconds,
        factor,
        max_seconds,
    } = retry.unwrap_or_default();
    let seconds = |seconds: Option<u32>, usual| {
        seconds.map_or(usual, |seconds| Duration::from_secs(seconds.into()))
    };
    let pause = |seconds: Option<f64>, usual| {
        seconds
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            .unwrap_or(usual)
    };
    Ok(ActionType {
        input_schema: input_schema
            .map(|schema| Payload::parse(schema.get()))
            .transpose()
            .map_err(|error| Refusal::bad_pointer("#/input_schema", error.to_string()))?,
        max_attempts: max_attempts.unwrap_or(usual.max_attempts),
        attempt_timeout: seconds(attempt_timeout_seconds, usual.attempt_timeout),
        lease: seconds(lease_seconds, usual.lease),
        retry: RetryPolicy::new(
            pause(initial_seconds, usual.retry.initial()),
            factor.unwrap_or(usual.retry.factor()),
            pause(max_seconds, usual.retry.max()),
        ),
        time_limit: time_limit_seconds.map(|seconds| Duration::from_secs(seconds.into())),
        concurrency: Concurrency {
            total: max_running,
            per_user: max_running_per_user,
            per_replica: None,
        },
        ..usual
    })
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
        time_limit,
        concurrency,
    } = action_type;
    let Concurrency {
        total,
        per_user,
        per_replica,
    } = concurrency;
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
        time_limit_seconds: time_limit.map(seconds),
        max_running: total,
        max_running_per_user: per_user,
        max_running_per_replica: per_replica,
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
