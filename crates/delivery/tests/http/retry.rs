//! POST `/actions/{id}/retry`.

use std::sync::mpsc;

use actix_web::test::TestRequest;
use deed_domain::action::{Action, NewAction, Status};
use deed_domain::ports::Submitted;

use crate::support::*;

/// Fakes where action 1 stands as given and every other is queued, with what is submitted.
fn fakes_with(status: Status, verdict: Submitted) -> (Fakes, mpsc::Receiver<(NewAction, bool)>) {
    let (sender, submitted) = mpsc::channel();
    let mut fakes = with_scopes(&["actions:write"]);
    fakes
        .types
        .expect_find()
        .returning(|name| Ok(Some(action_type(name.as_str()))));
    fakes
        .submissions
        .expect_submit()
        .returning(move |action, idempotency| {
            sender.send((action, idempotency.is_some())).unwrap();
            Ok(verdict)
        });
    fakes.actions.expect_find().returning(move |id, reach| {
        assert_eq!(reach.owner, Some(ada()));
        let status = if id == action_id(1) {
            status
        } else {
            Status::Queued
        };
        let mut found: Action = action(id, status);
        found.overview.retry_of = (id != action_id(1)).then(|| action_id(1));
        Ok(Some(found))
    });
    sleep_soundly(&mut fakes);
    (fakes, submitted)
}

fn retry() -> TestRequest {
    TestRequest::post()
        .uri(&format!("/actions/{}/retry", action_id(1)))
        .insert_header(KEY)
}

#[actix_web::test]
async fn a_failed_action_is_asked_for_anew() {
    for status in [Status::Failed, Status::Cancelled] {
        let (fakes, submitted) = fakes_with(status, Submitted::New);
        let answer = fakes.answer(retry()).await;
        let (made, has_key) = submitted.try_recv().unwrap();
        assert_eq!(answer.status, 202, "{answer:?}");
        assert_eq!(
            answer.header("location"),
            Some(format!("/actions/{}", made.id).as_str())
        );
        assert_eq!(answer.header("idempotency-replayed"), None);
        let body = answer.json();
        assert_eq!(body["id"], made.id.to_string());
        assert_eq!(body["status"], "queued");
        assert_eq!(body["retry_of"], action_id(1).to_string());
        assert_eq!(made.retry_of, Some(action_id(1)));
        assert!(
            answer
                .body
                .contains(r#""input":{"text": "a  b", "n": 1.50}"#),
            "{}",
            answer.body
        );
        assert!(!has_key);
    }
}

#[actix_web::test]
async fn what_has_not_failed_is_refused_with_the_reason() {
    let check = async |status, reason: &str| {
        let (fakes, submitted) = fakes_with(status, Submitted::New);
        let answer = fakes.answer(retry()).await;
        refused(&answer, 409, "action_not_retryable");
        assert_eq!(answer.json()["message"], reason);
        assert!(submitted.try_recv().is_err());
    };
    check(
        Status::Running,
        "The action can't be retried: it is not over yet.",
    )
    .await;
    check(
        Status::Succeeded,
        "The action can't be retried: it has succeeded.",
    )
    .await;
}

#[actix_web::test]
async fn a_foreign_action_looks_like_none() {
    let mut fakes = with_scopes(&["actions:write"]);
    fakes
        .actions
        .expect_find()
        .withf(|_, reach| reach.owner == Some(ada()))
        .returning(|_, _| Ok(None));
    refused(&fakes.answer(retry()).await, 404, "action_not_found");
}

#[actix_web::test]
async fn an_idempotency_key_makes_it_repeatable() {
    let again = || retry().insert_header(("Idempotency-Key", "k"));
    let (fakes, submitted) = fakes_with(Status::Failed, Submitted::New);
    assert_eq!(fakes.answer(again()).await.status, 202);
    assert!(submitted.try_recv().unwrap().1);

    let (fakes, _submitted) = fakes_with(Status::Failed, Submitted::Replayed(action_id(7)));
    let answer = fakes.answer(again()).await;
    assert_eq!(answer.status, 202);
    assert_eq!(answer.header("idempotency-replayed"), Some("true"));
    assert_eq!(
        answer.header("location"),
        Some(format!("/actions/{}", action_id(7)).as_str())
    );

    let (fakes, _submitted) = fakes_with(Status::Failed, Submitted::KeyReused);
    refused(&fakes.answer(again()).await, 422, "idempotency_key_reused");
}

#[actix_web::test]
async fn a_server_that_drains_takes_none() {
    let (fakes, submitted) = fakes_with(Status::Failed, Submitted::New);
    fakes.draining.send_replace(true);
    refused(&fakes.answer(retry()).await, 503, "unavailable");
    assert!(submitted.try_recv().is_err());
}
