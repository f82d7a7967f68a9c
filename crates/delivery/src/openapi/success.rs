//! The answers below 400, as the document describes them.

use serde_json::{Map, Value, json};

use super::access::Access;
use super::links::Targets;
use super::operation::{Content, Example, Success};
use super::{DocumentError, events, failed, headers};

/// An answer; `found` is the schema of the handler's type, or null.
///
/// # Errors
/// [`DocumentError`] when its content lacks a schema or an example, or a header or a link leads nowhere.
pub(super) fn answer(
    success: &Success,
    access: Access,
    found: &Value,
    targets: &Targets,
) -> Result<Value, DocumentError> {
    let of_limits = headers::OF_LIMITED_KEYS
        .into_iter()
        .filter(|_| access != Access::Public);
    let names = success.headers.iter().copied().chain(of_limits);
    let mut answer = json!({
        "description": success.description,
        "headers": headers::of_answer(names)?,
    });
    let content = content(success, found)?;
    if !content.is_empty() {
        answer["content"] = Value::Object(content);
    }
    if !success.links.is_empty() {
        answer["links"] = targets.links(success.links)?;
    }
    Ok(answer)
}

fn content(success: &Success, found: &Value) -> Result<Map<String, Value>, DocumentError> {
    let json_of = |text: &str| serde_json::from_str::<Value>(text).map_err(failed);
    let media = |schema: Value, example: Value| json!({ "schema": schema, "examples": { "example": { "value": example } } });
    let mut content = Map::new();
    if matches!(success.content, Content::Json | Content::JsonOrEventStream) {
        if found.is_null() {
            return Err(failed("no schema of its answer"));
        }
        let (Example::Json(text) | Example::JsonAndStream(text, _)) = success.example else {
            return Err(failed("no example of its answer"));
        };
        content.insert(
            "application/json".to_owned(),
            media(found.clone(), json_of(text)?),
        );
    }
    if matches!(
        success.content,
        Content::EventStream | Content::JsonOrEventStream
    ) {
        let (Example::Text(text) | Example::JsonAndStream(_, text)) = success.example else {
            return Err(failed("no example of its stream"));
        };
        content.insert(
            "text/event-stream".to_owned(),
            media(json!({ "$ref": events::STREAM }), json!(text)),
        );
    }
    match (success.content, success.example) {
        (Content::AnyJson, Example::Json(text)) => {
            content.insert(
                "application/json".to_owned(),
                media(json!({ "type": "object" }), json_of(text)?),
            );
        }
        (Content::Html, Example::Text(text)) => {
            content.insert(
                "text/html".to_owned(),
                media(json!({ "type": "string" }), json!(text)),
            );
        }
        (Content::AnyJson | Content::Html, _) => {
            return Err(failed("no example"));
        }
        (Content::Json | Content::JsonOrEventStream | Content::EventStream | Content::Empty, _) => {
        }
    }
    Ok(content)
}
