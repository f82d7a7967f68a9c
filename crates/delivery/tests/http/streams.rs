//! `/stream` and `/actions/{id}/events`.

use std::time::Duration;

use actix_web::body::{MessageBody, to_bytes};
use actix_web::dev::Service;
use actix_web::test::{TestRequest, init_service};
use deed_delivery::app;
use deed_domain::ports::Submitted;
use insta::assert_snapshot;
use serde_json::json;

use crate::support::*;

fn events(query: &str) -> String {
    format!("/actions/{}/events{query}", action_id(1))
}

fn with_log() -> Fakes {
    let mut fakes = with_scopes(&["actions:read"]);
    serve_log(&mut fakes, log());
    sleep_soundly(&mut fakes);
    fakes
}

#[actix_web::test]
async fn a_whole_log_as_a_stream() {
    assert_snapshot!(with_log().answer(get(&events(""))).await.text());
}

#[actix_web::test]
async fn resume_goes_on_right_after() {
    let ids = |answer: &Answer| {
        let lines = answer
            .body
            .lines()
            .filter_map(|line| line.strip_prefix("id: "));
        lines
            .map(|id| id.parse::<u32>().unwrap())
            .collect::<Vec<_>>()
    };
    let by_header = with_log()
        .answer(get(&events("")).insert_header(("Last-Event-ID", "3")))
        .await;
    assert_eq!(ids(&by_header), [4, 5]);
    let by_query = with_log().answer(get(&events("?last_event_id=3"))).await;
    assert_eq!(by_query.body, by_header.body);
    let header_wins = with_log()
        .answer(get(&events("?last_event_id=1")).insert_header(("Last-Event-ID", "4")))
        .await;
    assert_eq!(ids(&header_wins), [5]);
    let from_the_start = with_log()
        .answer(get(&events("")).insert_header(("Last-Event-ID", "0")))
        .await;
    assert_eq!(ids(&from_the_start), [1, 2, 3, 4, 5]);
}

#[actix_web::test]
async fn the_end_is_answered_204() {
    let answer = with_log()
        .answer(get(&events("")).insert_header(("Last-Event-ID", "5")))
        .await;
    assert_snapshot!(answer.text());
}

#[actix_web::test]
async fn a_position_that_is_not_stored_is_refused() {
    let check = async |request: TestRequest, place: &str, name: &str| {
        let answer = with_log().answer(request).await;
        refused(&answer, 400, "invalid_cursor");
        let body = answer.json();
        assert_eq!(body["message"], "The position does not fit this stream.");
        let said = "must be a number from 0 to the last sequence";
        assert_eq!(body["errors"], json!([{ place: name, "message": said }]));
    };
    for position in ["6", "-1", "x", "1.5", "99999999999", "0x1"] {
        let request = get(&events("")).insert_header(("Last-Event-ID", position));
        check(request, "header", "Last-Event-ID").await;
        let request = get(&events(&format!("?last_event_id={position}")));
        check(request, "parameter", "last_event_id").await;
    }
}

/// An empty position is no position, wherever it stands; and of two, nobody can say which one is meant.
#[actix_web::test]
async fn a_position_is_sent_once_and_whole() {
    let empty = get(&events("")).insert_header(("Last-Event-ID", ""));
    refused(&with_log().answer(empty).await, 400, "invalid_cursor");
    let empty = get(&events("?last_event_id="));
    refused(&with_log().answer(empty).await, 400, "invalid_cursor");
    let twice = get(&events(""))
        .append_header(("Last-Event-ID", "3"))
        .append_header(("Last-Event-ID", "4"));
    let answer = with_log().answer(twice).await;
    refused(&answer, 400, "validation_failed");
    assert_eq!(answer.places(), ["Last-Event-ID"]);
}

#[actix_web::test]
async fn a_page_of_the_log_and_the_next() {
    let api = with_log().into_api();
    let request = |query: &str| get(&events(query)).insert_header(("Accept", "application/json"));
    let first = answer(&api, request("?limit=2")).await;
    assert_snapshot!(first.text());
    let cursor = first.json()["next_cursor"].as_str().unwrap().to_owned();
    let second = answer(&api, request(&format!("?cursor={cursor}"))).await;
    assert_eq!(second.json()["items"].as_array().unwrap().len(), 3);
    assert!(second.json()["next_cursor"].is_null());
    let elsewhere = get(&format!("/actions/{}/events?cursor={cursor}", action_id(2)));
    refused(
        &answer(
            &api,
            elsewhere.insert_header(("Accept", "application/json")),
        )
        .await,
        400,
        "invalid_cursor",
    );
}

#[actix_web::test]
async fn what_can_not_be_answered_is_not_acceptable() {
    refused(
        &with_log()
            .answer(get(&events("")).insert_header(("Accept", "text/html")))
            .await,
        406,
        "not_acceptable",
    );
}

#[actix_web::test]
async fn head_answers_the_headers_alone() {
    let request = TestRequest::default()
        .method(actix_web::http::Method::HEAD)
        .uri(&events(""))
        .insert_header(KEY);
    let answer = with_log().answer(request).await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, Some("text/event-stream"))
    );
    assert_eq!(answer.body, "");
}

#[actix_web::test]
async fn an_unknown_action_has_no_stream() {
    let mut fakes = with_scopes(&["actions:read"]);
    fakes
        .log
        .expect_read()
        .withf(|_, reach, _, _| reach.owner == Some(ada()))
        .returning(|_, _, _, _| Ok(None));
    sleep_soundly(&mut fakes);
    let api = fakes.into_api();
    refused(
        &answer(&api, get(&events(""))).await,
        404,
        "action_not_found",
    );
    let page = get(&events("")).insert_header(("Accept", "application/json"));
    refused(&answer(&api, page).await, 404, "action_not_found");
}

fn submitting(outcome: Submitted) -> Fakes {
    let mut fakes = with_scopes(&["actions:write"]);
    fakes
        .types
        .expect_find()
        .returning(|name| Ok(Some(action_type(name.as_str()))));
    fakes
        .submissions
        .expect_submit()
        .returning(move |_, _| Ok(outcome));
    serve_log(&mut fakes, log());
    sleep_soundly(&mut fakes);
    fakes
}

#[actix_web::test]
async fn create_and_follow() {
    let request =
        post("/stream", r#"{"type":"echo","input":{}}"#).insert_header(("Last-Event-ID", "4"));
    let answer = submitting(Submitted::New).answer(request).await;
    let id = answer.header("location").unwrap();
    assert!(
        id.starts_with("/actions/") && id.ends_with("/events"),
        "{id}"
    );
    assert!(
        answer
            .body
            .starts_with("retry: 2000\n\nid: 1\nevent: created\n"),
        "{}",
        answer.body
    );
    assert_eq!(
        (answer.status, answer.header("idempotency-replayed")),
        (200, None)
    );
}

#[actix_web::test]
async fn a_repeated_create_replays_the_same_action() {
    let request =
        post("/stream", r#"{"type":"echo","input":{}}"#).insert_header(("Idempotency-Key", "k"));
    let answer = submitting(Submitted::Replayed(action_id(7)))
        .answer(request)
        .await;
    assert_eq!(answer.header("idempotency-replayed"), Some("true"));
    assert_eq!(
        answer.header("location"),
        Some(format!("/actions/{}/events", action_id(7)).as_str())
    );
    assert!(answer.body.contains("id: 1\n"));
}

#[actix_web::test]
async fn faults_come_before_the_stream() {
    let answer = with_scopes(&["actions:write"])
        .answer(post("/stream", r#"{"type":"","input":{}}"#))
        .await;
    refused(&answer, 400, "validation_failed");
    refused(
        &with_scopes(&["actions:read"])
            .answer(post("/stream", "{}"))
            .await,
        403,
        "insufficient_scope",
    );
}

/// A live stream: the first bytes come at once, and a drain ends it with `retry`.
#[actix_web::test]
async fn an_open_stream_begins_at_once_and_ends_with_a_drain() {
    let mut fakes = with_scopes(&["actions:read"]);
    serve_log(&mut fakes, log().into_iter().take(2).collect());
    sleep_soundly(&mut fakes);
    let draining = fakes.draining.clone();
    let api = fakes.into_api();
    let service = init_service(app(&api)).await;
    let response = service.call(get(&events("")).to_request()).await.unwrap();
    let mut body = Box::pin(response.into_body());
    let mut text = String::new();
    while !text.contains("event: started") {
        let next = std::future::poll_fn(|context| body.as_mut().poll_next(context));
        let chunk = tokio::time::timeout(Duration::from_secs(10), next)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        text.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    draining.send_replace(true);
    let rest = tokio::time::timeout(Duration::from_secs(10), to_bytes(body))
        .await
        .unwrap();
    let rest = rest
        .ok()
        .map(|rest| String::from_utf8_lossy(&rest).into_owned())
        .unwrap();
    assert_eq!(rest, "retry: 2000\n\n");
}
