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

mod access;
mod answers;
mod deprecation;
mod dialect;
mod events;
mod headers;
mod links;
pub(crate) mod operation;
mod parameters;
mod print;
mod problems;
mod properties;
mod success;

use actix_web::test::TestRequest;
use apistos::app::OpenApiWrapper;
use apistos::info::{Contact, Info, License};
use apistos::spec::Spec;
use futures_util::FutureExt;
use schemars::JsonSchema;
use schemars::r#gen::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::deprecation::Deprecations;
use crate::problem::ErrorCode;
use crate::routes;
use deed_api::problem::Problem;
use links::Targets;
use operation::{Operation, Tag};

/// A document that could not be made: a bug in the tables that it is made from.
#[derive(Debug, thiserror::Error)]
#[error("the OpenAPI document can't be made: {0}")]
pub struct DocumentError(String);

/// The document as text: the same for the same program, in the order of the routes.
///
/// # Errors
/// [`DocumentError`], which a test rules out.
pub fn document() -> Result<String, DocumentError> {
    described(routes::OPERATIONS).map(|(document, _)| document)
}

/// The document of these operations, and which of them go away.
pub(crate) fn described(
    operations: &[&Operation],
) -> Result<(String, Deprecations), DocumentError> {
    let found = described_by_apistos()?;
    let mut merged = merge(found, operations)?;
    let deprecations = deprecation::mark(&mut merged, operations)?;
    answers::require_what_is_written(&mut merged)?;
    properties::say(&mut merged)?;
    parameters::limit(&mut merged)?;
    parameters::tell_ids_apart(&mut merged)?;
    dialect::to_3_1(&mut merged);
    for (name, schema) in events::schemas() {
        merged["components"]["schemas"][name] = schema;
    }
    headers::leave_out_unused(&mut merged);
    Ok((print::print(&merged, &routes::PATHS), deprecations))
}

/// The document as a value.
///
/// # Errors
/// [`DocumentError`] when it is not one.
pub(crate) fn read(document: &str) -> Result<Value, DocumentError> {
    serde_json::from_str(document).map_err(failed)
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

const SUMMARY: &str = "Users, API keys, durable actions and live, resumable streams.";

const ABOUT: &str = "Deed performs named operations for an application's users: each **action** is stored before it is \
    acknowledged, performed at least once, and observed as completed exactly once. Its **events** are a log that is \
    followed live and resumed anywhere.\n\n\
    - **Keys.** Send yours in `X-API-Key`, or as `Authorization: Bearer`. Each operation says which scope it needs.\n\
    - **Errors.** Every answer from 400 up is a problem (RFC 9457) whose `error` is a stable code; its `type` leads to \
    the code's page. More codes may come: treat one that you don't know by its status.\n\
    - **Lists** are paged by cursor: pass `next_cursor` on, or follow `Link`.\n\
    - **Repeating.** With an `Idempotency-Key` a request can be sent again safely.\n\
    - **HEAD** is answered wherever GET is. `X-Request-Id` is on every answer.\n\
    - **Members.** Answers may get more members; clients ignore those that they don't know. Requests are refused for \
    members that the server doesn't know.";

fn merge(mut document: Value, operations: &[&Operation]) -> Result<Value, DocumentError> {
    document["openapi"] = json!("3.1.0");
    document["jsonSchemaDialect"] = json!("https://spec.openapis.org/oas/3.1/dialect/base");
    document["info"]["license"] =
        json!({ "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" });
    document["info"]["summary"] = json!(SUMMARY);
    document["servers"] = json!([{ "url": "/", "description": "This server." }]);
    document["tags"] = Tag::ALL
        .map(|tag| json!({ "name": tag.name(), "description": tag.description() }))
        .into();
    let mut shared = Shared::default();
    let paths = document["paths"]
        .as_object_mut()
        .ok_or_else(|| failed("no paths"))?;
    let targets = Targets::of(paths);
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
            shared
                .complete(left.swap_remove(at), described, &targets)
                .map_err(|DocumentError(what)| failed(format!("{id}: {what}")))?;
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
        targets: &Targets,
    ) -> Result<(), DocumentError> {
        described["summary"] = json!(operation.summary);
        described["description"] = json!(operation.description);
        described["tags"] = json!([operation.tag.name()]);
        if let Some(object) = described.as_object_mut() {
            object.remove("deprecated");
        }
        let access = access::secure(described)?;
        let found = described["responses"]["200"]["content"]["application/json"]["schema"].take();
        let mut responses = Map::new();
        for success in operation.success {
            let answer = success::answer(success, access, &found, targets)?;
            responses.insert(success.status.to_string(), answer);
        }
        for (status, codes) in problems::errors(operation, described, access) {
            responses.insert(status.to_string(), self.refer(&codes)?);
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
    fn refer(&mut self, codes: &[ErrorCode]) -> Result<Value, DocumentError> {
        let name = codes
            .iter()
            .map(|code| code.entry().code)
            .collect::<Vec<_>>()
            .join(".");
        let reference = json!({ "$ref": format!("#/components/responses/{name}") });
        if !self.responses.contains_key(&name) {
            self.responses.insert(name, problems::response(codes)?);
        }
        Ok(reference)
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
        components["headers"] = headers::components()?;
        components["securitySchemes"] = access::schemes();
        Ok(())
    }
}

/// One line an item.
fn lines(items: &Value) -> Value {
    let items = items.as_array().into_iter().flatten();
    Value::String(items.map(|item| format!("{item}\n")).collect())
}
