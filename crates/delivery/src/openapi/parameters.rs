//! What the types of parameters can't say: headers are read as text, and an id in a path is one of something.

use deed_domain::action::{ActionTypeName, Sequence};
use deed_domain::idempotency::IdempotencyKey;
use deed_domain::page::Limit;
use serde_json::{Map, Value, json};

use super::properties::ONE_LINE;
use super::{DocumentError, failed};
use crate::problem::ErrorCode;

/// A position in an action's log: digits alone.
const POSITION: &str = "^[0-9]+$";
/// Visible ASCII, bare or quoted.
const WORD: &str = "^([!#-~][!-~]*|\"[!#-\\[\\]-~]+\")$";

/// A UUID in the hyphenated form; `format: uuid` leaves open which.
const UUID: &str = "^[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}$";

/// The names of parameters, wherever they stand, with what their schemas get.
fn limits() -> [(&'static str, Value); 9] {
    let codes: Vec<&str> = ErrorCode::ALL
        .iter()
        .map(|code| code.entry().code)
        .collect();
    [
        (
            "Idempotency-Key",
            json!({ "minLength": 1, "maxLength": IdempotencyKey::MAX, "pattern": WORD }),
        ),
        ("Last-Event-ID", json!({ "pattern": POSITION })),
        ("last_event_id", json!({ "pattern": POSITION })),
        ("X-User-ID", json!({ "pattern": UUID })),
        ("limit", json!({ "default": Limit::DEFAULT })),
        ("external_id", json!({ "pattern": ONE_LINE })),
        ("from_seq", json!({ "maximum": Sequence::MAX })),
        (
            "name",
            json!({ "minLength": 1, "maxLength": ActionTypeName::MAX, "pattern": ActionTypeName::PATTERN }),
        ),
        ("code", json!({ "enum": codes })),
    ]
}

/// What stands in the paths that begin so.
const IN_PATHS: [(&str, &str); 5] = [
    ("/users/{id}", "The user's id."),
    ("/api-keys/{id}", "The API key's id."),
    ("/actions/{id}", "The action's id."),
    ("/action-types/{name}", "The action type's name."),
    ("/problems/{code}", "The error's code."),
];

/// Says of what the ids in paths are.
///
/// # Errors
/// [`DocumentError`] when no path begins so.
pub(super) fn tell_ids_apart(document: &mut Value) -> Result<(), DocumentError> {
    for (beginning, description) in IN_PATHS {
        let mut is_there = false;
        let items = document["paths"].as_object_mut().into_iter().flatten();
        for (_, item) in items.filter(|(path, _)| path.starts_with(beginning)) {
            for operation in item.as_object_mut().into_iter().flat_map(Map::values_mut) {
                let parameters = operation["parameters"].as_array_mut().into_iter().flatten();
                for parameter in parameters.filter(|parameter| parameter["in"] == "path") {
                    parameter["description"] = json!(description);
                    is_there = true;
                }
            }
        }
        if !is_there {
            return Err(failed(format!("no path begins with {beginning}")));
        }
    }
    Ok(())
}

/// Puts the limits into the schemas of the parameters.
///
/// # Errors
/// [`DocumentError`] when no operation has a parameter of one of the names.
pub(super) fn limit(document: &mut Value) -> Result<(), DocumentError> {
    for (name, limits) in limits() {
        let mut is_there = false;
        let items = document["paths"].as_object_mut().into_iter();
        for parameter in items
            .flat_map(Map::values_mut)
            .filter_map(Value::as_object_mut)
            .flat_map(Map::values_mut)
            .filter_map(|operation| operation.get_mut("parameters")?.as_array_mut())
            .flatten()
            .filter(|parameter| parameter["name"] == name)
        {
            for (word, value) in limits.as_object().into_iter().flatten() {
                parameter["schema"][word] = value.clone();
            }
            is_there = true;
        }
        if !is_there {
            return Err(failed(format!("no operation has the parameter {name}")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use deed_domain::id::UserId;

    /// The schemas of the parameters of this name, by operation.
    fn schemas(name: &str) -> Vec<(String, Value)> {
        let document: Value = serde_json::from_str(&super::super::document().unwrap()).unwrap();
        let mut found = Vec::new();
        for item in document["paths"].as_object().unwrap().values() {
            for operation in item.as_object().unwrap().values() {
                for parameter in operation["parameters"].as_array().into_iter().flatten() {
                    if parameter["name"] == name {
                        let id = operation["operationId"].as_str().unwrap().to_owned();
                        found.push((id, parameter["schema"].clone()));
                    }
                }
            }
        }
        found
    }

    fn takes(schema: &Value, text: &str) -> bool {
        jsonschema::validator_for(schema)
            .unwrap()
            .is_valid(&json!(text))
    }

    /// The document and the domain draw the same line.
    #[test]
    fn an_idempotency_key_has_its_length() {
        let found = schemas("Idempotency-Key");
        assert_eq!(found.len(), 5);
        for (id, schema) in found {
            for length in [0, 1, 2, 254, 255, 256] {
                let text = "k".repeat(length);
                let is_one = IdempotencyKey::parse(&text).is_ok();
                assert_eq!(takes(&schema, &text), is_one, "{id}: {length}");
            }
        }
    }

    #[test]
    fn an_idempotency_key_is_visible() {
        for (id, schema) in schemas("Idempotency-Key") {
            for good in ["a", "import-7", "a\"b", "~!", "\"quoted\"", "\\"] {
                assert!(takes(&schema, good), "{id}: {good}");
            }
            for wrong in ["", " ", "a b", "é", "\"", "\"\"", "\"open", "a\tb"] {
                assert!(!takes(&schema, wrong), "{id}: {wrong}");
            }
        }
    }

    #[test]
    fn a_user_is_named_by_a_hyphenated_uuid() {
        for (id, schema) in schemas("X-User-ID") {
            for text in [
                "0198c0de-0000-7000-8000-0000000000a1",
                "0198C0DE-0000-7000-8000-0000000000A1",
                "0198c0de0000700080000000000000a1",
                "{0198c0de-0000-7000-8000-0000000000a1}",
                "urn:uuid:0198c0de-0000-7000-8000-0000000000a1",
                "0198c0de-0000-7000-8000-0000000000ag",
                "",
            ] {
                assert_eq!(
                    takes(&schema, text),
                    text.parse::<UserId>().is_ok(),
                    "{id}: {text}"
                );
            }
        }
    }

    #[test]
    fn a_filter_takes_what_may_be_stored() {
        for (id, schema) in schemas("external_id") {
            for text in ["crm-17", "é", "a b", "a\u{4}b", " ", "\n"] {
                let is_one = deed_domain::user::ExternalId::parse(text).is_ok();
                assert_eq!(takes(&schema, text), is_one, "{id}: {text:?}");
            }
        }
        assert_eq!(schemas("external_id").len(), 1);
    }

    #[test]
    fn ids_are_told_apart() {
        let document: Value = serde_json::from_str(&super::super::document().unwrap()).unwrap();
        for operation in ["/actions/{id}", "/api-keys/{id}", "/users/{id}"] {
            let parameters = document["paths"][operation]["get"]["parameters"].as_array();
            let id = parameters
                .unwrap()
                .iter()
                .find(|found| found["name"] == "id");
            let description = id.unwrap()["description"].as_str().unwrap();
            assert!(
                description.ends_with("'s id."),
                "{operation}: {description}"
            );
        }
        assert!(tell_ids_apart(&mut json!({ "paths": {} })).is_err());
    }

    #[test]
    fn a_position_has_digits_alone() {
        for name in ["Last-Event-ID", "last_event_id"] {
            let found = schemas(name);
            assert_eq!(found.len(), 1);
            for (id, schema) in found {
                for good in ["0", "17", "007"] {
                    assert!(takes(&schema, good), "{id} {name}: {good}");
                }
                for wrong in ["", "-1", "+1", "1.0", "x", " 1", "1 "] {
                    assert!(!takes(&schema, wrong), "{id} {name}: {wrong}");
                }
            }
        }
    }

    #[test]
    fn a_row_for_nothing_is_an_error() {
        assert!(limit(&mut json!({ "paths": {} })).is_err());
    }
}
