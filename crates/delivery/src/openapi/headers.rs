//! The headers of answers, as the document describes them.

use serde_json::{Map, Value, json};

use super::{DocumentError, failed};

/// A header that answers may have.
struct Header {
    name: &'static str,
    description: &'static str,
    /// Its values, as a JSON Schema.
    schema: &'static str,
    example: &'static str,
    /// Whether an answer that the document gives it to always has it.
    is_always_there: bool,
}

/// The headers of every answer.
pub(super) const ON_EVERY_ANSWER: [&str; 2] = ["X-Request-Id", "Cache-Control"];

/// The headers of answers to a key that may make so many requests a second.
pub(super) const OF_LIMITED_KEYS: [&str; 2] = ["RateLimit-Policy", "RateLimit"];

/// Every header of an answer that the document names.
const HEADERS: [Header; 17] = [
    Header {
        name: "X-Request-Id",
        description: "Names the request; also on each of its log lines. One that the client sent is kept.",
        schema: r#"{"type":"string","minLength":1,"maxLength":128,"pattern":"^[!-~]+$"}"#,
        example: r#""0198c0de-0000-7000-8000-000000000001""#,
        is_always_there: true,
    },
    Header {
        name: "Location",
        description: "The path of what was made.",
        schema: r#"{"type":"string","format":"uri-reference"}"#,
        example: r#""/actions/0198c0de-0000-7000-8000-0000000000c1""#,
        is_always_there: true,
    },
    Header {
        name: "ETag",
        description: "Names this very representation.",
        schema: r#"{"type":"string","pattern":"^\"[!#-~]*\"$"}"#,
        example: r#""\"0c3b1de2c8f1\"""#,
        is_always_there: true,
    },
    Header {
        name: "Link",
        description: "`<…>; rel=\"next\"`: the next page, if there is one.",
        schema: r#"{"type":"string"}"#,
        example: r#""</actions?limit=50&cursor=…>; rel=\"next\"""#,
        is_always_there: false,
    },
    Header {
        name: "Retry-After",
        description: "After how many seconds to try again.",
        schema: r#"{"type":"integer","minimum":0}"#,
        example: "1",
        is_always_there: true,
    },
    Header {
        name: "Preference-Applied",
        description: "Which preferences were honoured.",
        schema: r#"{"type":"string"}"#,
        example: r#""respond-async""#,
        is_always_there: false,
    },
    Header {
        name: "Idempotency-Replayed",
        description: "`true` when the same request was served before.",
        schema: r#"{"type":"string","enum":["true"]}"#,
        example: r#""true""#,
        is_always_there: false,
    },
    Header {
        name: "WWW-Authenticate",
        description: "How to authenticate.",
        schema: r#"{"type":"string"}"#,
        example: r#""Bearer realm=\"deed\"""#,
        is_always_there: true,
    },
    Header {
        name: "Accept",
        description: "The media types of bodies that the operation takes.",
        schema: r#"{"type":"string"}"#,
        example: r#""application/json""#,
        is_always_there: true,
    },
    Header {
        name: "Accept-Patch",
        description: "The same, for PATCH.",
        schema: r#"{"type":"string"}"#,
        example: r#""application/merge-patch+json, application/json""#,
        is_always_there: false,
    },
    Header {
        name: "Accept-Encoding",
        description: "`identity`, where the body was compressed: none is taken that is.",
        schema: r#"{"type":"string","enum":["identity"]}"#,
        example: r#""identity""#,
        is_always_there: false,
    },
    Header {
        name: "Cache-Control",
        description: "Whether the answer may be kept: `no-store` on all that a key is needed for, `private, no-cache` where it has an `ETag`.",
        schema: r#"{"type":"string"}"#,
        example: r#""no-store""#,
        is_always_there: true,
    },
    Header {
        name: "X-Accel-Buffering",
        description: "`no`: proxies are to pass the stream on at once.",
        schema: r#"{"type":"string","enum":["no"]}"#,
        example: r#""no""#,
        is_always_there: false,
    },
    Header {
        name: "RateLimit-Policy",
        description: "To a key with a limit of requests: how many (`q`) it may make in how many seconds (`w`), of each server.",
        schema: r#"{"type":"string"}"#,
        example: r#""\"default\";q=50;w=1""#,
        is_always_there: false,
    },
    Header {
        name: "RateLimit",
        description: "To a key with a limit of requests: how many more (`r`) may follow at once, and within how many seconds \
            (`t`) all may again.",
        schema: r#"{"type":"string"}"#,
        example: r#""\"default\";r=49;t=1""#,
        is_always_there: false,
    },
    Header {
        name: "Deprecation",
        description: "Since when this should not be used any more (RFC 9745): `@` and seconds since 1970.",
        schema: r#"{"type":"string","pattern":"^@-?[0-9]+$"}"#,
        example: r#""@1769817600""#,
        is_always_there: true,
    },
    Header {
        name: "Sunset",
        description: "From when on this may be gone (RFC 8594), as an HTTP date.",
        schema: r#"{"type":"string"}"#,
        example: r#""Wed, 01 Jul 2026 00:00:00 GMT""#,
        is_always_there: true,
    },
];

/// The headers as components.
///
/// # Errors
/// [`DocumentError`] when a row of the table is not JSON.
pub(super) fn components() -> Result<Value, DocumentError> {
    let mut components = Map::new();
    for header in &HEADERS {
        let json = |text: &str| {
            serde_json::from_str::<Value>(text)
                .map_err(|error| failed(format!("{}: {error}", header.name)))
        };
        components.insert(
            header.name.to_owned(),
            json!({
                "description": header.description,
                "required": header.is_always_there,
                "schema": json(header.schema)?,
                "example": json(header.example)?,
            }),
        );
    }
    Ok(Value::Object(components))
}

/// Takes away the components that no answer refers to, which linters take for a mistake: some headers wait for their use.
pub(super) fn leave_out_unused(document: &mut Value) {
    let text = document.to_string();
    if let Some(headers) = document["components"]["headers"].as_object_mut() {
        headers.retain(|name, _| text.contains(&format!("\"#/components/headers/{name}\"")));
    }
}

/// The name as the table writes it.
pub(super) fn known(name: &str) -> Option<&'static str> {
    HEADERS
        .iter()
        .map(|header| header.name)
        .find(|known| known.eq_ignore_ascii_case(name))
}

/// The headers of an answer, those of every answer among them.
///
/// # Errors
/// [`DocumentError`] when the table does not know a name.
pub(super) fn of_answer<'a>(
    names: impl IntoIterator<Item = &'a str>,
) -> Result<Value, DocumentError> {
    let mut headers = Map::new();
    for name in ON_EVERY_ANSWER.into_iter().chain(names) {
        let known = known(name).ok_or_else(|| failed(format!("unknown header {name}")))?;
        let reference = json!({ "$ref": format!("#/components/headers/{known}") });
        headers.insert(known.to_owned(), reference);
    }
    Ok(Value::Object(headers))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_fit() {
        for (name, header) in components().unwrap().as_object().unwrap() {
            let validator = jsonschema::validator_for(&header["schema"]).unwrap();
            assert!(validator.is_valid(&header["example"]), "{name}");
        }
    }

    #[test]
    fn a_header_that_no_answer_has_is_left_out() {
        let answer = |name| json!({ "headers": of_answer([name]).unwrap() });
        let mut document = json!({
            "paths": answer("Sunset"), "components": { "headers": components().unwrap() }
        });
        leave_out_unused(&mut document);
        let left = document["components"]["headers"].as_object().unwrap();
        assert!(left.contains_key("Sunset") && !left.contains_key("Deprecation"));
        assert_eq!(left.len(), ON_EVERY_ANSWER.len() + 1);
    }

    #[test]
    fn a_name_is_known_or_an_error() {
        assert_eq!(known("etag"), Some("ETag"));
        assert!(of_answer(["ETag"]).is_ok());
        assert!(of_answer(["X-Unknown"]).is_err());
    }
}
