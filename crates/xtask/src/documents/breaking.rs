//! Which changes of the OpenAPI document break the clients of a released one.
//!
//! What a client sends has to be taken still, and what it is answered must be something that it knows. What comes
//! on top (an operation, an optional input, a member of an answer) breaks nobody, and neither does another error.

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

/// Marks a set of names that may grow: clients are told to expect others.
const OPEN_SET: &str = "x-open-set";

/// What a client of `released` would stumble over in `present`, a sentence each.
pub(crate) fn changes(released: &Value, present: &Value) -> Vec<String> {
    let mut comparison = Comparison {
        released,
        present,
        compared: BTreeSet::new(),
        found: Vec::new(),
    };
    comparison.documents();
    comparison.found
}

/// Who writes what a schema describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    /// The client, so that nothing may become narrower.
    Asked,
    /// The server, so that nothing may become wider.
    Answered,
}

struct Comparison<'a> {
    released: &'a Value,
    present: &'a Value,
    /// The schemas that are compared already or at the moment, so that one that many refer to is told of once.
    compared: BTreeSet<(String, String, Side)>,
    found: Vec<String>,
}

impl Comparison<'_> {
    fn say(&mut self, place: &str, what: &str) {
        self.found.push(format!("{place}: {what}"));
    }

    fn documents(&mut self) {
        let (released, present) = (self.released, self.present);
        let schemes = |document| at(at(document, "components"), "securitySchemes");
        for (name, scheme) in members(schemes(released)) {
            let now = at(schemes(present), name);
            if ["type", "in", "name", "scheme"]
                .iter()
                .any(|member| at(scheme, member) != at(now, member))
            {
                self.say(name, "the way to send a key has changed");
            }
        }
        let now = operations(present);
        for (name, operation) in operations(released) {
            match now.get(&name) {
                Some(now) => self.operation(&name, operation, now),
                None => self.say(&name, "is gone"),
            }
        }
    }

    fn operation(&mut self, name: &str, released: &Value, present: &Value) {
        let id = at(released, "operationId");
        if id != at(present, "operationId") {
            self.say(name, &format!("is no longer called {id}"));
        }
        self.access(name, released, present);
        self.parameters(name, released, present);
        self.request(name, released, present);
        self.responses(name, released, present);
    }

    fn access(&mut self, name: &str, released: &Value, present: &Value) {
        let scope = at(present, "x-scope");
        if !scope.is_null() && scope != at(released, "x-scope") {
            self.say(name, &format!("needs the scope {scope} now"));
        }
        let (old, new) = (
            list(at(released, "security")),
            list(at(present, "security")),
        );
        let is_refused = match old {
            [] => !new.is_empty(),
            old => !new.is_empty() && old.iter().any(|way| !new.contains(way)),
        };
        if is_refused {
            self.say(name, "a way to call it is refused now");
        }
    }

    fn parameters(&mut self, name: &str, released: &Value, present: &Value) {
        let old = parameters(self.released, released);
        let new = parameters(self.present, present);
        for (key, parameter) in &old {
            let place = format!("{name} {key}");
            let Some(now) = new.get(key) else {
                self.say(&place, "is gone");
                continue;
            };
            if is_required(now) && !is_required(parameter) {
                self.say(&place, "is required now");
            }
            let (old, new) = (at(parameter, "schema"), at(now, "schema"));
            self.schemas(&place, Side::Asked, old, new);
        }
        for (key, parameter) in &new {
            if is_required(parameter) && !old.contains_key(key) {
                self.say(&format!("{name} {key}"), "is new and required");
            }
        }
    }

    fn request(&mut self, name: &str, released: &Value, present: &Value) {
        let old = resolved(self.released, at(released, "requestBody"));
        let new = resolved(self.present, at(present, "requestBody"));
        let place = format!("{name} body");
        if is_required(&new) && !is_required(&old) {
            self.say(&place, "is required now");
        }
        self.contents(&place, Side::Asked, &old, &new);
    }

    fn responses(&mut self, name: &str, released: &Value, present: &Value) {
        for (status, response) in members(at(released, "responses")) {
            let place = format!("{name} {status}");
            let now = at(at(present, "responses"), status);
            if now.is_null() {
                if status.starts_with(['2', '3']) {
                    self.say(&place, "is no longer answered");
                }
                continue;
            }
            let old = resolved(self.released, response);
            let new = resolved(self.present, now);
            for (header, _) in members(at(&old, "headers")) {
                if at(at(&new, "headers"), header).is_null() {
                    self.say(&place, &format!("has lost its header {header}"));
                }
            }
            self.contents(&place, Side::Answered, &old, &new);
        }
    }

    fn contents(&mut self, place: &str, side: Side, released: &Value, present: &Value) {
        for (kind, media) in members(at(released, "content")) {
            let now = at(at(present, "content"), kind);
            if now.is_null() {
                self.say(place, &format!("is no longer {kind}"));
                continue;
            }
            self.schemas(place, side, at(media, "schema"), at(now, "schema"));
        }
    }

    fn schemas(&mut self, place: &str, side: Side, released: &Value, present: &Value) {
        let names = (reference(released), reference(present));
        if names != (None, None) {
            let key = (released.to_string(), present.to_string(), side);
            if !self.compared.insert(key) {
                return;
            }
        }
        // A schema with a name is spoken of by its name, wherever it was come across.
        let place = match names.0 {
            Some(name) if members(released).count() == 1 => name.rsplit('/').next(),
            _ => None,
        }
        .unwrap_or(place)
        .to_owned();
        let old = resolved(self.released, released);
        let new = resolved(self.present, present);
        let (was, is) = (alternatives(&old), alternatives(&new));
        if was.is_some() || is.is_some() {
            let was = was.unwrap_or_else(|| std::slice::from_ref(&*old));
            let is = is.unwrap_or_else(|| std::slice::from_ref(&*new));
            self.choices(&place, side, was, is);
            return;
        }
        self.types(&place, side, &old, &new);
        self.names(&place, side, &old, &new);
        if side == Side::Asked {
            self.limits(&place, &old, &new);
        }
        self.objects(&place, side, &old, &new);
        for inner in ["items", "contentSchema"] {
            if !at(&old, inner).is_null() || !at(&new, inner).is_null() {
                let place = format!("{place}[]");
                self.schemas(&place, side, at(&old, inner), at(&new, inner));
            }
        }
    }

    /// Each alternative that was taken has one that takes it still; each that is answered has one that was known.
    fn choices(&mut self, place: &str, side: Side, released: &[Value], present: &[Value]) {
        let fits = |old: &Value, new: &Value| {
            let mut trial = Comparison {
                released: self.released,
                present: self.present,
                compared: self.compared.clone(),
                found: Vec::new(),
            };
            trial.schemas(place, side, old, new);
            trial.found.is_empty()
        };
        let is_broken = match side {
            Side::Asked => !released
                .iter()
                .all(|old| present.iter().any(|new| fits(old, new))),
            Side::Answered => !present
                .iter()
                .all(|new| released.iter().any(|old| fits(old, new))),
        };
        if is_broken {
            self.say(
                place,
                match side {
                    Side::Asked => "one of its forms is no longer taken",
                    Side::Answered => "has a form that was not there",
                },
            );
        }
    }

    fn types(&mut self, place: &str, side: Side, released: &Value, present: &Value) {
        let (old, new) = (types(released), types(present));
        let (inner, outer) = match side {
            Side::Asked => (&old, &new),
            Side::Answered => (&new, &old),
        };
        let is_within = match (inner, outer) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(inner), Some(outer)) => inner.iter().all(|kind| {
                outer.contains(kind) || (*kind == "integer" && outer.contains("number"))
            }),
        };
        if !is_within {
            let told = |kinds: &Option<BTreeSet<&str>>| match kinds {
                Some(kinds) => kinds.iter().copied().collect::<Vec<_>>().join(" or "),
                None => "anything".to_owned(),
            };
            self.say(place, &format!("was {}, is {}", told(&old), told(&new)));
        }
        let (old, new) = (at(released, "format"), at(present, "format"));
        let is_other = match side {
            Side::Asked => !new.is_null() && new != old,
            Side::Answered => !old.is_null() && new != old,
        };
        if is_other {
            self.say(place, &format!("had the format {old}, has {new}"));
        }
    }

    fn names(&mut self, place: &str, side: Side, released: &Value, present: &Value) {
        let (old, new) = (names(released), names(present));
        match (side, old, new) {
            (Side::Asked, _, None) | (Side::Answered, None, _) => {}
            (Side::Asked, None, Some(_)) => self.say(place, "takes only some names now"),
            (Side::Asked, Some(old), Some(new)) => {
                for name in old.iter().filter(|name| !new.contains(name)) {
                    self.say(place, &format!("no longer takes {name}"));
                }
            }
            (Side::Answered, Some(_), _) if at(released, OPEN_SET) == true => {}
            (Side::Answered, Some(_), None) => self.say(place, "may be any name now"),
            (Side::Answered, Some(old), Some(new)) => {
                for name in new.iter().filter(|name| !old.contains(name)) {
                    self.say(place, &format!("may be {name} now"));
                }
            }
        }
    }

    /// Of what is asked: no bound may come nearer, and none may come up.
    fn limits(&mut self, place: &str, released: &Value, present: &Value) {
        const LOWER: [&str; 5] = [
            "minimum",
            "exclusiveMinimum",
            "minLength",
            "minItems",
            "minProperties",
        ];
        const UPPER: [&str; 5] = [
            "maximum",
            "exclusiveMaximum",
            "maxLength",
            "maxItems",
            "maxProperties",
        ];
        const EXACT: [&str; 2] = ["pattern", "multipleOf"];
        let number = |schema: &Value, word: &str| at(schema, word).as_f64();
        for word in LOWER {
            // Nothing is shorter than nothing.
            let none =
                word.ends_with("Length") || word.ends_with("Items") || word.ends_with("Properties");
            let old = number(released, word).or(none.then_some(0.0));
            if let Some(new) = number(present, word)
                && old.is_none_or(|old| new > old)
            {
                self.say(place, &format!("has {word} {new} now"));
            }
        }
        for word in UPPER {
            let old = number(released, word);
            if let Some(new) = number(present, word)
                && old.is_none_or(|old| new < old)
            {
                self.say(place, &format!("has {word} {new} now"));
            }
        }
        for word in EXACT {
            let new = at(present, word);
            if !new.is_null() && new != at(released, word) {
                self.say(place, &format!("has {word} {new} now"));
            }
        }
    }

    fn objects(&mut self, place: &str, side: Side, released: &Value, present: &Value) {
        let inner = |name: &str| format!("{place}.{name}");
        for (name, property) in members(at(released, "properties")) {
            match at(at(present, "properties"), name) {
                Value::Null => self.say(&inner(name), "is gone"),
                now => self.schemas(&inner(name), side, property, now),
            }
        }
        let (old, new) = (
            list(at(released, "required")),
            list(at(present, "required")),
        );
        let (more, than, what) = match side {
            Side::Asked => (new, old, "is required now"),
            Side::Answered => (old, new, "is no longer always there"),
        };
        for name in more.iter().filter(|name| !than.contains(name)) {
            self.say(&inner(name.as_str().unwrap_or_default()), what);
        }
        let (old, new) = (
            at(released, "additionalProperties"),
            at(present, "additionalProperties"),
        );
        if side == Side::Asked && new == false && old != false {
            self.say(place, "takes no other members now");
        }
        if old.is_object() && new.is_object() {
            self.schemas(&inner("*"), side, old, new);
        }
    }
}

/// The operations by method and path.
fn operations(document: &Value) -> BTreeMap<String, &Value> {
    const METHODS: [&str; 5] = ["get", "put", "post", "patch", "delete"];
    let paths = members(at(document, "paths"));
    paths
        .flat_map(|(path, item)| {
            METHODS.into_iter().filter_map(move |method| {
                let name = format!("{} {path}", method.to_uppercase());
                Some((name, item.get(method)?))
            })
        })
        .collect()
}

/// The parameters of an operation by place and name.
fn parameters<'a>(document: &'a Value, operation: &'a Value) -> BTreeMap<String, Cow<'a, Value>> {
    let parameters = list(at(operation, "parameters")).iter();
    parameters
        .map(|parameter| {
            let parameter = resolved(document, parameter);
            let word = |member| at(&parameter, member).as_str().unwrap_or_default();
            (format!("{} {}", word("in"), word("name")), parameter)
        })
        .collect()
}

fn is_required(value: &Value) -> bool {
    at(value, "required") == true
}

/// The value that a reference leads to, with what stands beside it; and all of `allOf` in one.
fn resolved<'a>(document: &'a Value, value: &'a Value) -> Cow<'a, Value> {
    let target = reference(value)
        .map(|name| document.pointer(name.trim_start_matches('#')))
        .map(|target| target.unwrap_or(&Value::Null));
    let all = list(at(value, "allOf"));
    if target.is_none() && all.is_empty() {
        return Cow::Borrowed(value);
    }
    let mut merged = Value::Object(Map::new());
    for part in target.into_iter().chain(all) {
        merge(&mut merged, &resolved(document, part));
    }
    merge(&mut merged, value);
    if let Some(merged) = merged.as_object_mut() {
        merged.remove("$ref");
        merged.remove("allOf");
    }
    Cow::Owned(merged)
}

/// Adds what another schema of the same value says.
fn merge(into: &mut Value, from: &Value) {
    let Some(into) = into.as_object_mut() else {
        return;
    };
    for (name, member) in members(from) {
        let found = into.entry(name).or_insert(Value::Null);
        match found {
            Value::Object(_) if name == "properties" => {
                for (property, schema) in members(member) {
                    let Some(found) = found.as_object_mut() else {
                        break;
                    };
                    let found = found
                        .entry(property)
                        .or_insert_with(|| Value::Object(Map::new()));
                    merge(found, schema);
                }
            }
            Value::Array(found) if name == "required" => found.extend_from_slice(list(member)),
            found => *found = member.clone(),
        }
    }
}

fn reference(value: &Value) -> Option<&str> {
    at(value, "$ref").as_str()
}

fn alternatives(schema: &Value) -> Option<&[Value]> {
    let found = ["anyOf", "oneOf"].map(|word| list(at(schema, word)));
    found.into_iter().find(|found| !found.is_empty())
}

/// The types that a schema allows; `None` where it allows any.
fn types(schema: &Value) -> Option<BTreeSet<&str>> {
    match at(schema, "type") {
        Value::String(one) => Some(BTreeSet::from([one.as_str()])),
        Value::Array(several) => Some(several.iter().filter_map(Value::as_str).collect()),
        _ => None,
    }
}

/// The values that a schema lists; `None` where it lists none.
fn names(schema: &Value) -> Option<&[Value]> {
    match at(schema, "const") {
        Value::Null => at(schema, "enum").as_array().map(Vec::as_slice),
        one => Some(std::slice::from_ref(one)),
    }
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The member of that name, or null.
fn at<'a>(value: &'a Value, name: &str) -> &'a Value {
    value.get(name).unwrap_or(&Value::Null)
}
