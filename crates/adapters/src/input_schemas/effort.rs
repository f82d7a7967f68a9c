//! How much work checking an input can be.
//!
//! A schema may apply many rules to one value, and through `$ref` the same rules again at each level of the input: a
//! text of a few lines can ask for more steps than there is time, or for steps without an end. What somebody sends is
//! therefore counted before it is used: no value of an input may be looked at more than [`STEPS_MAX`] times.

use std::collections::HashMap;

use deed_domain::action::Payload;
use deed_domain::ports::SchemaError;
use serde_json::{Map, Value};

/// How many schemas may be applied along one path through an input.
const STEPS_MAX: u64 = 20_000;
/// How many schemas may stand or refer to one within the other: each takes a piece of the stack.
const DEPTH_MAX: usize = 256;

/// Keywords whose value is a schema for the same value of the input, or a list or object of such.
const SAME: [&str; 9] = [
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "if",
    "then",
    "else",
    "dependentSchemas",
    "dependencies",
];
/// Keywords whose value is a schema for the parts of the value, or a list or object of such.
const PARTS: [&str; 9] = [
    "items",
    "prefixItems",
    "additionalItems",
    "contains",
    "patternProperties",
    "additionalProperties",
    "propertyNames",
    "unevaluatedItems",
    "unevaluatedProperties",
];
/// Keywords by which a reference may lead anywhere.
const UNTRACEABLE: [&str; 6] = [
    "$dynamicRef",
    "$dynamicAnchor",
    "$recursiveRef",
    "$recursiveAnchor",
    "$anchor",
    "id",
];

/// One schema within the schema: where to go on from it, by number.
#[derive(Default)]
struct Node {
    /// To schemas for the same value.
    same: Vec<usize>,
    /// To schemas for a part of it, all of which may apply to one part.
    parts: Vec<usize>,
    /// To schemas for a part of it, one of which applies to one part.
    one_of_parts: Vec<usize>,
}

/// Checks that the work of checking an input is bounded.
///
/// # Errors
/// [`SchemaError`] when it is not, or when that can't be told.
pub(super) fn check(schema: &Value) -> Result<(), SchemaError> {
    let mut graph = Graph::default();
    graph.node(schema, schema)?;
    let order = graph.order()?;
    let mut below = vec![0_u64; graph.nodes.len()];
    for _ in 0..=Payload::MAX_DEPTH {
        let mut steps = vec![0_u64; graph.nodes.len()];
        for number in &order {
            let Some(node) = graph.nodes.get(*number) else {
                continue;
            };
            let of = |steps: &[u64], next: &usize| steps.get(*next).copied().unwrap_or(0);
            let same = node.same.iter().map(|next| of(&steps, next));
            let parts = node.parts.iter().map(|next| of(&below, next));
            let one = node.one_of_parts.iter().map(|next| of(&below, next)).max();
            let sum = same.chain(parts).chain(one).fold(1, u64::saturating_add);
            if let Some(steps) = steps.get_mut(*number) {
                *steps = sum;
            }
        }
        if steps.first().is_some_and(|steps| *steps > STEPS_MAX) {
            return Err(SchemaError(
                "checking a deeply nested input would take too long: its alternatives multiply"
                    .to_owned(),
            ));
        }
        below = steps;
    }
    Ok(())
}

#[derive(Default)]
struct Graph {
    nodes: Vec<Node>,
    /// The number of each schema, by its place in memory: a text is read once.
    numbers: HashMap<*const Value, usize>,
    /// How many are being read, one within the other.
    depth: usize,
}

impl Graph {
    /// The number of `schema`, a part of `root`. Recursion ends with the depth of the text, and with known references.
    fn node(&mut self, schema: &Value, root: &Value) -> Result<usize, SchemaError> {
        if let Some(known) = self.numbers.get(&std::ptr::from_ref(schema)) {
            return Ok(*known);
        }
        let number = self.nodes.len();
        self.nodes.push(Node::default());
        self.numbers.insert(std::ptr::from_ref(schema), number);
        let Some(members) = schema.as_object() else {
            return Ok(number);
        };
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(SchemaError(format!(
                "nested deeper than {DEPTH_MAX} levels"
            )));
        }
        let node = self.edges(members, schema, root)?;
        self.depth -= 1;
        if let Some(place) = self.nodes.get_mut(number) {
            *place = node;
        }
        Ok(number)
    }

    fn edges(
        &mut self,
        members: &Map<String, Value>,
        schema: &Value,
        root: &Value,
    ) -> Result<Node, SchemaError> {
        let mut node = Node::default();
        for (keyword, value) in members {
            let word = keyword.as_str();
            let is_inner_id = word == "$id" && !std::ptr::eq(schema, root);
            if (UNTRACEABLE.contains(&word) && value.is_string()) || is_inner_id {
                return Err(SchemaError(format!("{word} is not taken")));
            }
            if word == "$ref" {
                node.same.push(self.target(value, root)?);
            } else if SAME.contains(&word) {
                self.all(word, value, root, &mut node.same)?;
            } else if PARTS.contains(&word) {
                self.all(word, value, root, &mut node.parts)?;
            } else if word == "properties" {
                self.all(word, value, root, &mut node.one_of_parts)?;
            }
        }
        Ok(node)
    }

    /// The schemas that are `value`, or its members.
    fn all(
        &mut self,
        word: &str,
        value: &Value,
        root: &Value,
        found: &mut Vec<usize>,
    ) -> Result<(), SchemaError> {
        let is_named = matches!(
            word,
            "properties" | "patternProperties" | "dependentSchemas" | "dependencies"
        );
        match value {
            Value::Array(items) => {
                for item in items {
                    found.push(self.node(item, root)?);
                }
            }
            Value::Object(members) if is_named => {
                for member in members.values() {
                    found.push(self.node(member, root)?);
                }
            }
            one => found.push(self.node(one, root)?),
        }
        Ok(())
    }

    fn target(&mut self, reference: &Value, root: &Value) -> Result<usize, SchemaError> {
        let pointer = reference
            .as_str()
            .and_then(|text| text.strip_prefix('#'))
            .filter(|pointer| pointer.is_empty() || pointer.starts_with('/'))
            .and_then(|pointer| root.pointer(pointer));
        let Some(target) = pointer else {
            return Err(SchemaError(
                "a $ref must be # or #/ and the path of a part of this schema".to_owned(),
            ));
        };
        self.node(target, root)
    }

    /// The numbers in an order in which each stands behind those that it leads to for the same value.
    fn order(&self) -> Result<Vec<usize>, SchemaError> {
        let mut waits_for: Vec<usize> = self.nodes.iter().map(|node| node.same.len()).collect();
        let mut led_from: Vec<Vec<usize>> = vec![Vec::new(); self.nodes.len()];
        for (number, node) in self.nodes.iter().enumerate() {
            for next in &node.same {
                if let Some(from) = led_from.get_mut(*next) {
                    from.push(number);
                }
            }
        }
        let mut order: Vec<usize> = (0..self.nodes.len())
            .filter(|number| waits_for.get(*number) == Some(&0))
            .collect();
        let mut done = 0;
        while let Some(number) = order.get(done).copied() {
            done += 1;
            for from in led_from.get(number).into_iter().flatten() {
                if let Some(left) = waits_for.get_mut(*from) {
                    *left -= 1;
                    if *left == 0 {
                        order.push(*from);
                    }
                }
            }
        }
        if order.len() < self.nodes.len() {
            return Err(SchemaError("a $ref leads back to itself".to_owned()));
        }
        Ok(order)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check_refused(schema: &Value, word: &str) {
        let error = check(schema).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }

    #[test]
    fn usual_schemas_are_taken() {
        let tree = json!({ "$ref": "#/$defs/node", "$defs": { "node": { "type": "object", "required": ["name"],
            "properties": { "name": { "type": "string" }, "children": { "items": { "$ref": "#/$defs/node" } },
            "left": { "$ref": "#/$defs/node" }, "right": { "$ref": "#/$defs/node" } } } } });
        let ids = json!({ "$id": "https://example.com/a", "properties": { "id": { "type": "string" },
            "$id": true, "$ref": { "minLength": 1 } } });
        for schema in [json!(true), json!({}), tree, ids] {
            assert_eq!(check(&schema), Ok(()), "{schema}");
        }
    }

    #[test]
    fn a_reference_in_a_circle_is_refused() {
        check_refused(&json!({ "$ref": "#" }), "back to itself");
        let two = json!({ "$ref": "#/$defs/a", "$defs": { "a": { "anyOf": [{ "$ref": "#/$defs/b" }] },
            "b": { "not": { "$ref": "#/$defs/a" } } } });
        check_refused(&two, "back to itself");
    }

    #[test]
    fn what_multiplies_is_refused() {
        let mut definitions = Map::new();
        for n in 0..40 {
            let next = json!({ "$ref": format!("#/$defs/{}", n + 1) });
            definitions.insert(n.to_string(), json!({ "allOf": [next, next] }));
        }
        definitions.insert("40".to_owned(), json!({}));
        check_refused(
            &json!({ "$ref": "#/$defs/0", "$defs": definitions }),
            "too long",
        );
        let deep = json!({ "allOf": [{ "items": { "$ref": "#" } }, { "items": { "$ref": "#" } }] });
        check_refused(&deep, "too long");
    }

    #[test]
    fn a_long_chain_of_references_is_refused() {
        let chain = |length: usize| {
            let mut definitions = Map::new();
            for n in 0..length {
                let next = json!({ "$ref": format!("#/$defs/{}", n + 1) });
                definitions.insert(n.to_string(), next);
            }
            definitions.insert(length.to_string(), json!({}));
            json!({ "$ref": "#/$defs/0", "$defs": definitions })
        };
        assert_eq!(check(&chain(DEPTH_MAX - 2)), Ok(()));
        check_refused(&chain(2_000), "deeper");
    }

    #[test]
    fn references_that_cannot_be_followed_are_refused() {
        for reference in [
            "#name",
            "other.json",
            "https://example.com/",
            "#/$defs/none",
        ] {
            check_refused(&json!({ "$ref": reference }), "$ref");
        }
        check_refused(&json!({ "items": { "$dynamicRef": "#a" } }), "$dynamicRef");
        check_refused(&json!({ "items": { "$id": "a" } }), "$id");
    }
}
