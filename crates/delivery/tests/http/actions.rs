//! `/actions`.

use std::time::Duration;

use actix_web::test::TestRequest;
use deed_domain::action::{ActionError, ActionFilter, Payload, Status};
use deed_domain::error::{StoreError, Violation};
use deed_domain::page::Page;
use deed_domain::ports::{CancelVerdict, Submitted};
use insta::assert_snapshot;

use crate::support::*;

const BODY: &str = r#"{"type":"echo","input":{"text": "a  b", "n": 1.50}}"#;

/// Fakes that accept an action, which then stands as given.
fn accepting(status: Status) -> Fakes {
    let mut fakes = with_scopes(&["actions:write"]);
    fakes
        .types
        .expect_find()
        .returning(|name| Ok(Some(action_type(name.as_str()))));
    fakes
        .submissions
        .expect_submit()
        .returning(|_, _| Ok(Submitted::New));
    fakes
        .actions
        .expect_find()
        .returning(move |id, _| Ok(Some(action(id, status))));
    sleep_soundly(&mut fakes);
    fakes.settings.wait = Duration::from_millis(1);
    fakes
}

#[actix_web::test]
async fn one_that_ends_in_time_is_created() {
    let mut fakes = with_scopes(&["actions:write"]);
    fakes
        .types
        .expect_find()
        .returning(|name| Ok(Some(action_type(name.as_str()))));
    fakes
        .submissions
        .expect_submit()
        .withf(|new, idempotency| {
            new.input.as_str() == r#"{"text": "a  b", "n": 1.50}"#
                && new.user_id == ada()
                && new.api_key_id == Some(key_id())
                && new.run_at.is_none()
                && new.priority.get() == 5
                && idempotency.is_none()
        })
        .returning(|_, _| Ok(Submitted::New));
    fakes
        .actions
        .expect_find()
        .returning(|_, _| Ok(Some(action(action_id(1), Status::Succeeded))));
    sleep_soundly(&mut fakes);
    assert_snapshot!(fakes.answer(post("/actions", BODY)).await.text());
}

#[actix_web::test]
async fn one_that_fails_is_created_too() {
    let mut fakes = with_scopes(&["actions:write"]);
    fakes
        .types
        .expect_find()
        .returning(|name| Ok(Some(action_type(name.as_str()))));
    fakes
        .submissions
        .expect_submit()
        .returning(|_, _| Ok(Submitted::New));
    fakes.actions.expect_find().returning(|id, _| {
        let mut failed = action(id, Status::Failed);
        failed.overview.error = Some(ActionError {
            code: "boom".to_owned(),
            message: "It broke.".to_owned(),
        });
        Ok(Some(failed))
    });
    sleep_soundly(&mut fakes);
    let answer = fakes.answer(post("/actions", BODY)).await;
    assert_eq!(answer.status, 201);
    assert_eq!(
        answer.json()["error"],
        serde_json::json!({ "code": "boom", "message": "It broke." })
    );
}

#[actix_web::test]
async fn one_that_takes_longer_is_accepted() {
    let answer = accepting(Status::Running)
        .answer(post("/actions", BODY))
        .await;
    assert_snapshot!(answer.text());
}

#[actix_web::test]
async fn preferences_decide_how_it_is_answered() {
    let check = async |prefer: &str, stands: Status, status: u16, applied: Option<&str>| {
        let answer = accepting(stands)
            .answer(post("/actions", BODY).insert_header(("Prefer", prefer)))
            .await;
        assert_eq!(
            (answer.status, answer.header("preference-applied")),
            (status, applied),
            "{prefer}"
        );
    };
    check("respond-async", Status::Queued, 202, Some("respond-async")).await;
    check(
        "respond-async",
        Status::Succeeded,
        202,
        Some("respond-async"),
    )
    .await;
    check("wait=0", Status::Queued, 202, Some("wait=0")).await;
    check("wait=0", Status::Succeeded, 201, Some("wait=0")).await;
    check(
        "respond-async, wait=5",
        Status::Succeeded,
        201,
        Some("respond-async, wait=5"),
    )
    .await;
    check("wait=soon", Status::Queued, 202, None).await;
}

#[actix_web::test]
async fn a_scheduled_one_is_not_waited_for() {
    let mut fakes = accepting(Status::Scheduled);
    fakes.settings.wait = Duration::from_secs(3600);
    let body = r#"{"type":"echo","input":{},"run_at":"2026-02-01T00:00:00Z","priority":0}"#;
    let answer = tokio::time::timeout(
        Duration::from_secs(10),
        fakes.answer(post("/actions", body)),
    )
    .await
    .unwrap();
    assert_eq!(
        (answer.status, answer.json()["status"].as_str()),
        (202, Some("scheduled"))
    );
}

#[actix_web::test]
async fn a_drain_ends_the_wait() {
    let mut fakes = with_scopes(&["actions:write"]);
    fakes
        .types
        .expect_find()
        .returning(|name| Ok(Some(action_type(name.as_str()))));
    let draining = fakes.draining.clone();
    fakes.submissions.expect_submit().returning(move |_, _| {
        draining.send_replace(true);
        Ok(Submitted::New)
    });
    fakes
        .actions
        .expect_find()
        .returning(|id, _| Ok(Some(action(id, Status::Running))));
    sleep_soundly(&mut fakes);
    fakes.settings.wait = Duration::from_secs(3600);
    let answer = tokio::time::timeout(
        Duration::from_secs(10),
        fakes.answer(post("/actions", BODY)),
    )
    .await;
    assert_eq!(answer.unwrap().status, 202);
}

/// The order that `validation_failed`'s page promises: nobody is asked for a type, nor the clock, while the body alone
/// is wrong.
#[actix_web::test]
async fn what_the_body_alone_can_tell_comes_together_and_first() {
    let body = r#"{"type":"Ä","input":{},"run_at":"2029-01-01T00:00:00Z","priority":10}"#;
    let answer = with_scopes(&["actions:write"])
        .answer(post("/actions", body))
        .await;
    refused(&answer, 400, "validation_failed");
    assert_eq!(answer.places(), ["#/priority", "#/type"]);

    let body = r#"{"name":"","scopes":["x"],"expires_at":"2020-01-01T00:00:00Z"}"#;
    let answer = with_scopes(&["keys:write"])
        .answer(post("/api-keys", body))
        .await;
    refused(&answer, 400, "validation_failed");
    assert_eq!(answer.places(), ["#/name", "#/scopes/0"]);
}

#[actix_web::test]
async fn a_draining_replica_takes_no_new_actions() {
    for path in ["/actions", "/stream"] {
        let mut fakes = with_scopes(&["actions:write"]);
        fakes.submissions.expect_submit().never();
        fakes.draining.send_replace(true);
        let answer = fakes.answer(post(path, BODY)).await;
        assert_eq!(
            (answer.status, answer.json()["error"].as_str()),
            (503, Some("unavailable"))
        );
        assert!(answer.header("retry-after").is_some());
    }
}

#[actix_web::test]
async fn who_can_not_be_told_the_outcome_is_told_where_the_action_is() {
    let away = || StoreError::Unavailable(std::sync::Arc::new(std::io::Error::other("away")));
    for (path, location) in [
        ("/actions", format!("/actions/{}", action_id(1))),
        ("/stream", format!("/actions/{}/events", action_id(1))),
    ] {
        let mut fakes = with_scopes(&["actions:write"]);
        fakes
            .types
            .expect_find()
            .returning(|name| Ok(Some(action_type(name.as_str()))));
        fakes
            .submissions
            .expect_submit()
            .returning(|_, _| Ok(Submitted::Replayed(action_id(1))));
        fakes
            .actions
            .expect_find()
            .returning(move |_, _| Err(away()));
        fakes
            .log
            .expect_read()
            .returning(move |_, _, _, _| Err(away()));
        sleep_soundly(&mut fakes);
        let answer = fakes.answer(post(path, BODY)).await;
        assert_eq!(answer.status, 503);
        assert_eq!(answer.header("location"), Some(location.as_str()));
    }
}

#[actix_web::test]
async fn the_same_request_again_answers_the_same_action() {
    let check = async |stands: Status, prefer: &str, status: u16| {
        let mut fakes = with_scopes(&["actions:write"]);
        fakes
            .types
            .expect_find()
            .returning(|name| Ok(Some(action_type(name.as_str()))));
        fakes
            .submissions
            .expect_submit()
            .withf(|_, idempotency| {
                idempotency
                    .as_ref()
                    .is_some_and(|same| same.key.as_str() == "k")
            })
            .returning(|_, _| Ok(Submitted::Replayed(action_id(9))));
        fakes
            .actions
            .expect_find()
            .returning(move |id, _| Ok(Some(action(id, stands))));
        sleep_soundly(&mut fakes);
        let request = post("/actions", BODY)
            .insert_header(("Idempotency-Key", "k"))
            .insert_header(("Prefer", prefer));
        let answer = fakes.answer(request).await;
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("idempotency-replayed"), Some("true"));
        assert_eq!(
            answer.header("location"),
            Some(format!("/actions/{}", action_id(9)).as_str())
        );
    };
    check(Status::Succeeded, "respond-async", 201).await;
    check(Status::Queued, "respond-async", 202).await;
    check(Status::Succeeded, "wait=1", 201).await;
}

#[actix_web::test]
async fn the_hash_tells_one_body_from_another() {
    let mut hashes = Vec::new();
    for body in [BODY, BODY, r#"{"type":"echo","input":{}}"#] {
        let (sender, receiver) = std::sync::mpsc::channel();
        let mut fakes = with_scopes(&["actions:write"]);
        fakes
            .types
            .expect_find()
            .returning(|name| Ok(Some(action_type(name.as_str()))));
        fakes
            .submissions
            .expect_submit()
            .returning(move |_, idempotency| {
                sender.send(idempotency.unwrap().request_hash).unwrap();
                Ok(Submitted::KeyReused)
            });
        let answer = fakes
            .answer(post("/actions", body).insert_header(("Idempotency-Key", "k")))
            .await;
        refused(&answer, 422, "idempotency_key_reused");
        hashes.push(receiver.recv().unwrap());
    }
    assert_eq!(hashes[0], hashes[1]);
    assert_ne!(hashes[0], hashes[2]);
}

#[actix_web::test]
async fn a_bad_idempotency_key_is_refused() {
    for key in ["", "a b", "\"open", &"k".repeat(256)] {
        let answer = with_scopes(&["actions:write"])
            .answer(post("/actions", BODY).insert_header(("Idempotency-Key", key)))
            .await;
        refused(&answer, 400, "validation_failed");
        assert_eq!(answer.places(), ["Idempotency-Key"], "{key}");
    }
}

#[actix_web::test]
async fn submission_is_refused() {
    for (outcome, status, code) in [
        (Submitted::InFlight, 409, "idempotency_in_flight"),
        (Submitted::UnknownType, 400, "unknown_action_type"),
    ] {
        let mut fakes = with_scopes(&["actions:write"]);
        fakes
            .types
            .expect_find()
            .returning(|name| Ok(Some(action_type(name.as_str()))));
        fakes
            .submissions
            .expect_submit()
            .returning(move |_, _| Ok(outcome));
        refused(&fakes.answer(post("/actions", BODY)).await, status, code);
    }
    let mut fakes = with_scopes(&["actions:write"]);
    fakes.types.expect_find().returning(|_| Ok(None));
    refused(
        &fakes.answer(post("/actions", BODY)).await,
        400,
        "unknown_action_type",
    );
    refused(
        &with_root().answer(post("/actions", BODY)).await,
        400,
        "user_required",
    );
    let narrowed = with_scopes(&["actions:write:report.*"])
        .answer(post("/actions", BODY))
        .await;
    refused(&narrowed, 403, "insufficient_scope");
}

#[actix_web::test]
async fn an_input_that_breaks_its_schema_names_the_places() {
    let mut fakes = with_scopes(&["actions:write"]);
    fakes.types.expect_find().returning(|name| {
        let mut found = action_type(name.as_str());
        found.input_schema = Some(Payload::empty_object());
        Ok(Some(found))
    });
    fakes.schemas.expect_check().returning(|_, _| {
        Ok(vec![
            Violation::new("/text", "is required"),
            Violation::new("", "too small"),
        ])
    });
    let body = r#"{"type":"echo","input":{},"run_at":"2029-01-01T00:00:00Z"}"#;
    let answer = fakes.answer(post("/actions", body)).await;
    refused(&answer, 400, "validation_failed");
    assert_eq!(answer.places(), ["#/input/text", "#/input", "#/run_at"]);
}

#[actix_web::test]
async fn what_readers_disagree_about_is_no_input() {
    let deep = format!("{}{}", "[".repeat(129), "]".repeat(129));
    for input in [r#"{"a":1,"a":2}"#, r#""\ud800""#, &deep] {
        let body = format!(r#"{{"type":"BAD NAME","priority":10,"input":{input}}}"#);
        let answer = with_scopes(&["actions:write"])
            .answer(post("/actions", &body))
            .await;
        refused(&answer, 400, "validation_failed");
        assert_eq!(
            answer.places(),
            ["#/input", "#/priority", "#/type"],
            "{input}"
        );
    }
}

#[actix_web::test]
async fn list() {
    let mut fakes = with_scopes(&["actions:read"]);
    fakes
        .actions
        .expect_list()
        .withf(|filter, reach, _| {
            let expected = ActionFilter {
                status: Some(Status::Succeeded),
                action_type: Some(name("echo")),
                created_after: Some("2026-01-01T00:00:00Z".parse().unwrap()),
                created_before: None,
            };
            *filter == expected && reach.owner == Some(ada())
        })
        .returning(|_, _, _| {
            Ok(Page {
                items: vec![overview(action_id(1), Status::Succeeded)],
                next: Some(action_id(1)),
            })
        });
    let path = "/actions?status=succeeded&type=echo&created_after=2026-01-01T01:00:00%2B01:00";
    assert_snapshot!(fakes.answer(get(path)).await.text());
}

#[actix_web::test]
async fn find_keeps_the_payloads_text() {
    let mut fakes = with_scopes(&["actions:read"]);
    fakes
        .actions
        .expect_find()
        .returning(|id, _| Ok(Some(action(id, Status::Succeeded))));
    let answer = fakes
        .answer(get(&format!("/actions/{}", action_id(1))))
        .await;
    assert!(
        answer
            .body
            .contains(r#""input":{"text": "a  b", "n": 1.50},"output":{"z":1,"a":"\u0000"}"#),
        "{}",
        answer.body
    );
}

#[actix_web::test]
async fn a_foreign_action_looks_like_none() {
    let mut fakes = with_scopes(&["actions:read", "actions:write"]);
    fakes
        .actions
        .expect_find()
        .withf(|_, reach| reach.owner == Some(ada()))
        .returning(|_, _| Ok(None));
    fakes
        .submissions
        .expect_cancel()
        .withf(|_, reach| reach.owner == Some(ada()))
        .returning(|_, _| Ok(CancelVerdict::NotFound));
    let api = fakes.into_api();
    refused(
        &answer(&api, get(&format!("/actions/{}", action_id(1)))).await,
        404,
        "action_not_found",
    );
    let cancel = TestRequest::post()
        .uri(&format!("/actions/{}/cancel", action_id(1)))
        .insert_header(KEY);
    refused(&answer(&api, cancel).await, 404, "action_not_found");
}

#[actix_web::test]
async fn cancel() {
    let check = async |verdict: CancelVerdict, stands: Status, status: u16| {
        let mut fakes = with_scopes(&["actions:write"]);
        fakes
            .submissions
            .expect_cancel()
            .returning(move |_, _| Ok(verdict));
        fakes
            .actions
            .expect_find()
            .returning(move |id, _| Ok(Some(action(id, stands))));
        let request = TestRequest::post()
            .uri(&format!("/actions/{}/cancel", action_id(1)))
            .insert_header(KEY);
        let answer = fakes.answer(request).await;
        assert_eq!(
            (answer.status, answer.json()["status"].as_str()),
            (status, Some(stands.as_str()))
        );
    };
    check(CancelVerdict::Cancelled, Status::Cancelled, 200).await;
    check(CancelVerdict::Over, Status::Succeeded, 200).await;
    check(CancelVerdict::Asked, Status::Running, 202).await;
    check(CancelVerdict::Asked, Status::Cancelled, 200).await;
}
