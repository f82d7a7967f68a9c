//! From the schemas of OpenAPI 3.0 to those of 3.1, which are JSON Schema 2020-12.

use serde_json::{Map, Value, json};

/// Rewrites every schema in the document.
pub(super) fn to_3_1(document: &mut Value) {
    let Some(members) = document.as_object_mut() else {
        return;
    };
    for (name, member) in members.iter_mut() {
        match name.as_str() {
            "paths" => each_operation(member),
            "components" => {
                for (name, found) in member["schemas"].as_object_mut().into_iter().flatten() {
                    schema(found);
                    untitled(found, name);
                }
            }
            _ => {}
        }
    }
}

fn each_operation(paths: &mut Value) {
    let items = paths.as_object_mut().into_iter().flat_map(Map::values_mut);
    for operation in items
        .filter_map(Value::as_object_mut)
        .flat_map(Map::values_mut)
    {
        for parameter in operation["parameters"].as_array_mut().into_iter().flatten() {
            // In a query or a header there is no null.
            if let Some(schema) = parameter["schema"].as_object_mut() {
                schema.remove("nullable");
                if let Some(description) = schema.remove("description")
                    && let Some(parameter) = parameter.as_object_mut()
                {
                    parameter.entry("description").or_insert(description);
                }
            }
            schema(&mut parameter["schema"]);
            untitled(&mut parameter["schema"], "String");
            untitled(&mut parameter["schema"], "Uuid");
        }
        if let Some(body) = operation.get_mut("requestBody") {
            content(body);
        }
        for answer in operation["responses"]
            .as_object_mut()
            .into_iter()
            .flat_map(Map::values_mut)
        {
            content(answer);
        }
        // Indexing has put nulls where members were absent.
        if let Some(operation) = operation.as_object_mut() {
            operation.retain(|_, member| !member.is_null());
        }
    }
}

fn content(holder: &mut Value) {
    let Some(content) = holder.get_mut("content").and_then(Value::as_object_mut) else {
        return;
    };
    for media in content.values_mut() {
        if let Some(found) = media.get_mut("schema") {
            schema(found);
        }
    }
}

/// Rewrites one schema and all within it.
fn schema(value: &mut Value) {
    let Some(object) = value.as_object_mut() else {
        return;
    };
    for (name, member) in object.iter_mut() {
        match name.as_str() {
            "properties" | "$defs" | "patternProperties" => {
                member
                    .as_object_mut()
                    .into_iter()
                    .flat_map(Map::values_mut)
                    .for_each(schema);
            }
            "allOf" | "anyOf" | "oneOf" => {
                member.as_array_mut().into_iter().flatten().for_each(schema)
            }
            "items" | "additionalProperties" | "not" => schema(member),
            "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" | "multipleOf" => {
                whole(member)
            }
            _ => {}
        }
    }
    collapse_names(object);
    bounds(object);
    if let Some(example) = object.remove("example") {
        object.insert("examples".to_owned(), json!([example]));
    }
    // schemars names Rust's widths, which JSON Schema has no words for; the bounds say what matters.
    if object
        .get("format")
        .and_then(Value::as_str)
        .is_some_and(|format| format.starts_with("uint"))
    {
        object.remove("format");
    }
    nullable(object);
    unwrap_one(object);
}

/// Drops a title that only repeats the name of a Rust type.
fn untitled(schema: &mut Value, name: &str) {
    if schema["title"] == name
        && let Some(object) = schema.as_object_mut()
    {
        object.remove("title");
    }
}

/// 3.0 allowed nothing beside `$ref`, so it was wrapped; 3.1 does.
fn unwrap_one(object: &mut Map<String, Value>) {
    let Some([Value::Object(one)]) = object
        .get("allOf")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
    else {
        return;
    };
    let one = one.clone();
    object.remove("allOf");
    for (name, member) in one {
        object.entry(name).or_insert(member);
    }
}

/// `nullable: true` becomes a second type, or an alternative where there is no type.
fn nullable(object: &mut Map<String, Value>) {
    if object.remove("nullable") != Some(json!(true)) {
        return;
    }
    if let Some(kind) = object.get("type").filter(|kind| kind.is_string()).cloned() {
        object.insert("type".to_owned(), json!([kind, "null"]));
        if let Some(names) = object.get_mut("enum").and_then(Value::as_array_mut)
            && !names.contains(&Value::Null)
        {
            names.push(Value::Null);
        }
        return;
    }
    let one = object
        .remove("allOf")
        .and_then(|all| match all.as_array().map(Vec::as_slice) {
            Some([one]) => Some(one.clone()),
            _ => None,
        });
    if let Some(one) = one {
        object.insert("anyOf".to_owned(), json!([one, { "type": "null" }]));
    }
}

/// 3.0 says `minimum: 0, exclusiveMinimum: true`; 3.1 says `exclusiveMinimum: 0`.
fn bounds(object: &mut Map<String, Value>) {
    for (bound, exclusive) in [
        ("minimum", "exclusiveMinimum"),
        ("maximum", "exclusiveMaximum"),
    ] {
        match object.get(exclusive) {
            Some(Value::Bool(true)) => {
                if let Some(limit) = object.remove(bound) {
                    object.insert(exclusive.to_owned(), limit);
                }
            }
            Some(Value::Bool(false)) => {
                object.remove(exclusive);
            }
            _ => {}
        }
    }
}

/// schemars gives each documented name of an enum a schema of its own; one list of names is what readers expect.
fn collapse_names(object: &mut Map<String, Value>) {
    let Some(choices) = object.get("oneOf").and_then(Value::as_array) else {
        return;
    };
    let mut names = Vec::new();
    let mut meanings = Vec::new();
    for choice in choices {
        let Some([Value::String(name)]) = choice["enum"].as_array().map(Vec::as_slice) else {
            return;
        };
        if let Some(meaning) = choice["description"].as_str() {
            meanings.push(format!("- `{name}`: {meaning}"));
        }
        names.push(json!(name));
    }
    let about = object
        .get("description")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let description = format!("{about}\n\n{}", meanings.join("\n"));
    object.remove("oneOf");
    object.insert("description".to_owned(), json!(description.trim()));
    object.insert("type".to_owned(), json!("string"));
    object.insert("enum".to_owned(), Value::Array(names));
}

/// `1.0` becomes `1`.
fn whole(number: &mut Value) {
    if let Some(float) = number
        .as_f64()
        .filter(|float| number.is_f64() && float.fract() == 0.0)
        && let Ok(Value::Number(integer)) = serde_json::from_str(&format!("{float:.0}"))
    {
        *number = Value::Number(integer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(mut before: Value, after: Value) {
        schema(&mut before);
        assert_eq!(before, after);
    }

    #[test]
    fn null_becomes_a_type() {
        check(
            json!({ "type": "string", "nullable": true }),
            json!({ "type": ["string", "null"] }),
        );
        check(
            json!({ "type": "string", "nullable": false }),
            json!({ "type": "string" }),
        );
        check(
            json!({ "allOf": [{ "$ref": "#/x" }], "nullable": true }),
            json!({ "anyOf": [{ "$ref": "#/x" }, { "type": "null" }] }),
        );
        check(json!({ "nullable": true }), json!({}));
        check(
            json!({ "allOf": [{ "$ref": "#/x" }], "title": "t" }),
            json!({ "$ref": "#/x", "title": "t" }),
        );
        check(
            json!({ "type": "string", "enum": ["a"], "nullable": true }),
            json!({ "type": ["string", "null"], "enum": ["a", null] }),
        );
    }

    #[test]
    fn bounds_become_numbers() {
        check(
            json!({ "minimum": 0.0, "exclusiveMinimum": true }),
            json!({ "exclusiveMinimum": 0 }),
        );
        check(
            json!({ "maximum": 200.0, "exclusiveMaximum": false }),
            json!({ "maximum": 200 }),
        );
        check(json!({ "minimum": 0.5 }), json!({ "minimum": 0.5 }));
    }

    #[test]
    fn rusts_widths_go_and_examples_become_a_list() {
        check(
            json!({ "type": "integer", "format": "uint8" }),
            json!({ "type": "integer" }),
        );
        check(
            json!({ "format": "uuid", "example": 1 }),
            json!({ "format": "uuid", "examples": [1] }),
        );
    }

    #[test]
    fn names_become_one_list() {
        check(
            json!({ "description": "How.", "oneOf": [
                { "type": "string", "enum": ["a"], "description": "First." },
                { "type": "string", "enum": ["b"], "description": "Second." },
            ] }),
            json!({ "type": "string", "enum": ["a", "b"], "description": "How.\n\n- `a`: First.\n- `b`: Second." }),
        );
    }

    #[test]
    fn a_title_is_more_than_a_name() {
        let mut schema = json!({ "title": "User" });
        untitled(&mut schema, "Action");
        assert_eq!(schema, json!({ "title": "User" }));
        untitled(&mut schema, "User");
        assert_eq!(schema, json!({}));
    }

    #[test]
    fn inner_schemas_are_rewritten_too() {
        check(
            json!({ "properties": { "x": { "items": { "type": "string", "nullable": true } } } }),
            json!({ "properties": { "x": { "items": { "type": ["string", "null"] } } } }),
        );
    }
}
