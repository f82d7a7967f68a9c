//! Prints the document in an order of its own, whatever order the JSON library keeps.

use serde_json::Value;

/// The members that come first, in this order; the others follow by name.
const FIRST: [&str; 32] = [
    "openapi",
    "jsonSchemaDialect",
    "info",
    "servers",
    "tags",
    "paths",
    "components",
    "operationId",
    "title",
    "name",
    "in",
    "summary",
    "description",
    "required",
    "get",
    "put",
    "post",
    "patch",
    "delete",
    "parameters",
    "requestBody",
    "responses",
    "security",
    "securitySchemes",
    "schemas",
    "type",
    "format",
    "headers",
    "content",
    "schema",
    "examples",
    "links",
];

/// The document as indented text with a line break at its end; `paths` gives the order of its paths.
pub(super) fn print(document: &Value, paths: &[&str]) -> String {
    let mut text = String::new();
    write(&mut text, document, 0, &FIRST, paths);
    text.push('\n');
    text
}

fn write(text: &mut String, value: &Value, depth: usize, order: &[&str], paths: &[&str]) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            let rank = |name: &str| {
                order
                    .iter()
                    .position(|first| *first == name)
                    .unwrap_or(order.len())
            };
            let mut names: Vec<&String> = members.keys().collect();
            names.sort_by_key(|name| (rank(name), name.as_str()));
            text.push('{');
            for (index, name) in names.into_iter().enumerate() {
                separate(text, index, depth.saturating_add(1));
                text.push_str(&Value::from(name.as_str()).to_string());
                text.push_str(": ");
                // What is named by its author, not by the standard, stands in the author's order or by name.
                let order: &[&str] = match name.as_str() {
                    "paths" => paths,
                    "properties" | "schemas" | "value" => &[],
                    _ => &FIRST,
                };
                if let Some(member) = members.get(name) {
                    write(text, member, depth.saturating_add(1), order, paths);
                }
            }
            separate(text, 0, depth);
            text.push('}');
        }
        Value::Array(items) if !items.is_empty() => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                separate(text, index, depth.saturating_add(1));
                write(text, item, depth.saturating_add(1), &FIRST, paths);
            }
            separate(text, 0, depth);
            text.push(']');
        }
        scalar => text.push_str(&scalar.to_string()),
    }
}

fn separate(text: &mut String, index: usize, depth: usize) {
    if index > 0 {
        text.push(',');
    }
    text.push('\n');
    text.push_str(&"  ".repeat(depth));
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_order_is_its_own() {
        let document = json!({ "paths": { "/a": {}, "/z": [] }, "info": { "x": 1, "title": "t" }, "openapi": "3.1.0" });
        let text = print(&document, &["/z", "/a"]);
        assert_eq!(
            text,
            "{\n  \"openapi\": \"3.1.0\",\n  \"info\": {\n    \"title\": \"t\",\n    \"x\": 1\n  },\n  \
             \"paths\": {\n    \"/z\": [],\n    \"/a\": {}\n  }\n}\n"
        );
    }

    #[test]
    fn what_is_printed_reads_back_the_same() {
        let document = json!({ "a": [1, "two\n\"", null, { "b": {} }], "c": -0.5 });
        assert_eq!(
            serde_json::from_str::<Value>(&print(&document, &[])).unwrap(),
            document
        );
    }
}
