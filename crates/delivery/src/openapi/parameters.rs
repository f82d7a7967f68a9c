//! The limits of parameters whose types can't say them: headers are read as text.

use deed_domain::idempotency::IdempotencyKey;
use serde_json::{Map, Value, json};

use super::{DocumentError, failed};

/// A position in an action's log: digits alone.
const POSITION: &str = "^[0-9]+$";

/// The names of parameters, wherever they stand, with what their schemas get.
fn limits() -> [(&'static str, Value); 3] {
    [
        (
            "Idempotency-Key",
            json!({ "minLength": 1, "maxLength": IdempotencyKey::MAX }),
        ),
        ("Last-Event-ID", json!({ "pattern": POSITION })),
        ("last_event_id", json!({ "pattern": POSITION })),
    ]
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
