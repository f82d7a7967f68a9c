//! The query string, whatever the operation.

use actix_web::http::Method;
use actix_web::test::TestRequest;
use deed_delivery::openapi;
use serde_json::Value;

use crate::support::*;

/// An unknown parameter is refused by every operation, also by those that know none and those that need no key.
#[actix_web::test]
async fn an_unknown_parameter_is_refused_everywhere() {
    let document: Value = serde_json::from_str(&openapi::document().unwrap()).unwrap();
    let mut checked = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        let path = path
            .replace("{id}", &action_id(1).to_string())
            .replace("{lease_id}", "none")
            .replace("{name}", "echo")
            .replace("{code}", "not_found");
        for (method, operation) in operations.as_object().unwrap() {
            assert!(operation["responses"]["400"].is_object(), "{method} {path}");
            let method = Method::from_bytes(method.to_ascii_uppercase().as_bytes()).unwrap();
            let request = TestRequest::default()
                .method(method.clone())
                .uri(&format!("{path}?zzz=1"))
                .insert_header(KEY);
            let answer = with_root().answer(request).await;
            assert_eq!(answer.status, 400, "{method} {path}: {answer:?}");
            refused(&answer, 400, "validation_failed");
            assert_eq!(
                answer.json()["errors"],
                serde_json::json!([{ "parameter": "zzz", "message": "there is no such parameter" }]),
                "{method} {path}"
            );
            checked += 1;
        }
    }
    assert_eq!(checked, 34);
}

/// A stranger is not told what the query should be.
#[actix_web::test]
async fn the_key_comes_before_the_query() {
    let mut fakes = fakes();
    fakes
        .authenticator
        .expect_authenticate()
        .returning(|_| Ok(None));
    refused(
        &fakes.answer(get("/users/me?zzz=1")).await,
        401,
        "invalid_api_key",
    );
}

/// What is wrong with a cursor is told where it stands.
#[actix_web::test]
async fn a_foreign_cursor_is_named() {
    for path in [
        "/users",
        "/api-keys",
        "/actions",
        "/action-types",
        &format!("/actions/{}/events", action_id(1)),
    ] {
        let request =
            get(&format!("{path}?cursor=abc")).insert_header(("Accept", "application/json"));
        let answer = with_root().answer(request).await;
        refused(&answer, 400, "invalid_cursor");
        assert_eq!(answer.places(), ["cursor"], "{path}");
        assert!(answer.json()["errors"][0]["parameter"].is_string());
    }
}

#[actix_web::test]
async fn an_empty_query_is_none() {
    assert_eq!(fakes().answer(get("/livez?")).await.status, 200);
}
