//! `/action-types`.

use actix_web::test::TestRequest;
use deed_domain::action::{Concurrency, Payload, PerformedBy, RetryPolicy};
use deed_domain::ports::{SchemaError, TypeDefined, TypeRemoved};
use insta::assert_snapshot;

use crate::support::*;

#[actix_web::test]
async fn list_a_page_at_a_time() {
    let mut fakes = with_scopes(&["actions:read"]);
    fakes.types.expect_list().returning(|| {
        Ok(vec![
            action_type("echo"),
            action_type("report.render"),
            action_type("wait"),
        ])
    });
    let api = fakes.into_api();
    let names = |answer: &Answer| {
        let items = answer.json()["items"].as_array().cloned().unwrap();
        items
            .iter()
            .map(|item| item["name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let first = answer(&api, get("/action-types?limit=2")).await;
    assert_eq!(names(&first), ["echo", "report.render"]);
    let cursor = first.json()["next_cursor"].as_str().unwrap().to_owned();
    let second = answer(&api, get(&format!("/action-types?limit=2&cursor={cursor}"))).await;
    assert_eq!(names(&second), ["wait"]);
    assert!(second.json()["next_cursor"].is_null());
}

#[actix_web::test]
async fn narrowed_keys_see_their_types() {
    let mut fakes = with_scopes(&["actions:read:report.*"]);
    fakes
        .types
        .expect_list()
        .returning(|| Ok(vec![action_type("echo"), action_type("report.render")]));
    let answer = fakes.answer(get("/action-types")).await;
    assert_eq!(answer.json()["items"].as_array().unwrap().len(), 1);
}

#[actix_web::test]
async fn find() {
    let mut fakes = with_scopes(&["actions:read"]);
    fakes.types.expect_find().returning(|name| {
        let mut found = action_type(name.as_str());
        found.input_schema = Some(Payload::parse(r#"{"type":"object", "x":1.0}"#).unwrap());
        Ok(Some(found))
    });
    assert_snapshot!(fakes.answer(get("/action-types/echo")).await.text());
}

#[actix_web::test]
async fn an_unknown_type_is_not_found() {
    let mut fakes = with_scopes(&["actions:read"]);
    fakes.types.expect_find().times(1).returning(|_| Ok(None));
    let api = fakes.into_api();
    refused(
        &answer(&api, get("/action-types/echo")).await,
        404,
        "action_type_not_found",
    );
    refused(
        &answer(&api, get("/action-types/No%20Name")).await,
        404,
        "action_type_not_found",
    );
}

#[actix_web::test]
async fn a_name_has_a_bound() {
    let path = format!("/action-types/{}", "x".repeat(256));
    let answer = with_scopes(&["actions:read"]).answer(get(&path)).await;
    refused(&answer, 400, "validation_failed");
    assert_eq!(answer.places(), ["name"]);
}

fn put(path: &str, body: &str) -> TestRequest {
    with_json(TestRequest::put().uri(path).insert_header(KEY), body)
}

fn delete(path: &str) -> TestRequest {
    TestRequest::delete().uri(path).insert_header(KEY)
}

#[actix_web::test]
async fn a_new_type_is_defined_with_what_was_sent() {
    let mut fakes = with_scopes(&["types:write"]);
    fakes.schemas.expect_admit().returning(|_| Ok(()));
    fakes.types.expect_define().times(1).returning(|defined| {
        assert_eq!(defined.performed_by, PerformedBy::Workers);
        assert_eq!(defined.attempt_timeout.as_secs(), 60);
        assert_eq!(defined.time_limit.unwrap().as_secs(), 2_592_000);
        let concurrency = Concurrency {
            total: Some(10_000),
            per_user: Some(1),
            per_replica: None,
        };
        assert_eq!(defined.concurrency, concurrency);
        let half = std::time::Duration::from_millis(500);
        assert_eq!(
            defined.retry,
            RetryPolicy::new(half, 2.0, std::time::Duration::from_secs(300))
        );
        Ok(TypeDefined::Created)
    });
    let body = r#"{"input_schema":{"b":1, "a":1.0},"max_attempts":7,"attempt_timeout_seconds":60,"lease_seconds":3600,"time_limit_seconds":2592000,"max_running":10000,"max_running_per_user":1,"retry":{"initial_seconds":0.5}}"#;
    assert_snapshot!(
        fakes
            .answer(put("/action-types/report.render", body))
            .await
            .text()
    );
}

#[actix_web::test]
async fn what_is_left_out_has_its_default() {
    let mut fakes = with_scopes(&["types:write"]);
    fakes
        .types
        .expect_define()
        .returning(|_| Ok(TypeDefined::Replaced));
    let answer = fakes
        .answer(put("/action-types/report", r#"{"input_schema":null}"#))
        .await;
    assert_eq!((answer.status, answer.header("location")), (200, None));
    let body = answer.json();
    assert_eq!(body["input_schema"], serde_json::Value::Null);
    assert_eq!(body["max_attempts"], 3);
    assert_eq!(body["lease_seconds"], 30);
    assert_eq!(body["time_limit_seconds"], serde_json::Value::Null);
    for limit in [
        "max_running",
        "max_running_per_user",
        "max_running_per_replica",
    ] {
        assert_eq!(body[limit], serde_json::Value::Null);
    }
}

#[actix_web::test]
async fn all_limits_of_a_type_are_told_together() {
    let body = r#"{"max_attempts":0,"attempt_timeout_seconds":86401,"lease_seconds":3601,"time_limit_seconds":2592001,"max_running":0,"max_running_per_user":10001,"retry":{"initial_seconds":-1,"factor":0.5,"max_seconds":86401}}"#;
    let answer = with_scopes(&["types:write"])
        .answer(put("/action-types/report", body))
        .await;
    refused(&answer, 400, "validation_failed");
    let mut places = answer.places();
    places.sort();
    assert_eq!(
        places,
        [
            "#/attempt_timeout_seconds",
            "#/lease_seconds",
            "#/max_attempts",
            "#/max_running",
            "#/max_running_per_user",
            "#/retry/factor",
            "#/retry/initial_seconds",
            "#/retry/max_seconds",
            "#/time_limit_seconds",
        ]
    );
}

#[actix_web::test]
async fn a_bad_name_or_schema_is_refused() {
    let mut fakes = with_scopes(&["types:write"]);
    fakes
        .schemas
        .expect_admit()
        .returning(|_| Err(SchemaError("because".to_owned())));
    let api = fakes.into_api();
    let bad_name = answer(&api, put("/action-types/No%20Name", "{}")).await;
    assert_eq!(bad_name.places(), ["name"]);
    let long = format!(r#"{{"input_schema":"{}"}}"#, "a".repeat(65_536));
    for body in [r#"{"input_schema":{"type":7}}"#, &long] {
        let answer = answer(&api, put("/action-types/report", body)).await;
        refused(&answer, 400, "validation_failed");
        assert_eq!(answer.places(), ["#/input_schema"]);
    }
}

#[actix_web::test]
async fn a_handlers_type_is_not_defined() {
    let mut fakes = with_scopes(&["types:write"]);
    fakes
        .types
        .expect_define()
        .returning(|_| Ok(TypeDefined::HasHandler));
    let answer = fakes.answer(put("/action-types/echo", "{}")).await;
    refused(&answer, 409, "type_has_handler");
}

#[actix_web::test]
async fn a_type_is_removed_when_nothing_is_in_the_way() {
    for (verdict, status, code) in [
        (TypeRemoved::Removed, 204, ""),
        (TypeRemoved::Unknown, 404, "action_type_not_found"),
        (TypeRemoved::HasHandler, 409, "type_has_handler"),
        (TypeRemoved::HasActions, 409, "type_has_actions"),
    ] {
        let mut fakes = with_scopes(&["types:write"]);
        fakes.types.expect_remove().returning(move |_| Ok(verdict));
        let answer = fakes.answer(delete("/action-types/report")).await;
        assert_eq!(answer.status, status, "{answer:?}");
        if !code.is_empty() {
            refused(&answer, status, code);
        }
    }
}

#[actix_web::test]
async fn defining_needs_its_scope() {
    let scopes = ["actions:read", "actions:write", "actions:work"];
    for request in [put("/action-types/a", "{}"), delete("/action-types/a")] {
        let answer = with_scopes(&scopes).answer(request).await;
        refused(&answer, 403, "insufficient_scope");
    }
}
