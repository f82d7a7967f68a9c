//! The limits of fields: what the server checks and what the document says are the same.

use std::collections::HashMap;
use std::sync::LazyLock;

use deed_api::action::{ActionQuery, CreateAction};
use deed_api::action_type::PutActionType;
use deed_api::api_key::CreateApiKey;
use deed_api::lease::{FinishItem, LeaseActions, ReportEvents};
use deed_api::limits::Limits;
use deed_api::user::{CreateUser, PatchUser};
use deed_delivery::openapi;
use garde::Validate;
use jsonschema::Validator;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// The document, made once for all tests here.
static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(&openapi::document().unwrap()).unwrap());

/// The schemas of the request bodies, compiled.
static SCHEMAS: LazyLock<HashMap<&str, Validator>> = LazyLock::new(|| {
    let names = [
        "CreateUser",
        "PatchUser",
        "CreateApiKey",
        "CreateAction",
        "LeaseActions",
        "ReportEvents",
        "PutActionType",
        "FinishItem",
    ];
    let compiled = names.map(|name| {
        let schema = json!({ "$ref": format!("#/components/schemas/{name}"), "components": DOCUMENT["components"] });
        (name, jsonschema::validator_for(&schema).unwrap())
    });
    HashMap::from(compiled)
});

/// Whether the document's schema takes a body.
fn fits_schema(name: &str, body: &Value) -> bool {
    SCHEMAS[name].is_valid(body)
}

/// Whether the server's own checks take it.
fn fits_limits<T: DeserializeOwned + Validate>(body: &Value, context: &T::Context) -> bool {
    serde_json::from_str::<T>(&body.to_string())
        .is_ok_and(|value| value.validate_with(context).is_ok())
}

fn check<T: DeserializeOwned + Validate>(
    name: &str,
    context: &T::Context,
    body: &Value,
    field: &str,
    value: Value,
    fits: bool,
) {
    let mut body = body.clone();
    body[field] = value;
    let shown: String = body[field].to_string().chars().take(40).collect();
    assert_eq!(
        fits_limits::<T>(&body, context),
        fits,
        "garde: {name}.{field} = {shown}"
    );
    assert_eq!(
        fits_schema(name, &body),
        fits,
        "schema: {name}.{field} = {shown}"
    );
}

/// Texts of min − 1, min, max and max + 1 characters, of one byte and of four.
fn lengths(min: usize, max: usize) -> Vec<(Value, bool)> {
    let mut cases = Vec::new();
    for character in ["x", "𝄞"] {
        for (length, fits) in [
            (min.wrapping_sub(1), false),
            (min, true),
            (max, true),
            (max + 1, false),
        ] {
            if length < usize::MAX {
                cases.push((json!(character.repeat(length)), fits));
            }
        }
    }
    cases
}

#[test]
fn texts_are_counted_in_characters() {
    let user = json!({ "email": "ada@example.com", "name": "Ada", "password": "correct horse" });
    for (field, min, max) in [
        ("name", 1, 100),
        ("password", 8, 128),
        ("external_id", 1, 255),
    ] {
        for (value, fits) in lengths(min, max) {
            check::<CreateUser>("CreateUser", &Limits::default(), &user, field, value, fits);
        }
    }
    for (field, min, max) in [("name", 1, 100), ("external_id", 1, 255)] {
        for (value, fits) in lengths(min, max) {
            check::<PatchUser>("PatchUser", &(), &json!({}), field, value, fits);
        }
    }
    let key = json!({ "name": "laptop", "scopes": ["keys:read"] });
    for (value, fits) in lengths(1, 100) {
        check::<CreateApiKey>("CreateApiKey", &(), &key, "name", value, fits);
    }
}

/// JSON has one kind of number: `2.0` is whole as `2` is, and some languages write it so.
#[test]
fn a_whole_number_may_have_a_fraction_of_nothing() {
    let action = json!({ "type": "echo", "input": {} });
    let lease = json!({ "types": ["echo"], "worker": "w" });
    let report = json!({ "events": [{ "event": "message", "data": 1 }], "from_seq": 1 });
    for (value, fits) in [(json!(2), true), (json!(2.0), true), (json!(2.5), false)] {
        check::<CreateAction>(
            "CreateAction",
            &(),
            &action,
            "priority",
            value.clone(),
            fits,
        );
        for field in ["max", "lease_seconds", "wait_seconds"] {
            check::<LeaseActions>("LeaseActions", &(), &lease, field, value.clone(), fits);
        }
        check::<ReportEvents>(
            "ReportEvents",
            &(),
            &report,
            "from_seq",
            value.clone(),
            fits,
        );
        for field in [
            "max_attempts",
            "attempt_timeout_seconds",
            "lease_seconds",
            "time_limit_seconds",
            "max_running",
            "max_running_per_user",
        ] {
            check::<PutActionType>("PutActionType", &(), &json!({}), field, value.clone(), fits);
        }
    }
}

#[test]
fn an_end_is_one_thing_or_the_other() {
    let complete = json!({ "output": 1 });
    let fail = json!({ "error": { "code": "a", "message": "b" }, "retryable": false });
    for (body, fits) in [
        (json!({ "lease_id": "l", "complete": complete }), true),
        (json!({ "lease_id": "l", "fail": fail }), true),
        (json!({ "lease_id": "l" }), false),
        (
            json!({ "lease_id": "l", "complete": complete, "fail": fail }),
            false,
        ),
        (
            json!({ "lease_id": "l", "complete": complete, "fail": null }),
            false,
        ),
    ] {
        assert_eq!(fits_schema("FinishItem", &body), fits, "{body}");
    }
    // Both and neither are refused where they are read; null is none of them.
    let with_null = json!({ "lease_id": "l", "complete": complete, "fail": null });
    assert!(!fits_limits::<FinishItem>(&with_null, &()));
}

#[test]
fn type_names_have_a_bound() {
    let action = json!({ "type": "echo", "input": {} });
    for (length, fits) in [(0, false), (1, true), (100, true), (101, false)] {
        check::<CreateAction>(
            "CreateAction",
            &(),
            &action,
            "type",
            json!("x".repeat(length)),
            fits,
        );
    }
    for wrong in ["Echo", "a..b", ".a", "a.", "a b", "é"] {
        check::<CreateAction>("CreateAction", &(), &action, "type", json!(wrong), false);
    }
}

#[test]
fn addresses_have_a_bound() {
    let user = json!({ "email": "ada@example.com", "name": "Ada", "password": "correct horse" });
    // 64 characters of local part, then labels of 63 at the most.
    let address = |length: usize| {
        let domain = format!(
            "{}.{}.{}",
            "b".repeat(63),
            "c".repeat(63),
            "d".repeat(length - 64 - 1 - 63 - 1 - 63 - 1)
        );
        format!("{}@{domain}", "a".repeat(64))
    };
    for (length, fits) in [(254, true), (255, false)] {
        assert_eq!(address(length).len(), length);
        check::<CreateUser>(
            "CreateUser",
            &Limits::default(),
            &user,
            "email",
            json!(address(length)),
            fits,
        );
    }
}

#[test]
fn numbers_have_bounds() {
    let action = json!({ "type": "echo", "input": {} });
    for (value, fits) in [
        (json!(-1), false),
        (json!(0), true),
        (json!(9), true),
        (json!(10), false),
        (json!(1.5), false),
    ] {
        check::<CreateAction>("CreateAction", &(), &action, "priority", value, fits);
    }
}

#[test]
fn scopes_are_counted() {
    let key = json!({ "name": "laptop", "scopes": ["keys:read"] });
    for (count, fits) in [(0, false), (1, true), (100, true), (101, false)] {
        check::<CreateApiKey>(
            "CreateApiKey",
            &(),
            &key,
            "scopes",
            json!(vec!["keys:read"; count]),
            fits,
        );
    }
}

#[test]
fn unknown_fields_are_refused_by_both() {
    let user = json!({ "email": "ada@example.com", "name": "Ada", "password": "correct horse" });
    check::<CreateUser>(
        "CreateUser",
        &Limits::default(),
        &user,
        "color",
        json!("red"),
        false,
    );
    check::<PatchUser>("PatchUser", &(), &json!({}), "color", json!("red"), false);
}

#[test]
fn null_in_a_patch_is_for_what_may_go() {
    check::<PatchUser>(
        "PatchUser",
        &(),
        &json!({}),
        "external_id",
        json!(null),
        true,
    );
    for field in ["email", "name", "status"] {
        check::<PatchUser>("PatchUser", &(), &json!({}), field, json!(null), false);
    }
}

/// Query parameters stand in the document without a schema of their own: their bounds are compared as numbers.
#[test]
fn the_limit_of_lists_is_documented() {
    for path in [
        "/users",
        "/api-keys",
        "/actions",
        "/action-types",
        "/actions/{id}/events",
    ] {
        let parameters = DOCUMENT["paths"][path]["get"]["parameters"]
            .as_array()
            .unwrap();
        let limit = parameters
            .iter()
            .find(|parameter| parameter["name"] == "limit")
            .unwrap();
        assert_eq!(
            (&limit["schema"]["minimum"], &limit["schema"]["maximum"]),
            (&json!(1), &json!(200)),
            "{path}"
        );
    }
    let query = |limit: u16| ActionQuery {
        limit: Some(limit),
        ..ActionQuery::default()
    };
    for (limit, fits) in [(0, false), (1, true), (200, true), (201, false)] {
        assert_eq!(query(limit).validate().is_ok(), fits, "{limit}");
    }
}
