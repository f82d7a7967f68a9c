//! Whether the client takes what an operation answers. What that is, the OpenAPI document says.

use std::collections::HashMap;

use actix_web::dev::Payload;
use actix_web::http::header;
use actix_web::{FromRequest, HttpRequest};
use apistos::ApiComponent;
use apistos::reference_or::ReferenceOr;
use futures_util::future::{Ready, ready};
use serde_json::{Map, Value};

use crate::accept::admits;
use crate::app::Api;
use crate::problem::{ErrorCode, Refusal};

/// The media types of each operation's answers below 400: by path, then by method in lower case.
#[derive(Debug, Clone, Default)]
pub(crate) struct Produced(HashMap<String, HashMap<String, Vec<String>>>);

impl Produced {
    /// Those that `document` names.
    pub(crate) fn of(document: &Value) -> Self {
        let mut produced = Self::default();
        for (path, item) in members(document.get("paths")) {
            for (method, operation) in members(Some(item)) {
                let mut types = Vec::new();
                for (status, answer) in members(operation.get("responses")) {
                    if status.as_str() < "400" {
                        types.extend(members(answer.get("content")).map(|(name, _)| name.clone()));
                    }
                }
                let methods = produced.0.entry(path.clone()).or_default();
                methods.insert(method.clone(), types);
            }
        }
        produced
    }

    /// Those of the operation that a request is for; none where it answers no body, or isn't in the document.
    fn by(&self, request: &HttpRequest) -> &[String] {
        let found = request.match_pattern().and_then(|path| {
            let method = request.method().as_str().to_ascii_lowercase();
            self.0.get(&path)?.get(&method)
        });
        found.map_or(&[], Vec::as_slice)
    }
}

fn members(value: Option<&Value>) -> impl Iterator<Item = (&String, &Value)> {
    value
        .and_then(Value::as_object)
        .into_iter()
        .flat_map(Map::iter)
}

/// Refuses with 406 what asks for none of the media types that the operation answers.
pub(super) fn check(request: &HttpRequest, api: &Api) -> Result<(), Refusal> {
    let lines: Vec<&str> = request
        .headers()
        .get_all(header::ACCEPT)
        .filter_map(|line| line.to_str().ok())
        .collect();
    let accept = lines.join(",");
    if accept.trim().is_empty() {
        return Ok(());
    }
    let produced = api.produced().by(request);
    if produced.is_empty() || produced.iter().any(|name| admits(&accept, name)) {
        return Ok(());
    }
    Err(Refusal::new(ErrorCode::NotAcceptable).message(format!(
        "This operation answers {}, and Accept admits neither.",
        produced.join(" or ")
    )))
}

/// For operations that need no key: the client takes what they answer. Others ask when the caller is known.
pub(crate) struct Acceptable;

impl FromRequest for Acceptable {
    type Error = Refusal;
    type Future = Ready<Result<Self, Refusal>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Api::of(request).and_then(|api| check(request, &api).map(|()| Self)))
    }
}

impl ApiComponent for Acceptable {
    fn child_schemas() -> Vec<(String, ReferenceOr<apistos::Schema>)> {
        Vec::new()
    }

    fn schema() -> Option<(String, ReferenceOr<apistos::Schema>)> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_produced_stands_in_the_document() {
        let document = json!({ "paths": { "/a/{id}": {
            "get": { "responses": {
                "200": { "content": { "application/json": {}, "text/event-stream": {} } },
                "304": {},
                "404": { "content": { "application/problem+json": {} } },
            } },
            "delete": { "responses": { "204": {} } },
        } } });
        let Produced(found) = Produced::of(&document);
        let methods = &found["/a/{id}"];
        assert_eq!(methods["get"], ["application/json", "text/event-stream"]);
        assert!(methods["delete"].is_empty());
    }
}
