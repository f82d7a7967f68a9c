//! The OpenAPI document, and that it tells the truth.

use std::collections::HashSet;

use actix_web::http::Method;
use actix_web::test::TestRequest;
use deed_delivery::openapi;
use deed_domain::scope::Scope;
use serde_json::Value;

use crate::support::*;

fn document() -> Value {
    serde_json::from_str(&openapi::document().unwrap()).unwrap()
}

fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let paths = document["paths"].as_object().unwrap();
    let of_path = |path: &String, item: &Value| {
        let operations = item.as_object().unwrap().iter();
        operations
            .map(|(method, operation)| (path.clone(), method.clone(), operation.clone()))
            .collect::<Vec<_>>()
    };
    paths
        .iter()
        .flat_map(|(path, item)| of_path(path, item))
        .collect()
}

#[test]
fn it_is_the_same_every_time() {
    assert_eq!(openapi::document().unwrap(), openapi::document().unwrap());
}

#[test]
fn every_operation_is_described() {
    let document = document();
    let mut ids = HashSet::new();
    let operations = operations(&document);
    assert_eq!(operations.len(), 34);
    for (path, method, operation) in operations {
        let id = operation["operationId"].as_str().unwrap().to_owned();
        for member in ["summary", "description"] {
            assert!(
                operation[member]
                    .as_str()
                    .is_some_and(|text| !text.is_empty()),
                "{id}: {member}"
            );
        }
        assert_eq!(operation["tags"].as_array().unwrap().len(), 1, "{id}");
        let responses = operation["responses"].as_object().unwrap();
        assert!(responses.contains_key("500"), "{id}");
        assert!(
            responses.keys().any(|status| status.starts_with('2')),
            "{id}"
        );
        for (status, response) in responses {
            let shared = response["$ref"]
                .as_str()
                .map(|name| name.rsplit('/').next().unwrap());
            let response =
                shared.map_or(response, |name| &document["components"]["responses"][name]);
            assert!(
                response["headers"]["X-Request-Id"].is_object(),
                "{id} {status}"
            );
            assert!(response["description"].is_string(), "{id} {status}");
            for media in response["content"]
                .as_object()
                .into_iter()
                .flat_map(|content| content.values())
            {
                assert!(
                    media["schema"].is_object() && media["examples"].is_object(),
                    "{id} {status}"
                );
            }
        }
        if operation["requestBody"].is_object() {
            assert!(
                operation["requestBody"].to_string().contains("examples"),
                "{id}"
            );
        }
        let parameters = operation["parameters"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        for part in path.split('/').filter_map(|part| part.strip_prefix('{')) {
            let name = part.trim_end_matches('}');
            assert!(
                parameters
                    .iter()
                    .any(|found| found["name"] == name && found["in"] == "path"),
                "{method} {path}"
            );
        }
        assert!(ids.insert(id.clone()), "{id} stands twice");
    }
}

/// Nothing is open by accident: a scope, any key, or the mark `x-public`.
#[test]
fn every_operation_names_who_may_call_it() {
    let public = ["getLivez", "getReadyz", "getOpenApi", "getProblemPage"];
    let any_key = ["getMe", "getCurrentApiKey"];
    for (_, _, operation) in operations(&document()) {
        let id = operation["operationId"].as_str().unwrap();
        let requirements = operation["security"].as_array().unwrap();
        assert_eq!(operation["x-public"] == true, public.contains(&id), "{id}");
        assert_eq!(requirements.is_empty(), public.contains(&id), "{id}");
        let has_scope = operation["x-scope"]
            .as_str()
            .is_some_and(|scope| scope.parse::<Scope>().is_ok());
        assert_eq!(
            has_scope,
            !public.contains(&id) && !any_key.contains(&id),
            "{id}"
        );
    }
}

/// One document serves every deployment: it asks for the key that a server wants unless its operator has opened
/// registration. An empty requirement would tell clients that a key is optional.
#[test]
fn no_key_is_optional() {
    for (_, _, operation) in operations(&document()) {
        for requirement in operation["security"].as_array().unwrap() {
            let schemes: Vec<&String> = requirement.as_object().unwrap().keys().collect();
            let id = &operation["operationId"];
            let is_ticket = schemes == ["StreamTicket"];
            assert!(
                schemes == ["ApiKey"] || schemes == ["Bearer"] || is_ticket,
                "{id}: {schemes:?}"
            );
            assert!(!is_ticket || id == "getActionEvents", "{id}");
        }
    }
}

/// Each answer says whether it may be kept, refusals too, and the document says that it does.
#[actix_web::test]
async fn every_answer_says_whether_it_may_be_kept() {
    let document = document();
    for (path, method, operation) in operations(&document) {
        let id = &operation["operationId"];
        for (status, response) in operation["responses"].as_object().unwrap() {
            let response = match response["$ref"].as_str() {
                Some(name) => document.pointer(name.trim_start_matches('#')).unwrap(),
                None => response,
            };
            assert!(
                response["headers"]["Cache-Control"].is_object(),
                "{id} {status}"
            );
        }
        let path = path
            .replace("{id}", &action_id(1).to_string())
            .replace("{lease_id}", "none")
            .replace("{name}", "echo")
            .replace("{code}", "not_found");
        let method = Method::from_bytes(method.to_ascii_uppercase().as_bytes()).unwrap();
        let request = TestRequest::default().method(method).uri(&path);
        let answer = fakes().answer(request).await;
        let kept = answer.header("cache-control");
        assert!(kept.is_some(), "{id}");
        if operation["x-public"] != true {
            assert_eq!(kept, Some("no-store"), "{id}");
        }
    }
}

/// Every operation that isn't public refuses strangers, whatever else they send.
#[actix_web::test]
async fn strangers_are_refused_everywhere() {
    for (path, method, operation) in operations(&document()) {
        if operation["x-public"] == true {
            continue;
        }
        let path = path
            .replace("{id}", "not-an-id")
            .replace("{lease_id}", "none")
            .replace("{name}", "%20")
            + "?unknown=parameter";
        let method = Method::from_bytes(method.to_ascii_uppercase().as_bytes()).unwrap();
        let request = TestRequest::default()
            .method(method)
            .uri(&path)
            .set_payload("not json");
        refused(&fakes().answer(request).await, 401, "invalid_api_key");
    }
}

/// Every operation with a scope refuses a key that has all scopes but this one.
#[actix_web::test]
async fn keys_without_the_scope_are_refused_everywhere() {
    let everything: Vec<&str> = deed_domain::scope::Permission::ALL
        .iter()
        .map(|permission| permission.as_str())
        .collect();
    let mut checked = 0;
    for (path, method, operation) in operations(&document()) {
        let Some(scope) = operation["x-scope"].as_str() else {
            continue;
        };
        let others: Vec<&str> = everything
            .iter()
            .copied()
            .filter(|other| *other != scope)
            .collect();
        let path = path
            .replace("{id}", &action_id(1).to_string())
            .replace("{lease_id}", "none")
            .replace("{name}", "echo");
        let method = Method::from_bytes(method.to_ascii_uppercase().as_bytes()).unwrap();
        let request = TestRequest::default()
            .method(method)
            .uri(&path)
            .insert_header(KEY);
        refused(
            &with_scopes(&others).answer(request).await,
            403,
            "insufficient_scope",
        );
        checked += 1;
    }
    assert_eq!(checked, 28);
}

#[test]
fn references_lead_somewhere() {
    fn collect(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                for (name, member) in members {
                    match member.as_str() {
                        Some(text) if name == "$ref" => found.push(text.to_owned()),
                        _ => collect(member, found),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
            _ => {}
        }
    }
    let document = document();
    let mut references = Vec::new();
    collect(&document, &mut references);
    assert!(references.len() > 100);
    for reference in references {
        assert!(
            document
                .pointer(reference.trim_start_matches('#'))
                .is_some(),
            "{reference}"
        );
    }
    let text = document.to_string();
    assert!(
        !text.contains("nullable") && !text.contains("deed:"),
        "leftovers of 3.0"
    );
}

#[test]
fn links_lead_to_operations() {
    let document = document();
    let operations = operations(&document);
    let mut links = 0;
    for (_, _, operation) in &operations {
        for response in operation["responses"].as_object().unwrap().values() {
            for link in response["links"]
                .as_object()
                .into_iter()
                .flat_map(|links| links.values())
            {
                assert!(
                    operations
                        .iter()
                        .any(|(_, _, target)| target["operationId"] == link["operationId"]),
                    "{link}"
                );
                links += 1;
            }
        }
    }
    assert!(links >= 10, "{links}");
}

/// An action that is told to stop is running: no other is answered 202.
#[test]
fn who_is_asked_to_stop_is_running() {
    let document = document();
    let answers = &document["paths"]["/actions/{id}/cancel"]["post"]["responses"];
    let examples = &answers["202"]["content"]["application/json"]["examples"];
    for example in examples.as_object().unwrap().values() {
        let action = &example["value"];
        assert_eq!(action["status"], "running");
        assert!(action["started_at"].is_string() && action["finished_at"].is_null());
    }
}

/// The examples fit the schemas beside them.
#[test]
fn examples_fit_their_schemas() {
    let document = document();
    let check = |what: &str, media: &Value| {
        let mut schema = media["schema"].clone();
        schema["components"] = document["components"].clone();
        let validator = jsonschema::validator_for(&schema).unwrap();
        for example in media["examples"]
            .as_object()
            .into_iter()
            .flat_map(|examples| examples.values())
        {
            let errors: Vec<String> = validator
                .iter_errors(&example["value"])
                .map(|error| error.to_string())
                .collect();
            assert!(errors.is_empty(), "{what}: {errors:?}");
        }
    };
    for (_, _, operation) in operations(&document) {
        let id = operation["operationId"].as_str().unwrap();
        let bodies = std::iter::once(&operation["requestBody"])
            .chain(operation["responses"].as_object().unwrap().values());
        for body in bodies {
            for media in body["content"]
                .as_object()
                .into_iter()
                .flat_map(|content| content.values())
            {
                check(id, media);
            }
        }
    }
    for (name, response) in document["components"]["responses"].as_object().unwrap() {
        check(name, &response["content"]["application/problem+json"]);
    }
}
