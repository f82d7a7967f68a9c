//! `/users`.

use actix_web::http::{StatusCode, header};
use apistos::api_operation;
use deed_api::page::Page;
use deed_api::user::{CreateUser, MeBody, PatchUser, UserBody, UserQuery, UserStatus};
use deed_domain::email::Email;
use deed_domain::id::UserId;
use deed_domain::password::Password;
use deed_domain::service::Registration;
use deed_domain::user::{
    DisplayName, ExternalId, User, UserChange, UserFilter, UserStatus as Status,
};

use crate::answer::Answer;
use crate::app::Api;
use crate::cursor::ListName;
use crate::etag::ETag;
use crate::extract::caller::{AnyKey, CanReadUsers, CanReadUsersOrIsMe, CanWriteUsers};
use crate::extract::{Caller, Conditions, Idempotent, NoQuery, PathId, Query, Registrar, Valid};
use crate::list::List;
use crate::openapi::operation::{Content, Example, Link, Operation, Success, Tag};
use crate::problem::{ErrorCode, Refusal};

const PATH: &str = "/users";

pub(crate) const EXAMPLE: &str = r#"{"id":"0198c0de-0000-7000-8000-0000000000a1","email":"ada@example.com","name":"Ada Lovelace","status":"active","external_id":null,"created_at":"2026-01-31T10:00:00Z","updated_at":"2026-01-31T10:00:00Z"}"#;
const EXAMPLE_PAGE: &str = r#"{"items":[{"id":"0198c0de-0000-7000-8000-0000000000a1","email":"ada@example.com","name":"Ada Lovelace","status":"active","external_id":null,"created_at":"2026-01-31T10:00:00Z","updated_at":"2026-01-31T10:00:00Z"}],"next_cursor":null}"#;
const EXAMPLE_ME: &str = r#"{"id":"0198c0de-0000-7000-8000-0000000000a1","email":"ada@example.com","name":"Ada Lovelace","status":"active","external_id":null,"created_at":"2026-01-31T10:00:00Z","updated_at":"2026-01-31T10:00:00Z","scopes":["actions:read","actions:write"]}"#;

const TO_USER: &[Link] = &[
    Link {
        operation: "getUser",
        id: "$response.body#/id",
    },
    Link {
        operation: "updateUser",
        id: "$response.body#/id",
    },
];

const TO_FIRST: &[Link] = &[Link {
    operation: "getUser",
    id: "$response.body#/items/0/id",
}];

pub(crate) const CREATE: Operation = Operation {
    id: "createUser",
    summary: "Register a user",
    description: "Registers an account. Where the operator has opened registration, no key is needed. With an `Idempotency-Key` the same request again answers the same user.",
    tag: Tag::Users,
    success: &[Success {
        status: 201,
        description: "The user.",
        headers: &["Location", "ETag", "Idempotency-Replayed"],
        content: Content::Json,
        example: Example::Json(EXAMPLE),
        links: TO_USER,
    }],
    errors: &[
        ErrorCode::UserAlreadyExists,
        ErrorCode::ExternalIdTaken,
        ErrorCode::IdempotencyInFlight,
        ErrorCode::IdempotencyKeyReused,
        ErrorCode::Overloaded,
    ],
    request_example: Some(
        r#"{"email":"ada@example.com","name":"Ada Lovelace","password":"correct horse battery"}"#,
    ),
    deprecated: None,
};

/// POST `/users`.
#[api_operation(operation_id = "createUser")]
pub(crate) async fn create(
    registrar: Registrar,
    _: NoQuery,
    key: Idempotent,
    body: Valid<CreateUser>,
    api: Api,
) -> Result<Answer<UserBody>, Refusal> {
    let idempotency = api.idempotency(registrar.0.as_ref(), PATH, key.0, &body.bytes);
    let registration = registration(body.value, &api)?;
    let by = registrar.attribution();
    let register = api.services().register_user.clone();
    let registered = api
        .run(async move { register.run(registration, &by, idempotency).await })
        .await?;
    let location = format!("{PATH}/{}", registered.user.id);
    let tag = ETag::of_user(registered.user.version());
    Ok(Answer::new(StatusCode::CREATED, render(registered.user))
        .tagged(&tag)
        .header(header::LOCATION, location)
        .replayed(registered.is_replay))
}

fn registration(body: CreateUser, api: &Api) -> Result<Registration, Refusal> {
    let CreateUser {
        email,
        name,
        password,
        external_id,
    } = body;
    let policy = api.settings().limits.password;
    Ok(Registration {
        email: Email::parse(&email).map_err(at("#/email"))?,
        name: DisplayName::parse(name).map_err(at("#/name"))?,
        password: Password::parse(password, policy).map_err(at("#/password"))?,
        external_id: external_id
            .map(ExternalId::parse)
            .transpose()
            .map_err(at("#/external_id"))?,
    })
}

pub(crate) const LIST: Operation = Operation {
    id: "listUsers",
    summary: "List users",
    description: "Users, newest first. The filters are exact and must all hold.",
    tag: Tag::Users,
    success: &[Success {
        status: 200,
        description: "A page of users.",
        headers: &["Link"],
        content: Content::Json,
        example: Example::Json(EXAMPLE_PAGE),
        links: TO_FIRST,
    }],
    errors: &[ErrorCode::InvalidCursor],
    request_example: None,
    deprecated: None,
};

/// GET `/users`.
#[api_operation(operation_id = "listUsers")]
pub(crate) async fn list(
    caller: Caller<CanReadUsers>,
    query: Query<UserQuery>,
    api: Api,
) -> Result<Answer<Page<UserBody>>, Refusal> {
    let caller = caller.caller;
    let query = query.0;
    let filter = filter(&query)?;
    let list = List {
        path: PATH,
        name: ListName::new("users", &caller)
            .filter("email", filter.email.as_ref().map(Email::key))
            .filter("external_id", query.external_id.as_ref())
            .filter("status", filter.status.map(Status::as_str)),
    };
    let page = list.page(&api, query.limit, query.cursor.as_deref(), |id| {
        id.parse::<UserId>().ok()
    })?;
    let read = api.services().read_users.clone();
    let page = api
        .run(async move { read.list(&caller, &filter, page).await })
        .await?;
    let items = page.items.into_iter().map(render).collect();
    let next = page.next.map(|id| id.to_string());
    list.answer(&api, items, next, query, |query, cursor| UserQuery {
        cursor: Some(cursor),
        ..query
    })
}

fn filter(query: &UserQuery) -> Result<UserFilter, Refusal> {
    let UserQuery {
        email,
        external_id,
        status,
        limit: _,
        cursor: _,
    } = query;
    let wrong = |name: &'static str| {
        move |error: deed_domain::text::TextError| Refusal::bad_parameter(name, error.to_string())
    };
    Ok(UserFilter {
        email: email
            .as_deref()
            .map(Email::parse)
            .transpose()
            .map_err(wrong("email"))?,
        external_id: external_id
            .clone()
            .map(ExternalId::parse)
            .transpose()
            .map_err(wrong("external_id"))?,
        status: status.map(status_of),
    })
}

pub(crate) const ME: Operation = Operation {
    id: "getMe",
    summary: "The user that the caller acts for",
    description: "The user that this key acts for, with the key's scopes. The root key has none unless `X-User-ID` \
        names one.",
    tag: Tag::Users,
    success: &[Success {
        status: 200,
        description: "The user, with the key's scopes.",
        headers: &[],
        content: Content::Json,
        example: Example::Json(EXAMPLE_ME),
        links: TO_USER,
    }],
    errors: &[ErrorCode::UserRequired],
    request_example: None,
    deprecated: None,
};

/// GET `/users/me`.
#[api_operation(operation_id = "getMe")]
pub(crate) async fn me(
    caller: Caller<AnyKey>,
    _: NoQuery,
    api: Api,
) -> Result<Answer<MeBody>, Refusal> {
    let caller = caller.caller;
    let scopes = caller.scopes().iter().map(ToString::to_string).collect();
    let read = api.services().read_users.clone();
    let user = api.run(async move { read.me(&caller).await }).await?;
    Ok(Answer::ok(MeBody {
        user: render(user),
        scopes,
    }))
}

pub(crate) const FIND: Operation = Operation {
    id: "getUser",
    summary: "Get a user",
    description: "A user by id. For the user that the caller acts for, any scope will do. With \
        `If-None-Match` 304 while it is as it was.",
    tag: Tag::Users,
    success: &[
        Success {
            status: 200,
            description: "The user.",
            headers: &["ETag"],
            content: Content::Json,
            example: Example::Json(EXAMPLE),
            links: &[],
        },
        Success {
            status: 304,
            description: "The user is as `If-None-Match` says.",
            headers: &["ETag"],
            content: Content::Empty,
            example: Example::None,
            links: &[],
        },
    ],
    errors: &[ErrorCode::UserNotFound, ErrorCode::PreconditionFailed],
    request_example: None,
    deprecated: None,
};

/// GET `/users/{id}`.
#[api_operation(operation_id = "getUser")]
pub(crate) async fn find(
    caller: Caller<CanReadUsersOrIsMe>,
    _: NoQuery,
    id: PathId<UserId>,
    conditions: Conditions,
    api: Api,
) -> Result<Answer<UserBody>, Refusal> {
    let (caller, id) = (caller.caller, id.0);
    let read = api.services().read_users.clone();
    let user = api.run(async move { read.find(&caller, id).await }).await?;
    let tag = ETag::of_user(user.version());
    Answer::if_wanted(&conditions, &tag, render(user))
}

pub(crate) const CHANGE: Operation = Operation {
    id: "updateUser",
    summary: "Change a user",
    description: "A merge patch: what is absent stays as it is, and null takes `external_id` away. Changing `email` \
        also needs the scope `users:credentials`. A disabled user's keys are refused, and nobody can act for it. With \
        the user's `ETag` in `If-Match` it is changed only if nobody else has changed it since: of several such \
        requests at once one is served, and the others are answered 412.",
    tag: Tag::Users,
    success: &[Success {
        status: 200,
        description: "The user as it is now.",
        headers: &["ETag"],
        content: Content::Json,
        example: Example::Json(EXAMPLE),
        links: TO_USER,
    }],
    errors: &[
        ErrorCode::UserNotFound,
        ErrorCode::PreconditionFailed,
        ErrorCode::UserAlreadyExists,
        ErrorCode::ExternalIdTaken,
    ],
    request_example: Some(r#"{"name":"Ada King","external_id":"crm-17"}"#),
    deprecated: None,
};

/// PATCH `/users/{id}`.
#[api_operation(operation_id = "updateUser")]
pub(crate) async fn change(
    caller: Caller<CanWriteUsers>,
    _: NoQuery,
    id: PathId<UserId>,
    conditions: Conditions,
    body: Valid<PatchUser>,
    api: Api,
) -> Result<Answer<UserBody>, Refusal> {
    let by = caller.attribution();
    let (caller, id) = (caller.caller, id.0);
    let change = user_change(body.value)?;
    let condition = conditions.of_user();
    let service = api.services().change_user.clone();
    let user = api
        .run(async move { service.run(&caller, id, &change, &condition, &by).await })
        .await?;
    let tag = ETag::of_user(user.version());
    Ok(Answer::ok(render(user)).tagged(&tag))
}

fn user_change(patch: PatchUser) -> Result<UserChange, Refusal> {
    let PatchUser {
        email,
        name,
        status,
        external_id,
    } = patch;
    Ok(UserChange {
        email: email
            .as_deref()
            .map(Email::parse)
            .transpose()
            .map_err(at("#/email"))?,
        name: name
            .map(DisplayName::parse)
            .transpose()
            .map_err(at("#/name"))?,
        status: status.map(status_of),
        external_id: external_id
            .map(|id| id.map(ExternalId::parse).transpose())
            .transpose()
            .map_err(at("#/external_id"))?,
    })
}

/// A limit that the extractor has checked already, said again at its place.
fn at(pointer: &'static str) -> impl FnOnce(deed_domain::text::TextError) -> Refusal {
    move |error| Refusal::bad_pointer(pointer, error.to_string())
}

const fn status_of(status: UserStatus) -> Status {
    match status {
        UserStatus::Active => Status::Active,
        UserStatus::Disabled => Status::Disabled,
    }
}

/// A user as it is answered.
#[must_use]
pub fn render(user: User) -> UserBody {
    let User {
        id,
        email,
        name,
        status,
        external_id,
        created_at,
        updated_at,
    } = user;
    UserBody {
        id: id.as_uuid(),
        email: email.as_str().to_owned(),
        name: name.as_str().to_owned(),
        status: match status {
            Status::Active => UserStatus::Active,
            Status::Disabled => UserStatus::Disabled,
        },
        external_id: external_id.map(|id| id.as_str().to_owned()),
        created_at,
        updated_at,
    }
}
