//! Which members of an answer are always there.
//!
//! schemars takes every `Option` for one that may be absent. That is right for requests, whose readers do without it.
//! An answer writes all its members, null or not, and a client may count on them.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{DocumentError, failed};

const SCHEMAS: &str = "#/components/schemas/";

/// The members that are absent when there is nothing to say; they are never null.
const LEFT_OUT: [(&str, &[&str]); 7] = [
    ("Fault", &["header", "parameter", "pointer"]),
    ("FinishedBody", &["draining"]),
    ("FinishedItemBody", &["error"]),
    ("HealthBody", &["checks"]),
    ("HeartbeatBody", &["draining"]),
    ("LeasesBody", &["draining"]),
    ("Problem", &["errors"]),
];

/// Marks what is always written as required, in every schema that only answers refer to. Expects the schemas of 3.0.
///
/// # Errors
/// [`DocumentError`] when the table of what is left out names something that isn't there.
pub(super) fn require_what_is_written(document: &mut Value) -> Result<(), DocumentError> {
    let names = of_answers(document);
    for (name, members) in LEFT_OUT {
        let properties = &document["components"]["schemas"][name]["properties"];
        if !names.contains(name) || members.iter().any(|member| properties[member].is_null()) {
            return Err(failed(format!("{name} leaves out what it hasn't")));
        }
    }
    for name in names {
        let left_out: &[&str] = LEFT_OUT
            .iter()
            .find(|(known, _)| *known == name)
            .map_or(&[], |(_, members)| members);
        let schema = &mut document["components"]["schemas"][&name];
        let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) else {
            continue;
        };
        for member in left_out {
            if let Some(member) = properties.get_mut(*member).and_then(Value::as_object_mut) {
                member.remove("nullable");
            }
        }
        let written: BTreeSet<&String> = properties
            .keys()
            .filter(|member| !left_out.contains(&member.as_str()))
            .collect();
        schema["required"] = json!(written);
    }
    Ok(())
}

/// The names of the schemas that answers refer to, at any depth, and no request does.
fn of_answers(document: &Value) -> BTreeSet<String> {
    let schemas = &document["components"]["schemas"];
    let (mut answers, mut requests) = (BTreeSet::new(), BTreeSet::new());
    collect(&document["components"]["responses"], schemas, &mut answers);
    let items = document["paths"].as_object().into_iter();
    for operation in items
        .flat_map(Map::values)
        .filter_map(Value::as_object)
        .flat_map(Map::values)
    {
        collect(&operation["responses"], schemas, &mut answers);
        collect(&operation["requestBody"], schemas, &mut requests);
    }
    answers.retain(|name| schemas[name].is_object() && !requests.contains(name));
    answers
}

fn collect(value: &Value, schemas: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            let name = members
                .get("$ref")
                .and_then(Value::as_str)
                .and_then(|reference| reference.strip_prefix(SCHEMAS));
            if let Some(name) = name
                && found.insert(name.to_owned())
            {
                collect(&schemas[name], schemas, found);
            }
            for member in members.values() {
                collect(member, schemas, found);
            }
        }
        Value::Array(items) => {
            for item in items {
                collect(item, schemas, found);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use deed_api::action::{ActionBatchBody, ActionBody, ActionErrorBody, ActionSummaryBody};
    use deed_api::action_type::{ActionTypeBody, RetryBody};
    use deed_api::api_key::{ApiKeyBody, IssuedApiKeyBody};
    use deed_api::event::{EventBody, StreamTicketBody};
    use deed_api::health::HealthBody;
    use deed_api::lease::{
        FinishError, FinishedBody, FinishedItemBody, HeartbeatBody, LeaseBody, LeasedActionBody,
        LeasesBody, RenewedBody, ReportedBody,
    };
    use deed_api::page::Page;
    use deed_api::problem::{Fault, Problem};
    use deed_api::user::{MeBody, UserBody};
    use serde::Serialize;
    use serde::de::DeserializeOwned;

    const ID: &str = "0198c0de-0000-7000-8000-000000000001";
    const AT: &str = "2026-01-31T10:00:00Z";

    fn document() -> Value {
        serde_json::from_str(&super::super::document().unwrap()).unwrap()
    }

    /// What `T` writes when it has nothing to say beyond `given`: absent members are read as null or empty.
    fn written<T: Serialize + DeserializeOwned>(given: Value) -> BTreeSet<String> {
        let value: T = serde_json::from_str(&given.to_string()).unwrap();
        let text = serde_json::to_string(&value).unwrap();
        let object: Map<String, Value> = serde_json::from_str(&text).unwrap();
        object.keys().cloned().collect()
    }

    /// Asked of serde itself: what the emptiest answer of each type writes is what the document requires.
    #[test]
    fn an_answer_requires_what_it_always_writes() {
        let user = json!({ "id": ID, "email": "a@b.example", "name": "A", "status": "active",
            "created_at": AT, "updated_at": AT, "scopes": [] });
        let key = json!({ "id": ID, "user_id": ID, "name": "k", "scopes": [], "created_at": AT, "secret": "s" });
        let action = json!({ "id": ID, "type": "t", "status": "queued", "user_id": ID, "input": 1, "attempt": 0,
            "max_attempts": 1, "priority": 5, "created_at": AT });
        let retry = json!({ "initial_seconds": 1.0, "factor": 2.0, "max_seconds": 9.0 });
        let action_type = json!({ "name": "t", "performed_by": "handler", "max_attempts": 1,
            "attempt_timeout_seconds": 1, "lease_seconds": 1, "retry": retry });
        let event = json!({ "seq": 1, "event": "created", "at": AT, "data": {} });
        let problem = json!({ "error": "e", "message": "m", "type": "t", "title": "t", "status": 400,
            "instance": "/", "request_id": "r" });
        let leased = json!({ "id": ID, "type": "t", "user_id": ID, "input": 1, "attempt": 1, "max_attempts": 1 });
        let lease = json!({ "lease_id": "l", "action": leased, "expires_at": AT, "deadline_at": AT, "next_seq": 3 });
        let renewed = json!({ "lease_id": "l", "ok": false, "cancel_requested": false });
        let reported = json!({ "next_seq": 3, "cancel_requested": false });
        let page = json!({ "items": [] });
        let expected = [
            ("ActionBatchBody", written::<ActionBatchBody>(page.clone())),
            ("ActionBody", written::<ActionBody>(action.clone())),
            (
                "ActionErrorBody",
                written::<ActionErrorBody>(json!({ "code": "c", "message": "m" })),
            ),
            ("ActionSummaryBody", written::<ActionSummaryBody>(action)),
            ("ActionTypeBody", written::<ActionTypeBody>(action_type)),
            ("ApiKeyBody", written::<ApiKeyBody>(key.clone())),
            ("EventBody", written::<EventBody>(event)),
            ("Fault", written::<Fault>(json!({ "message": "m" }))),
            (
                "FinishError",
                written::<FinishError>(json!({ "code": "c", "message": "m" })),
            ),
            (
                "FinishedBody",
                written::<FinishedBody>(json!({ "results": [], "leases": [] })),
            ),
            (
                "FinishedItemBody",
                written::<FinishedItemBody>(json!({ "lease_id": "l", "ok": true })),
            ),
            (
                "HealthBody",
                written::<HealthBody>(json!({ "status": "ok" })),
            ),
            (
                "HeartbeatBody",
                written::<HeartbeatBody>(json!({ "leases": [] })),
            ),
            ("IssuedApiKeyBody", written::<IssuedApiKeyBody>(key)),
            ("LeaseBody", written::<LeaseBody>(lease)),
            ("LeasedActionBody", written::<LeasedActionBody>(leased)),
            ("LeasesBody", written::<LeasesBody>(json!({ "leases": [] }))),
            ("MeBody", written::<MeBody>(user.clone())),
            (
                "PageOfActionSummaryBody",
                written::<Page<ActionSummaryBody>>(page.clone()),
            ),
            (
                "PageOfActionTypeBody",
                written::<Page<ActionTypeBody>>(page.clone()),
            ),
            (
                "PageOfApiKeyBody",
                written::<Page<ApiKeyBody>>(page.clone()),
            ),
            ("PageOfEventBody", written::<Page<EventBody>>(page.clone())),
            ("PageOfUserBody", written::<Page<UserBody>>(page)),
            ("Problem", written::<Problem>(problem)),
            ("RenewedBody", written::<RenewedBody>(renewed)),
            ("ReportedBody", written::<ReportedBody>(reported)),
            ("RetryBody", written::<RetryBody>(retry)),
            (
                "StreamTicketBody",
                written::<StreamTicketBody>(json!({ "ticket": "t", "expires_at": AT })),
            ),
            ("UserBody", written::<UserBody>(user)),
        ];
        let document = document();
        let schemas = &document["components"]["schemas"];
        for (name, written) in &expected {
            let required: BTreeSet<String> =
                serde_json::from_value(schemas[name]["required"].clone()).unwrap();
            assert_eq!(required, *written, "{name}");
        }
        let objects: Vec<String> = of_answers(&document)
            .into_iter()
            .filter(|name| schemas[name]["properties"].is_object())
            .filter(|name| !super::super::events::schemas().contains_key(name))
            .collect();
        assert_eq!(
            objects,
            expected.map(|(name, _)| name),
            "an answer that isn't tried here"
        );
    }

    #[test]
    fn what_is_left_out_is_never_null() {
        let document = document();
        for (name, members) in LEFT_OUT {
            for member in members {
                let schema = &document["components"]["schemas"][name]["properties"][member];
                // A type or another schema by name, and no choice between it and null.
                let is_plain = schema["type"].is_string() || schema["$ref"].is_string();
                assert!(is_plain, "{name}.{member}: {schema}");
            }
        }
    }

    #[test]
    fn requests_stay_as_they_are() {
        let document = document();
        let schemas = &document["components"]["schemas"];
        assert_eq!(
            schemas["CreateApiKey"]["required"],
            json!(["name", "scopes"])
        );
        assert_eq!(
            schemas["CreateAction"]["required"],
            json!(["input", "type"])
        );
        assert_eq!(schemas["PatchUser"]["required"], Value::Null);
    }

    #[test]
    fn a_row_for_nothing_is_an_error() {
        let mut document = json!({ "components": { "schemas": {} }, "paths": {} });
        assert!(require_what_is_written(&mut document).is_err());
    }
}
