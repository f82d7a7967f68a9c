//! JSON Schema.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use deed_domain::action::Payload;
use deed_domain::error::Violation;
use deed_domain::ports::{InputSchemas, SchemaError};
use jsonschema::{PatternOptions, Validator};
use serde::Deserialize as _;
use serde_json::Value;

mod effort;

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
    fn admit(&self, schema: &Payload) -> Result<(), SchemaError> {
        let parsed: Value = serde_json::from_str(schema.as_str())
            .map_err(|error| SchemaError(error.to_string()))?;
        effort::check(&parsed)?;
        self.compiled(schema).map(drop)
    }

    fn check(&self, schema: &Payload, input: &Payload) -> Result<Vec<Violation>, SchemaError> {
        let validator = self.compiled(schema)?;
        let Some(input) = readable(input.as_str()) else {
            return Ok(vec![Violation::new("", "can't be checked")]);
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

/// What the checker reads of an input. Its depth was bounded by the payload's own scan, and numbers beyond the reach
/// of a double are seen as the greatest one: what is stored stays as it came.
fn readable(text: &str) -> Option<Value> {
    let parse = |text: &str| {
        let mut reader = serde_json::Deserializer::from_str(text);
        reader.disable_recursion_limit();
        Value::deserialize(&mut reader).ok()
    };
    parse(text).or_else(|| parse(&clamped(text)))
}

/// A JSON text with each number that overflows a double replaced by the greatest or least double.
fn clamped(text: &str) -> String {
    let mut copy = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => string_length(rest),
            '-' | '0'..='9' => rest
                .find(|c: char| !matches!(c, '-' | '+' | '.' | 'e' | 'E' | '0'..='9'))
                .unwrap_or(rest.len()),
            _ => first.len_utf8(),
        };
        let (token, behind) = rest.split_at(length);
        match token.parse::<f64>() {
            Ok(number) if number.is_infinite() && first != '"' => {
                copy.push_str(&format!("{:e}", f64::MAX.copysign(number)));
            }
            _ => copy.push_str(token),
        }
        rest = behind;
    }
    copy
}

/// The length of the JSON string that `text` begins with, quotes included.
fn string_length(text: &str) -> usize {
    let mut is_escaped = false;
    let end = text.char_indices().skip(1).find(|(_, c)| {
        let ends = *c == '"' && !is_escaped;
        is_escaped = *c == '\\' && !is_escaped;
        ends
    });
    end.map_or(text.len(), |(at, _)| at.saturating_add(1))
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
    fn every_payload_can_be_checked() {
        let deep = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        check("{}", &deep(Payload::MAX_DEPTH), &[]);
        check(r#"{"type":"string"}"#, &deep(Payload::MAX_DEPTH), &[""]);
        check(r#"{"type":"number"}"#, "1e999", &[]);
        check(r#"{"maximum":7}"#, "1e999", &[""]);
        check(r#"{"maximum":7}"#, "-1e999", &[]);
        check(
            r#"{"items":{"type":"number"}}"#,
            &format!("[{},-2E+400]", "9".repeat(5_000)),
            &[],
        );
        check(
            r#"{"properties":{"a\"1e999":{"const":"\\1e999\""}}}"#,
            r#"{"a\"1e999":"\\1e999\"","b":1e999}"#,
            &[],
        );
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
