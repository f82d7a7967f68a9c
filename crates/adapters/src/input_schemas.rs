//! JSON Schema.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use deed_domain::action::Payload;
use deed_domain::error::Violation;
use deed_domain::ports::{InputSchemas, SchemaError};
use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

/// How many compiled schemas are kept.
const MAX: usize = 256;
/// How many broken rules are told at a time.
const VIOLATIONS_MAX: usize = 100;

/// Checks by JSON Schema 2020-12 (or the draft that a schema names). Patterns run in linear time, and no
/// reference leaves the schema.
#[derive(Default)]
pub struct JsonSchemas {
    compiled: Mutex<HashMap<Payload, Arc<Validator>>>,
}

impl JsonSchemas {
    fn compiled(&self, schema: &Payload) -> Result<Arc<Validator>, SchemaError> {
        let known = self
            .compiled
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(schema)
            .cloned();
        if let Some(validator) = known {
            return Ok(validator);
        }
        let parsed: Value = serde_json::from_str(schema.as_str())
            .map_err(|error| SchemaError(error.to_string()))?;
        let validator = jsonschema::options()
            .with_pattern_options(PatternOptions::regex())
            .build(&parsed)
            .map_err(|error| SchemaError(error.to_string()))?;
        let validator = Arc::new(validator);
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if compiled.len() >= MAX {
            compiled.clear();
        }
        compiled.insert(schema.clone(), Arc::clone(&validator));
        Ok(validator)
    }
}

impl InputSchemas for JsonSchemas {
    fn check(&self, schema: &Payload, input: &Payload) -> Result<Vec<Violation>, SchemaError> {
        let validator = self.compiled(schema)?;
        // A payload can be deeper, and its numbers larger, than the checker can read.
        let Ok(input) = serde_json::from_str::<Value>(input.as_str()) else {
            return Ok(vec![Violation::new(
                "",
                "nested too deeply, or with numbers too large, to be checked",
            )]);
        };
        Ok(validator
            .iter_errors(&input)
            .take(VIOLATIONS_MAX)
            // Masked: the message does not repeat the value, which may be a megabyte.
            .map(|error| {
                Violation::new(
                    error.instance_path().to_string(),
                    error.masked().to_string(),
                )
            })
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(schema: &str, input: &str, pointers: &[&str]) {
        let schema = Payload::parse(schema).unwrap();
        let violations = JsonSchemas::default()
            .check(&schema, &Payload::parse(input).unwrap())
            .unwrap();
        assert_eq!(
            violations
                .iter()
                .map(|one| one.pointer.as_str())
                .collect::<Vec<_>>(),
            pointers
        );
    }

    const TEXT: &str = r#"{"type":"object","required":["text"],"properties":{"text":{"type":"string"},"n":{"type":"array","items":{"minimum":1}}}}"#;

    #[test]
    fn broken_rules_are_told_together_with_their_places() {
        check(TEXT, r#"{"text":"a"}"#, &[]);
        check(TEXT, "{}", &[""]);
        check(
            TEXT,
            r#"{"text":1,"n":[1,0,-1]}"#,
            &["/n/1", "/n/2", "/text"],
        );
    }

    #[test]
    fn a_message_does_not_repeat_the_value() {
        let schema = Payload::parse(TEXT).unwrap();
        let input = Payload::parse(r#"{"text":["secret"]}"#).unwrap();
        let violations = JsonSchemas::default().check(&schema, &input).unwrap();
        assert!(
            !violations[0].message.contains("secret"),
            "{}",
            violations[0].message
        );
    }

    #[test]
    fn what_the_checker_cannot_read_is_not_valid() {
        check("{}", "1e999", &[""]);
    }

    #[test]
    fn no_reference_leaves_the_schema() {
        for reference in ["https://example.com/schema.json", "file:///etc/passwd"] {
            let schema = Payload::parse(&format!(r#"{{"$ref":"{reference}"}}"#)).unwrap();
            assert!(
                JsonSchemas::default()
                    .check(&schema, &Payload::empty_object())
                    .is_err()
            );
        }
    }

    #[test]
    fn what_is_no_schema_is_refused() {
        for text in ["[]", r#"{"type":7}"#, r#"{"pattern":"("}"#] {
            assert!(
                JsonSchemas::default()
                    .check(&Payload::parse(text).unwrap(), &Payload::empty_object())
                    .is_err(),
                "{text}"
            );
        }
    }

    #[test]
    fn patterns_run_in_linear_time() {
        let schema = Payload::parse(r#"{"pattern":"^(a+)+$"}"#).unwrap();
        let input = Payload::parse(&format!("\"{}!\"", "a".repeat(50_000))).unwrap();
        assert_eq!(
            JsonSchemas::default().check(&schema, &input).unwrap().len(),
            1
        );
    }

    #[test]
    fn the_number_of_compiled_schemas_is_bounded() {
        let schemas = JsonSchemas::default();
        for n in 0..=MAX {
            let schema = Payload::parse(&format!(r#"{{"minimum":{n}}}"#)).unwrap();
            schemas.check(&schema, &Payload::empty_object()).unwrap();
        }
        assert!(schemas.compiled.lock().unwrap().len() <= MAX);
    }
}
