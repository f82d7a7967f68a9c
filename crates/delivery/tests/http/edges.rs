//! What happens around every request.

use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Service;
use actix_web::http::Method;
use actix_web::test::{TestRequest, init_service};
use deed_delivery::{Check, app};
use deed_domain::StoreError;
use deed_domain::action::{Sequence, Status};
use deed_domain::ports::Submitted;
use futures_util::future::Either;
use futures_util::stream::{self, StreamExt};
use insta::assert_snapshot;
use tokio::time::timeout;

use crate::support::*;

const SOON: Duration = Duration::from_secs(10);

fn bare(method: Method, path: &str) -> TestRequest {
    TestRequest::default().method(method).uri(path)
}

#[actix_web::test]
async fn an_unknown_path_is_a_problem() {
    assert_snapshot!(fakes().answer(get("/nothing?key=secret")).await.text());
    for path in [
        "/users/",
        "//users",
        "/",
        "/actions/x/y/z",
        "/docs/nothing.js",
    ] {
        refused(&fakes().answer(get(path)).await, 404, "not_found");
    }
}

#[actix_web::test]
async fn a_known_path_tells_its_methods() {
    let check = async |method: Method, path: &str, allow: &str| {
        let answer = fakes().answer(bare(method, path)).await;
        refused(&answer, 405, "method_not_allowed");
        assert_eq!(answer.header("allow"), Some(allow), "{path}");
    };
    check(Method::DELETE, "/users", "POST, GET, HEAD, OPTIONS").await;
    check(Method::PUT, "/actions", "POST, GET, HEAD, OPTIONS").await;
    check(Method::DELETE, "/users/x", "GET, HEAD, PATCH, OPTIONS").await;
    check(
        Method::PATCH,
        "/action-types/echo",
        "GET, HEAD, PUT, DELETE, OPTIONS",
    )
    .await;
    check(Method::GET, "/stream", "POST, OPTIONS").await;
    check(Method::HEAD, "/stream", "POST, OPTIONS").await;
    check(Method::POST, "/livez", "GET, HEAD, OPTIONS").await;
}

/// What later work brings is unknown now: 404, or 405 where the path has other methods.
#[actix_web::test]
async fn what_is_to_come_is_not_there() {
    let id = action_id(1);
    let unknown = [
        (Method::PUT, format!("/users/{id}/password"), 404),
        (Method::DELETE, format!("/users/{id}"), 405),
        (Method::GET, format!("/users/{id}/export"), 404),
        (Method::POST, "/sessions".to_owned(), 404),
        (Method::POST, format!("/api-keys/{id}/rotate"), 404),
        (Method::GET, "/audit-events".to_owned(), 404),
        (Method::GET, "/metrics".to_owned(), 404),
    ];
    for (method, path, status) in unknown {
        let answer = with_root()
            .answer(bare(method, &path).insert_header(KEY))
            .await;
        answer.problem();
        assert_eq!(answer.status, status, "{path}");
    }
}

#[actix_web::test]
async fn options_tells_the_methods() {
    let answer = fakes().answer(bare(Method::OPTIONS, "/users")).await;
    assert_eq!(
        (answer.status, answer.header("allow")),
        (204, Some("POST, GET, HEAD, OPTIONS"))
    );
    refused(
        &fakes().answer(bare(Method::OPTIONS, "/nothing")).await,
        404,
        "not_found",
    );
}

#[actix_web::test]
async fn a_clients_request_id_is_kept() {
    let check = async |sent: &str, kept: bool| {
        let answer = fakes()
            .answer(get("/livez").insert_header(("X-Request-Id", sent)))
            .await;
        assert_eq!(answer.header("x-request-id") == Some(sent), kept, "{sent}");
        assert!(answer.header("x-request-id").is_some());
    };
    check("my-request/7", true).await;
    check(&"x".repeat(128), true).await;
    check(&"x".repeat(129), false).await;
    check("two words", false).await;
    check("", false).await;
    let twice = get("/livez")
        .append_header(("X-Request-Id", "a"))
        .append_header(("X-Request-Id", "a"));
    let answer = fakes().answer(twice).await;
    assert_ne!(answer.header("x-request-id"), Some("a"));
}

#[actix_web::test]
async fn a_body_too_large_is_refused() {
    let limits = [
        ("/users", 64 * 1024),
        ("/api-keys", 64 * 1024),
        ("/actions", 1024 * 1024),
        ("/stream", 1024 * 1024),
    ];
    for (path, limit) in limits {
        let body = |length: usize| format!("\"{}\"", "x".repeat(length - 2));
        let over = with_root().answer(post(path, &body(limit + 1))).await;
        refused(&over, 413, "body_too_large");
        // Of the wrong shape, but not of the wrong size.
        refused(
            &with_root().answer(post(path, &body(limit))).await,
            400,
            "validation_failed",
        );
    }
}

#[actix_web::test]
async fn a_declared_length_is_enough_to_refuse() {
    let request = post("/users", "{}").insert_header(("Content-Length", "65537"));
    refused(&with_root().answer(request).await, 413, "body_too_large");
}

#[actix_web::test]
async fn a_target_too_long_is_refused() {
    let path = |length: usize| format!("/users?{}", "x".repeat(length - 7));
    refused(
        &with_root().answer(get(&path(8192 + 1))).await,
        414,
        "target_too_long",
    );
    refused(
        &with_root().answer(get(&path(8192))).await,
        400,
        "validation_failed",
    );
}

#[actix_web::test]
async fn bodies_are_json() {
    let check = async |name: &'static str, value: &'static str| {
        let request = post("/users", "{}").insert_header((name, value));
        refused(
            &with_root().answer(request).await,
            415,
            "unsupported_media_type",
        );
    };
    check("Content-Type", "text/plain").await;
    check("Content-Type", "application/x-www-form-urlencoded").await;
    check("Content-Type", "application/merge-patch+json").await;
    check("Content-Encoding", "gzip").await;
    let check = async |request: TestRequest, said: &str| {
        let answer = with_root()
            .answer(request.insert_header(("Content-Type", "text/plain")))
            .await;
        refused(&answer, 415, "unsupported_media_type");
        assert_eq!(answer.json()["message"], said);
    };
    check(
        post("/users", "{}"),
        "This operation takes application/json, not compressed.",
    )
    .await;
    check(
        patch(&format!("/users/{}", ada()), "{}"),
        "This operation takes application/merge-patch+json or application/json, not compressed.",
    )
    .await;
    let without = TestRequest::post()
        .uri("/users")
        .insert_header(KEY)
        .set_payload("{}");
    refused(
        &with_root().answer(without).await,
        415,
        "unsupported_media_type",
    );
    let with_charset =
        post("/users", "{}").insert_header(("Content-Type", "application/json; charset=utf-8"));
    refused(
        &with_root().answer(with_charset).await,
        400,
        "validation_failed",
    );
}

#[actix_web::test]
async fn what_is_not_json_is_malformed() {
    let answer = with_root()
        .answer(post("/users", "{\n  \"email\": }"))
        .await;
    assert_snapshot!(answer.text());
}

/// Every sentence is the interface's own: none is a library's, none names a type of Rust.
#[actix_web::test]
async fn faults_are_told_in_our_words() {
    let check = async |request: TestRequest, place: &str, said: &str| {
        let answer = with_root().answer(request).await;
        refused(&answer, 400, "validation_failed");
        let body = answer.json();
        let faults: Vec<&str> = body["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|fault| fault["message"].as_str().unwrap())
            .collect();
        assert_eq!(
            (answer.places(), faults),
            (vec![place.to_owned()], vec![said])
        );
    };
    let action = |field: &str| {
        post(
            "/actions",
            &format!(r#"{{"type":"echo","input":1,{field}}}"#),
        )
    };
    check(
        action(r#""priority":10"#),
        "#/priority",
        "must be between 0 and 9",
    )
    .await;
    check(action(r#""priority":256"#), "#/priority", "is out of range").await;
    check(
        action(r#""priority":"1""#),
        "#/priority",
        "must be a whole number",
    )
    .await;
    check(action(r#""run_at":5"#), "#/run_at", "must be a text").await;
    check(
        action(r#""run_at":"soon""#),
        "#/run_at",
        "not an RFC 3339 date and time",
    )
    .await;
    let key = |scopes: &str| post("/api-keys", &format!(r#"{{"name":"k","scopes":{scopes}}}"#));
    check(key("[]"), "#/scopes", "must have between 1 and 100 entries").await;
    check(key("\"keys:read\""), "#/scopes", "must be a list").await;
    check(key("null"), "#/scopes", "must not be null").await;
    let status = |value: &str| {
        let body = format!(r#"{{"status":{value}}}"#);
        patch(&format!("/users/{}", ada()), &body)
    };
    check(
        status("\"gone\""),
        "#/status",
        "must be one of active, disabled",
    )
    .await;
    check(status("{\"active\":null}"), "#/status", "must be a text").await;
    let statuses = "must be one of scheduled, queued, running, succeeded, failed, cancelled";
    check(get("/actions?status=gone"), "status", statuses).await;
    check(
        get("/actions?limit=0"),
        "limit",
        "must be between 1 and 200",
    )
    .await;
    check(get("/actions?limit=x"), "limit", "must be a whole number").await;
    check(
        patch(&format!("/users/{}", ada()), r#"{"name":""}"#),
        "#/name",
        "must have at least 1 character",
    )
    .await;
}

#[actix_web::test]
async fn a_body_is_required() {
    for body in ["", " \n"] {
        let answer = with_root().answer(post("/users", body)).await;
        refused(&answer, 400, "malformed_json");
        assert_eq!(answer.json()["message"], "A JSON body is required.");
    }
}

/// serde reads lists as structs and maps as enums; the interface takes neither.
#[actix_web::test]
async fn a_body_is_an_object_and_a_status_a_name() {
    let bodies = [
        ("/users", r#"["a@example.com","N","12345678"]"#),
        ("/api-keys", r#"["k",["keys:read"]]"#),
        ("/actions", r#"["echo",{}]"#),
        ("/stream", r#"["echo",{}]"#),
    ];
    for (path, body) in bodies {
        let answer = with_root().answer(post(path, body)).await;
        refused(&answer, 400, "validation_failed");
        assert_eq!(answer.json()["errors"][0]["message"], "must be an object");
        assert_eq!(answer.places(), ["#"], "{path}");
    }
    let status = patch(
        &format!("/users/{}", ada()),
        r#"{"status":{"active":null}}"#,
    );
    let answer = with_root().answer(status).await;
    refused(&answer, 400, "validation_failed");
    assert_eq!(answer.places(), ["#/status"]);
}

#[actix_web::test]
async fn a_shape_error_stands_alone() {
    let answer = with_root()
        .answer(post(
            "/users",
            r#"{"email":"x","name":"","password":"p","color":"red"}"#,
        ))
        .await;
    refused(&answer, 400, "validation_failed");
    assert_eq!(answer.places(), ["#/color"]);
}

/// A use case that panics is a bug, told as one; nothing of it shows.
#[actix_web::test]
async fn a_panic_in_a_use_case_is_a_problem() {
    let mut fakes = with_scopes(&["users:read"]);
    fakes
        .users
        .expect_list()
        .returning(|_, _| panic!("the secret of the panic"));
    let answer = fakes.answer(get("/users")).await;
    refused(&answer, 500, "internal_error");
    assert!(!answer.body.contains("secret"), "{}", answer.body);
}

/// A handler that panics is answered too, with the same headers.
#[actix_web::test]
async fn a_panic_in_a_handler_is_a_problem() {
    let mut fakes = with_scopes(&["actions:read"]);
    serve_log(&mut fakes, log());
    fakes
        .wakeups
        .expect_watch_log()
        .returning(|_| stream::pending().boxed());
    fakes
        .wakeups
        .expect_watch_identities()
        .returning(|| stream::pending().boxed());
    fakes
        .ids
        .expect_random_bytes()
        .returning(|| panic!("the secret of the panic"));
    let answer = fakes
        .answer(get(&format!("/actions/{}/events", action_id(1))))
        .await;
    refused(&answer, 500, "internal_error");
    assert!(!answer.body.contains("secret"), "{}", answer.body);
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
}

#[actix_web::test]
async fn a_store_that_is_away_is_503_and_a_bug_500() {
    let cause = || Arc::new(std::io::Error::other("SELECT * FROM hidden"));
    let errors = [
        (StoreError::Unavailable(cause()), 503, "unavailable"),
        (StoreError::OutcomeUnknown(cause()), 503, "unavailable"),
        (StoreError::Bug(cause()), 500, "internal_error"),
        (
            StoreError::BadRow {
                table: "users",
                column: "hidden",
                id: "7".to_owned(),
            },
            500,
            "internal_error",
        ),
    ];
    for (error, status, code) in errors {
        let mut fakes = with_scopes(&["users:read"]);
        fakes
            .users
            .expect_list()
            .return_once(move |_, _| Err(error));
        let answer = fakes.answer(get("/users")).await;
        refused(&answer, status, code);
        assert_eq!(answer.header("retry-after").is_some(), status == 503);
        assert!(!answer.body.contains("hidden"), "{}", answer.body);
    }
}

/// The use case runs in a task of its own: a client that goes away leaves nothing half done.
#[actix_web::test]
async fn a_dropped_request_is_finished_all_the_same() {
    let (wake, woken) = tokio::sync::mpsc::unbounded_channel();
    let woken = std::sync::Mutex::new(Some(woken));
    let (looked, mut looks) = tokio::sync::mpsc::unbounded_channel();
    let mut fakes = with_scopes(&["actions:write"]);
    fakes
        .types
        .expect_find()
        .returning(|name| Ok(Some(action_type(name.as_str()))));
    fakes
        .submissions
        .expect_submit()
        .returning(|_, _| Ok(Submitted::New));
    fakes.actions.expect_find().returning(move |id, _| {
        looked.send(()).unwrap();
        Ok(Some(action(id, Status::Running)))
    });
    fakes.wakeups.expect_watch_log().returning(move |_| {
        let woken = woken.lock().unwrap().take().unwrap();
        stream::unfold(woken, async |mut woken| Some((woken.recv().await?, woken))).boxed()
    });
    let api = fakes.into_api();
    let service = init_service(app(&api)).await;
    let mut request =
        Box::pin(service.call(post("/actions", r#"{"type":"echo","input":{}}"#).to_request()));
    let mut first_look = Box::pin(looks.recv());
    // The request waits for the action's end, until its client goes away.
    let waiting = futures_util::future::select(&mut request, &mut first_look);
    assert!(matches!(
        timeout(SOON, waiting).await.unwrap(),
        Either::Right((Some(()), _))
    ));
    drop((request, first_look));
    wake.send(Sequence::new(2).unwrap()).unwrap();
    timeout(SOON, looks.recv()).await.unwrap().unwrap();
}

#[actix_web::test]
async fn cors_is_an_exact_list() {
    let with_origin = |fakes: Fakes, origin: &str| {
        let request = get("/livez").insert_header(("Origin", origin.to_owned()));
        fakes.answer(request)
    };
    let allowed = || {
        let mut fakes = fakes();
        fakes.settings.cors_origins = vec!["https://app.example.com".to_owned()];
        fakes
    };
    let answer = with_origin(allowed(), "https://app.example.com").await;
    assert_eq!(
        answer.header("access-control-allow-origin"),
        Some("https://app.example.com")
    );
    let exposed = answer
        .header("access-control-expose-headers")
        .unwrap()
        .to_ascii_lowercase();
    for name in [
        "location",
        "etag",
        "link",
        "retry-after",
        "x-request-id",
        "ratelimit",
        "ratelimit-policy",
        "idempotency-replayed",
        "preference-applied",
        "deprecation",
        "sunset",
    ] {
        assert!(
            exposed.split(", ").any(|found| found == name),
            "{name} in {exposed}"
        );
    }
    for origin in [
        "https://app.example.com.evil.org",
        "http://app.example.com",
        "null",
    ] {
        assert_eq!(
            with_origin(allowed(), origin)
                .await
                .header("access-control-allow-origin"),
            None,
            "{origin}"
        );
    }
    assert_eq!(
        with_origin(fakes(), "https://app.example.com")
            .await
            .header("access-control-allow-origin"),
        None
    );
}

#[actix_web::test]
async fn a_preflight_needs_no_key() {
    let mut fakes = fakes();
    fakes.settings.cors_origins = vec!["https://app.example.com".to_owned()];
    let request = bare(Method::OPTIONS, "/actions")
        .insert_header(("Origin", "https://app.example.com"))
        .insert_header(("Access-Control-Request-Method", "POST"))
        .insert_header((
            "Access-Control-Request-Headers",
            "x-api-key, idempotency-key, traceparent",
        ));
    let answer = fakes.answer(request).await;
    assert_eq!(
        (answer.status, answer.header("access-control-allow-origin")),
        (200, Some("https://app.example.com"))
    );
}

#[actix_web::test]
async fn a_refused_preflight_says_why() {
    let check = async |origin: &'static str, method: &'static str, header: &'static str| {
        let mut fakes = fakes();
        fakes.settings.cors_origins = vec!["https://app.example.com".to_owned()];
        let request = bare(Method::OPTIONS, "/actions")
            .insert_header(("Origin", origin))
            .insert_header(("Access-Control-Request-Method", method))
            .insert_header(("Access-Control-Request-Headers", header));
        let answer = fakes.answer(request).await;
        refused(&answer, 400, "bad_request");
        assert_eq!(
            answer.json()["message"],
            "This origin, method or header is not on the allow-list.",
            "{origin} {method} {header}"
        );
        assert_eq!(answer.header("access-control-allow-origin"), None);
    };
    check("https://evil.example.org", "POST", "x-api-key").await;
    check("https://app.example.com", "TRACE", "x-api-key").await;
    check("https://app.example.com", "POST", "x-other").await;
}

#[actix_web::test]
async fn readiness() {
    assert_snapshot!(fakes().answer(get("/readyz")).await.text());
    let mut missing = fakes();
    missing.checks = vec![
        Check {
            name: "database",
            missing: None,
        },
        Check {
            name: "migrations",
            missing: Some("2 are pending".to_owned()),
        },
    ];
    let answer = missing.answer(get("/readyz")).await;
    refused(&answer, 503, "unavailable");
    assert_eq!(
        answer.json()["message"],
        "Not ready. migrations: 2 are pending."
    );
}

#[actix_web::test]
async fn a_draining_replica_is_not_ready_but_lives() {
    let fakes = fakes();
    fakes.draining.send_replace(true);
    let api = fakes.into_api();
    refused(&answer(&api, get("/readyz")).await, 503, "unavailable");
    assert_eq!(answer(&api, get("/livez")).await.status, 200);
}

#[actix_web::test]
async fn the_document_has_a_tag() {
    let api = fakes().into_api();
    let whole = answer(&api, get("/openapi.json")).await;
    let etag = whole.header("etag").unwrap().to_owned();
    assert_eq!(
        (whole.status, whole.json()["openapi"].as_str()),
        (200, Some("3.1.0"))
    );
    for tag in [
        etag.clone(),
        format!("\"x\", {etag}"),
        format!("W/{etag}"),
        "*".to_owned(),
    ] {
        let same = answer(
            &api,
            get("/openapi.json").insert_header(("If-None-Match", tag)),
        )
        .await;
        assert_eq!(
            (same.status, same.body.as_str(), same.header("etag")),
            (304, "", Some(etag.as_str()))
        );
    }
    assert_eq!(
        answer(
            &api,
            get("/openapi.json").insert_header(("If-None-Match", "\"x\""))
        )
        .await
        .status,
        200
    );
}

#[actix_web::test]
async fn the_pages_are_served_from_here() {
    let api = fakes().into_api();
    let page = answer(&api, TestRequest::get().uri("/docs")).await;
    assert_snapshot!(page.text());
    for part in page
        .body
        .split('"')
        .filter(|part| part.starts_with("/docs/"))
    {
        assert_eq!(
            answer(&api, TestRequest::get().uri(part)).await.status,
            200,
            "{part}"
        );
    }
    let script = answer(&api, TestRequest::get().uri("/docs/swagger-ui-bundle.js")).await;
    assert_eq!(script.header("content-encoding"), Some("gzip"));
}

#[actix_web::test]
async fn each_code_has_its_page() {
    let api = fakes().into_api();
    for code in deed_delivery::problem::ErrorCode::ALL {
        let page = answer(
            &api,
            TestRequest::get().uri(&format!("/problems/{}", code.entry().code)),
        )
        .await;
        assert_eq!(
            (page.status, page.header("content-type")),
            (200, Some("text/html; charset=utf-8"))
        );
    }
    refused(
        &answer(&api, get("/problems/nothing")).await,
        404,
        "not_found",
    );
    let long = answer(&api, get(&format!("/problems/{}", "x".repeat(300)))).await;
    refused(&long, 400, "validation_failed");
    assert_eq!(long.places(), ["code"]);
}

#[actix_web::test]
async fn documentation_can_be_switched_off() {
    for path in [
        "/docs",
        "/docs/start.js",
        "/openapi.json",
        "/problems/not_found",
    ] {
        let mut fakes = fakes();
        fakes.settings.docs = false;
        refused(&fakes.answer(get(path)).await, 404, "not_found");
    }
}

#[actix_web::test]
async fn head_is_get_without_a_body() {
    let answer = fakes().answer(bare(Method::HEAD, "/livez")).await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, Some("application/json"))
    );
}
