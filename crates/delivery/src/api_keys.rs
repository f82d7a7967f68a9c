//! `/api-keys`.

use actix_web::http::{StatusCode, header};
use apistos::api_operation;
use deed_api::api_key::{ApiKeyBody, ApiKeyQuery, CreateApiKey, IssuedApiKeyBody};
use deed_api::page::Page;
use deed_api::problem::Fault;
use deed_domain::api_key::{ApiKey, KeyName};
use deed_domain::id::ApiKeyId;
use deed_domain::scope::{Scope, ScopeSet};
use deed_domain::service::KeyRequest;

use crate::answer::{Answer, Nothing};
use crate::app::Api;
use crate::cursor::ListName;
use crate::extract::caller::{AnyKey, CanReadKeys, CanWriteKeys};
use crate::extract::{Caller, NoQuery, PathId, Query, Valid};
use crate::list::List;
use crate::openapi::operation::{Content, Example, Link, Operation, Success, Tag};
use crate::problem::{ErrorCode, Refusal};

const PATH: &str = "/api-keys";

const EXAMPLE: &str = r#"{"id":"0198c0de-0000-7000-8000-0000000000b1","user_id":"0198c0de-0000-7000-8000-0000000000a1","name":"laptop","scopes":["actions:read","actions:write"],"created_at":"2026-01-31T10:00:00Z","expires_at":null,"revoked_at":null,"last_used_at":"2026-01-31T10:05:00Z"}"#;
const EXAMPLE_ISSUED: &str = r#"{"id":"0198c0de-0000-7000-8000-0000000000b1","user_id":"0198c0de-0000-7000-8000-0000000000a1","name":"laptop","scopes":["actions:read","actions:write"],"created_at":"2026-01-31T10:00:00Z","expires_at":null,"revoked_at":null,"last_used_at":null,"secret":"deedk_…"}"#;
const EXAMPLE_PAGE: &str = r#"{"items":[{"id":"0198c0de-0000-7000-8000-0000000000b1","user_id":"0198c0de-0000-7000-8000-0000000000a1","name":"laptop","scopes":["actions:read","actions:write"],"created_at":"2026-01-31T10:00:00Z","expires_at":null,"revoked_at":null,"last_used_at":null}],"next_cursor":null}"#;

const TO_KEY: &[Link] = &[
    Link {
        operation: "getApiKey",
        id: "$response.body#/id",
    },
    Link {
        operation: "revokeApiKey",
        id: "$response.body#/id",
    },
];

const TO_FIRST: &[Link] = &[Link {
    operation: "getApiKey",
    id: "$response.body#/items/0/id",
}];

pub(crate) const CREATE: Operation = Operation {
    id: "createApiKey",
    summary: "Issue an API key",
    description: "Issues a key for the user that the caller acts for. Its scopes are a subset of the caller's. The \
        answer holds the secret, this once; for that reason no `Idempotency-Key` is honoured here.",
    tag: Tag::ApiKeys,
    success: &[Success {
        status: 201,
        description: "The key with its secret.",
        headers: &["Location"],
        content: Content::Json,
        example: Example::Json(EXAMPLE_ISSUED),
        links: TO_KEY,
    }],
    errors: &[ErrorCode::UserRequired],
    request_example: Some(r#"{"name":"laptop","scopes":["actions:read","actions:write"]}"#),
    deprecated: None,
};

/// POST `/api-keys`.
#[api_operation(operation_id = "createApiKey")]
pub(crate) async fn create(
    caller: Caller<CanWriteKeys>,
    _: NoQuery,
    body: Valid<CreateApiKey>,
    api: Api,
) -> Result<Answer<IssuedApiKeyBody>, Refusal> {
    let by = caller.attribution();
    let caller = caller.caller;
    let request = key_request(body.value)?;
    let issue = api.services().issue_key.clone();
    let issued = api
        .run(async move { issue.run(&caller, request, &by).await })
        .await?;
    let location = format!("{PATH}/{}", issued.key.id);
    let body = IssuedApiKeyBody {
        key: render(issued.key),
        secret: issued.secret.reveal().to_owned(),
    };
    Ok(Answer::new(StatusCode::CREATED, body).header(header::LOCATION, location))
}

fn key_request(body: CreateApiKey) -> Result<KeyRequest, Refusal> {
    let CreateApiKey {
        name,
        scopes,
        expires_at,
    } = body;
    let name =
        KeyName::parse(name).map_err(|error| Refusal::bad_pointer("#/name", error.to_string()))?;
    let mut faults = Vec::new();
    let mut parsed = Vec::new();
    for (index, scope) in scopes.iter().enumerate() {
        match scope.parse::<Scope>() {
            Ok(scope) => parsed.push(scope),
            Err(error) => faults.push(Fault::at_pointer(
                format!("#/scopes/{index}"),
                error.to_string(),
            )),
        }
    }
    if !faults.is_empty() {
        return Err(Refusal::new(ErrorCode::ValidationFailed).faults(faults));
    }
    let scopes = ScopeSet::of(parsed)
        .map_err(|error| Refusal::bad_pointer("#/scopes", error.to_string()))?;
    Ok(KeyRequest {
        name,
        scopes,
        expires_at,
    })
}

pub(crate) const LIST: Operation = Operation {
    id: "listApiKeys",
    summary: "List API keys",
    description: "The keys of the user that the caller acts for, newest first, revoked and expired ones too.",
    tag: Tag::ApiKeys,
    success: &[Success {
        status: 200,
        description: "A page of keys.",
        headers: &["Link"],
        content: Content::Json,
        example: Example::Json(EXAMPLE_PAGE),
        links: TO_FIRST,
    }],
    errors: &[ErrorCode::InvalidCursor],
    request_example: None,
    deprecated: None,
};

/// GET `/api-keys`.
#[api_operation(operation_id = "listApiKeys")]
pub(crate) async fn list(
    caller: Caller<CanReadKeys>,
    query: Query<ApiKeyQuery>,
    api: Api,
) -> Result<Answer<Page<ApiKeyBody>>, Refusal> {
    let (caller, query) = (caller.caller, query.0);
    let list = List {
        path: PATH,
        name: ListName::new("api-keys", &caller),
    };
    let page = list.page(&api, query.limit, query.cursor.as_deref(), |id| {
        id.parse::<ApiKeyId>().ok()
    })?;
    let keys = api.services().manage_keys.clone();
    let page = api
        .run(async move { keys.list(&caller, page).await })
        .await?;
    let items = page.items.into_iter().map(render).collect();
    let next = page.next.map(|id| id.to_string());
    list.answer(&api, items, next, query, |query, cursor| ApiKeyQuery {
        cursor: Some(cursor),
        ..query
    })
}

pub(crate) const CURRENT: Operation = Operation {
    id: "getCurrentApiKey",
    summary: "The key in use",
    description: "The key that this request carries. The root key is none.",
    tag: Tag::ApiKeys,
    success: &[Success {
        status: 200,
        description: "The key.",
        headers: &[],
        content: Content::Json,
        example: Example::Json(EXAMPLE),
        links: TO_KEY,
    }],
    errors: &[ErrorCode::UserRequired],
    request_example: None,
    deprecated: None,
};

/// GET `/api-keys/current`.
#[api_operation(operation_id = "getCurrentApiKey")]
pub(crate) async fn current(
    caller: Caller<AnyKey>,
    _: NoQuery,
    api: Api,
) -> Result<Answer<ApiKeyBody>, Refusal> {
    let caller = caller.caller;
    let keys = api.services().manage_keys.clone();
    let key = api.run(async move { keys.current(&caller).await }).await?;
    Ok(Answer::ok(render(key)))
}

pub(crate) const FIND: Operation = Operation {
    id: "getApiKey",
    summary: "Get an API key",
    description: "A key of the user that the caller acts for. Never its secret.",
    tag: Tag::ApiKeys,
    success: &[Success {
        status: 200,
        description: "The key.",
        headers: &[],
        content: Content::Json,
        example: Example::Json(EXAMPLE),
        links: &[],
    }],
    errors: &[ErrorCode::ApiKeyNotFound],
    request_example: None,
    deprecated: None,
};

/// GET `/api-keys/{id}`.
#[api_operation(operation_id = "getApiKey")]
pub(crate) async fn find(
    caller: Caller<CanReadKeys>,
    _: NoQuery,
    id: PathId<ApiKeyId>,
    api: Api,
) -> Result<Answer<ApiKeyBody>, Refusal> {
    let (caller, id) = (caller.caller, id.0);
    let keys = api.services().manage_keys.clone();
    let key = api.run(async move { keys.find(&caller, id).await }).await?;
    Ok(Answer::ok(render(key)))
}

pub(crate) const REVOKE: Operation = Operation {
    id: "revokeApiKey",
    summary: "Revoke an API key",
    description: "From now on the key is refused everywhere, open streams included. Revoking twice is no error.",
    tag: Tag::ApiKeys,
    success: &[Success {
        status: 204,
        description: "It is revoked.",
        headers: &[],
        content: Content::Empty,
        example: Example::None,
        links: &[],
    }],
    errors: &[ErrorCode::ApiKeyNotFound],
    request_example: None,
    deprecated: None,
};

/// DELETE `/api-keys/{id}`.
#[api_operation(operation_id = "revokeApiKey")]
pub(crate) async fn revoke(
    caller: Caller<CanWriteKeys>,
    _: NoQuery,
    id: PathId<ApiKeyId>,
    api: Api,
) -> Result<Answer<Nothing>, Refusal> {
    let by = caller.attribution();
    let (caller, id) = (caller.caller, id.0);
    let keys = api.services().manage_keys.clone();
    api.run(async move { keys.revoke(&caller, id, &by).await })
        .await?;
    Ok(Answer::no_content())
}

/// A key as it is answered.
#[must_use]
pub fn render(key: ApiKey) -> ApiKeyBody {
    let ApiKey {
        id,
        user_id,
        name,
        scopes,
        created_at,
        expires_at,
        revoked_at,
        last_used_at,
    } = key;
    ApiKeyBody {
        id: id.as_uuid(),
        user_id: user_id.as_uuid(),
        name: name.as_str().to_owned(),
        scopes: scopes.iter().map(ToString::to_string).collect(),
        created_at,
        expires_at,
        revoked_at,
        last_used_at,
    }
}
