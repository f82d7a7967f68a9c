//! The OpenAPI 3.1 document: apistos' output, merged with what stands beside the handlers. Pure.
//!
//! apistos knows the routes, the handlers' types and their security; it writes OpenAPI 3.0. What it can't say
//! (answers with their headers, examples and links, errors, the two ways to send a key) is added here, and the
//! schemas are brought to the dialect of 3.1.

#![expect(
    clippy::indexing_slicing,
    reason = "an absent member of a JSON object reads as null and is made when it is written; the document is made \
              from this program alone, and tests make it"
)]

mod answers;
mod dialect;
pub(crate) mod operation;
mod parameters;
mod print;

use actix_web::test::TestRequest;
use apistos::app::OpenApiWrapper;
use apistos::info::{Contact, Info, License};
use apistos::spec::Spec;
use futures_util::FutureExt;
use schemars::JsonSchema;
use schemars::r#gen::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::extract::TICKET;
use crate::extract::caller::{ANY_KEY, OR_TICKET, SCHEME_PREFIX};
use crate::problem::ErrorCode;
use crate::routes;
use deed_api::problem::{MEDIA_TYPE, Problem};
use operation::{Content, Example, Operation, Success, Tag};

/// A document that could not be made: a bug in the tables that it is made from.
#[derive(Debug, thiserror::Error)]
#[error("the OpenAPI document can't be made: {0}")]
pub struct DocumentError(String);

/// The document as text: the same for the same program, in the order of the routes.
///
/// # Errors
/// [`DocumentError`], which a test rules out.
pub fn document() -> Result<String, DocumentError> {
    let found = described_by_apistos()?;
    let mut merged = merge(found, routes::OPERATIONS)?;
    answers::require_what_is_written(&mut merged)?;
    parameters::limit(&mut merged)?;
    dialect::to_3_1(&mut merged);
    Ok(print::print(&merged, &routes::PATHS))
}

fn failed(what: impl ToString) -> DocumentError {
    DocumentError(what.to_string())
}

/// apistos gives its document only through the route that it adds, so that route is asked, without a server. None of
/// the futures waits for anything.
fn described_by_apistos() -> Result<Value, DocumentError> {
    let spec = Spec {
        info: Info {
            title: "Deed".to_owned(),
            description: Some(ABOUT.to_owned()),
            contact: Some(Contact {
                name: Some("The Deed authors".to_owned()),
                ..Contact::default()
            }),
            license: Some(License {
                name: "MIT OR Apache-2.0".to_owned(),
                ..License::default()
            }),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..Info::default()
        },
        ..Spec::default()
    };
    let app = actix_web::App::new()
        .document(spec)
        .configure(routes::documented)
        .build("/-");
    let answer = async {
        let app = actix_web::test::init_service(app).await;
        let request = TestRequest::get().uri("/-").to_request();
        actix_web::test::call_and_read_body(&app, request).await
    };
    let bytes = answer
        .now_or_never()
        .ok_or_else(|| failed("apistos did not answer at once"))?;
    serde_json::from_slice(&bytes).map_err(failed)
}

/// One JSON value a line.
pub(crate) const NDJSON: &str = "application/x-ndjson";

const ABOUT: &str = "Users, API keys, durable actions and live, resumable streams.\n\n\
    Send your key in `X-API-Key`, or as `Authorization: Bearer`. Every answer from 400 up is a problem (RFC 9457) \
    whose `error` is a stable code. Lists are paged by cursor. `X-Request-Id` is on every answer.";

fn merge(mut document: Value, operations: &[&Operation]) -> Result<Value, DocumentError> {
    document["openapi"] = json!("3.1.0");
    document["jsonSchemaDialect"] = json!("https://spec.openapis.org/oas/3.1/dialect/base");
    document["info"]["license"] =
        json!({ "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" });
    document["servers"] = json!([{ "url": "/", "description": "This server." }]);
    document["tags"] = Tag::ALL
        .map(|tag| json!({ "name": tag.name(), "description": tag.description() }))
        .into();
    let mut shared = Shared::default();
    let paths = document["paths"]
        .as_object_mut()
        .ok_or_else(|| failed("no paths"))?;
    let mut left: Vec<&&Operation> = operations.iter().collect();
    for (path, item) in paths.iter_mut() {
        let item = item.as_object_mut().ok_or_else(|| failed(path))?;
        for (method, described) in item.iter_mut() {
            let id = described["operationId"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            let at = left
                .iter()
                .position(|operation| operation.id == id)
                .ok_or_else(|| failed(format!("{method} {path} ({id}) has no extras")))?;
            shared.complete(left.swap_remove(at), described)?;
        }
    }
    if let Some(operation) = left.first() {
        return Err(failed(format!("{} has no route", operation.id)));
    }
    shared.finish(&mut document)?;
    Ok(document)
}

/// The components that operations refer to.
#[derive(Default)]
struct Shared {
    responses: Map<String, Value>,
}

impl Shared {
    fn complete(
        &mut self,
        operation: &Operation,
        described: &mut Value,
    ) -> Result<(), DocumentError> {
        described["summary"] = json!(operation.summary);
        described["description"] = json!(operation.description);
        described["tags"] = json!([operation.tag.name()]);
        if let Some(object) = described.as_object_mut() {
            object.remove("deprecated");
        }
        let access = secure(described)?;
        let found = described["responses"]["200"]["content"]["application/json"]["schema"].take();
        let mut responses = Map::new();
        for success in operation.success {
            responses.insert(
                success.status.to_string(),
                answer(operation.id, success, &found)?,
            );
        }
        for (status, codes) in errors(operation, described, access) {
            responses.insert(status.to_string(), self.refer(&codes));
        }
        described["responses"] = Value::Object(responses);
        if let Some(example) = operation.request_example {
            let example: Value = serde_json::from_str(example).map_err(failed)?;
            let content = described["requestBody"]["content"].as_object_mut();
            for (kind, media) in content.into_iter().flatten() {
                let example = match kind == NDJSON {
                    true => lines(&example["events"]),
                    false => example.clone(),
                };
                media["examples"] = json!({ "example": { "value": example } });
            }
        }
        Ok(())
    }

    /// A reference to the shared response for these codes, which have one status.
    fn refer(&mut self, codes: &[ErrorCode]) -> Value {
        let name = codes
            .iter()
            .map(|code| code.entry().code)
            .collect::<Vec<_>>()
            .join(".");
        let reference = json!({ "$ref": format!("#/components/responses/{name}") });
        self.responses
            .entry(name)
            .or_insert_with(|| problem_response(codes));
        reference
    }

    fn finish(self, document: &mut Value) -> Result<(), DocumentError> {
        let mut generator = SchemaSettings::openapi3().into_generator();
        Problem::json_schema(&mut generator);
        let mut schemas = generator.into_root_schema_for::<Problem>();
        let components = &mut document["components"];
        components["responses"] = Value::Object(self.responses);
        let problem = serde_json::to_value(&schemas.schema).map_err(failed)?;
        components["schemas"]["Problem"] = problem;
        for (name, schema) in std::mem::take(&mut schemas.definitions) {
            components["schemas"][name] = serde_json::to_value(schema).map_err(failed)?;
        }
        components["headers"] = HEADERS
            .iter()
            .map(|(name, description)| {
                (
                    (*name).to_owned(),
                    json!({ "description": description, "schema": { "type": "string" } }),
                )
            })
            .collect::<Map<_, _>>()
            .into();
        components["securitySchemes"] = json!({
            "ApiKey": { "type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The secret of an API key, or the root key." },
            "StreamTicket": { "type": "apiKey", "in": "query", "name": TICKET, "description": "A ticket of `createStreamTicket`: for one request, within 60 seconds, for the event stream of one action. A request that carries one carries no key." },
            "Bearer": { "type": "http", "scheme": "bearer", "description": "The same secret, as a bearer token." },
        });
        Ok(())
    }
}

/// One line an item.
fn lines(items: &Value) -> Value {
    let items = items.as_array().into_iter().flatten();
    Value::String(items.map(|item| format!("{item}\n")).collect())
}

/// Who may call an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Public,
    AnyKey,
    Scope,
}

/// Expands the one requirement that apistos knows (`deed:users:read`) into the two ways to send a key, and the ticket
/// where one will do. The scope stands in `x-scope`: only OAuth has scopes in a requirement. An operation without one is marked `x-public`. A key is never
/// optional: that a server may be told to register strangers is a thing of its operator, and the document is the same
/// for all.
fn secure(described: &mut Value) -> Result<Access, DocumentError> {
    let found = described["security"].take();
    let mut access = Access::Public;
    let mut requirements = Vec::new();
    for requirement in found
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_object)
    {
        let Some(need) = requirement
            .keys()
            .next()
            .and_then(|name| name.strip_prefix(SCHEME_PREFIX))
        else {
            return Err(failed(format!("an unknown requirement: {requirement:?}")));
        };
        let (need, or_ticket) = match need.strip_suffix(OR_TICKET) {
            Some(need) => (need, true),
            None => (need, false),
        };
        if need == ANY_KEY {
            access = Access::AnyKey;
        } else {
            access = Access::Scope;
            described["x-scope"] = json!(need);
        }
        requirements.push(json!({ "ApiKey": [] }));
        requirements.push(json!({ "Bearer": [] }));
        if or_ticket {
            requirements.push(json!({ "StreamTicket": [] }));
        }
    }
    if access == Access::Public {
        described["x-public"] = json!(true);
    }
    described["security"] = Value::Array(requirements);
    Ok(access)
}

/// The errors of an operation, by status: its own, and those that come with what it takes.
fn errors(operation: &Operation, described: &Value, access: Access) -> Vec<(u16, Vec<ErrorCode>)> {
    let mut codes = operation.errors.to_vec();
    codes.extend([ErrorCode::TargetTooLong, ErrorCode::InternalError]);
    if described["requestBody"].is_object() {
        codes.extend([
            ErrorCode::BadRequest,
            ErrorCode::RequestTimeout,
            ErrorCode::MalformedJson,
            ErrorCode::ValidationFailed,
            ErrorCode::BodyTooLarge,
            ErrorCode::UnsupportedMediaType,
        ]);
    }
    if described["parameters"]
        .as_array()
        .is_some_and(|parameters| !parameters.is_empty())
    {
        codes.push(ErrorCode::ValidationFailed);
    }
    if access != Access::Public {
        codes.extend([
            ErrorCode::ValidationFailed,
            ErrorCode::InvalidApiKey,
            ErrorCode::ActAsNotAllowed,
            ErrorCode::UserDisabled,
            ErrorCode::UserNotFound,
            ErrorCode::Unavailable,
        ]);
    }
    if access == Access::Scope {
        codes.push(ErrorCode::InsufficientScope);
    }
    let mut by_status: Vec<(u16, Vec<ErrorCode>)> = Vec::new();
    for code in ErrorCode::ALL
        .iter()
        .copied()
        .filter(|code| codes.contains(code))
    {
        let status = code.entry().status.as_u16();
        match by_status.iter_mut().find(|(other, _)| *other == status) {
            Some((_, group)) => group.push(code),
            None => by_status.push((status, vec![code])),
        }
    }
    by_status
}

fn problem_response(codes: &[ErrorCode]) -> Value {
    let mut examples = Map::new();
    let mut headers = Map::new();
    for name in ON_EVERY_ANSWER {
        headers.insert(name.to_owned(), header_reference(name));
    }
    for code in codes {
        let entry = code.entry();
        for (name, _) in entry.headers() {
            if let Some((name, _)) = HEADERS
                .iter()
                .find(|(known, _)| known.eq_ignore_ascii_case(name.as_str()))
            {
                headers.insert((*name).to_owned(), header_reference(name));
            }
        }
        let value = json!({
            "error": entry.code,
            "message": entry.message,
            "type": format!("/problems/{}", entry.code),
            "title": entry.title,
            "status": entry.status.as_u16(),
            "instance": "/users",
            "request_id": "0198c0de-0000-7000-8000-000000000001",
        });
        examples.insert(
            entry.code.to_owned(),
            json!({ "summary": entry.title, "value": value }),
        );
    }
    let description = codes
        .iter()
        .map(|code| code.entry().meaning)
        .collect::<Vec<_>>()
        .join("\n\n");
    let schema = json!({ "$ref": "#/components/schemas/Problem" });
    json!({
        "description": description,
        "headers": headers,
        "content": { MEDIA_TYPE: { "schema": schema, "examples": examples } },
    })
}

/// The headers of every answer.
const ON_EVERY_ANSWER: [&str; 2] = ["X-Request-Id", "Cache-Control"];

/// Every header of an answer that the document names.
const HEADERS: [(&str, &str); 10] = [
    (
        "X-Request-Id",
        "Names the request; also on each of its log lines. One that the client sent is kept.",
    ),
    ("Location", "The path of what was made."),
    ("ETag", "Names this very representation."),
    (
        "Link",
        "`<…>; rel=\"next\"`: the next page, if there is one.",
    ),
    ("Retry-After", "After how many seconds to try again."),
    ("Preference-Applied", "Which preferences were honoured."),
    (
        "Idempotency-Replayed",
        "`true` when the same request was served before.",
    ),
    ("WWW-Authenticate", "How to authenticate."),
    (
        "Cache-Control",
        "Whether the answer may be kept: `no-store` on all that a key is needed for.",
    ),
    (
        "X-Accel-Buffering",
        "`no`: proxies are to pass the stream on at once.",
    ),
];

fn header_reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/headers/{name}") })
}

fn answer(operation: &str, success: &Success, found: &Value) -> Result<Value, DocumentError> {
    let mut answer = json!({ "description": success.description });
    let names = ON_EVERY_ANSWER.iter().chain(success.headers);
    answer["headers"] = names
        .map(|name| ((*name).to_owned(), header_reference(name)))
        .collect::<Map<_, _>>()
        .into();
    for name in success.headers {
        if !HEADERS.iter().any(|(known, _)| known == name) {
            return Err(failed(format!("{operation}: unknown header {name}")));
        }
    }
    let json_of = |text: &str| {
        serde_json::from_str::<Value>(text).map_err(|error| failed(format!("{operation}: {error}")))
    };
    let examples = |value: Value| json!({ "example": { "value": value } });
    let mut content = Map::new();
    if matches!(success.content, Content::Json | Content::JsonOrEventStream) {
        if found.is_null() {
            return Err(failed(format!("{operation}: no schema of its answer")));
        }
        let (Example::Json(text) | Example::JsonAndStream(text, _)) = success.example else {
            return Err(failed(format!("{operation}: no example of its answer")));
        };
        content.insert(
            "application/json".to_owned(),
            json!({ "schema": found, "examples": examples(json_of(text)?) }),
        );
    }
    if matches!(
        success.content,
        Content::EventStream | Content::JsonOrEventStream
    ) {
        let (Example::Text(text) | Example::JsonAndStream(_, text)) = success.example else {
            return Err(failed(format!("{operation}: no example of its stream")));
        };
        content.insert(
            "text/event-stream".to_owned(),
            json!({ "schema": { "type": "string" }, "examples": examples(json!(text)) }),
        );
    }
    match (success.content, success.example) {
        (Content::AnyJson, Example::Json(text)) => {
            content.insert(
                "application/json".to_owned(),
                json!({ "schema": { "type": "object" }, "examples": examples(json_of(text)?) }),
            );
        }
        (Content::Html, Example::Text(text)) => {
            content.insert(
                "text/html".to_owned(),
                json!({ "schema": { "type": "string" }, "examples": examples(json!(text)) }),
            );
        }
        (Content::AnyJson | Content::Html, _) => {
            return Err(failed(format!("{operation}: no example")));
        }
        (Content::Json | Content::JsonOrEventStream | Content::EventStream | Content::Empty, _) => {
        }
    }
    if !content.is_empty() {
        answer["content"] = Value::Object(content);
    }
    if !success.links.is_empty() {
        let links = success.links.iter().map(|link| {
            let target = json!({ "operationId": link.operation, "parameters": { "id": link.id } });
            (link.operation.to_owned(), target)
        });
        answer["links"] = links.collect::<Map<_, _>>().into();
    }
    Ok(answer)
}
