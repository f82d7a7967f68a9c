//! POST `/actions/batch`.

use std::sync::mpsc;

use actix_web::test::TestRequest;
use deed_domain::action::{NewAction, Status};
use deed_domain::error::Violation;
use deed_domain::ports::BatchSubmitted;
use serde_json::json;

use crate::support::*;

/// Fakes where every type but `nobodys` is registered and `strict` has a schema that nothing fits; what is submitted
/// is answered so.
fn fakes_with(verdict: BatchSubmitted) -> (Fakes, mpsc::Receiver<(Vec<NewAction>, bool)>) {
    let (sender, submitted) = mpsc::channel();
    let mut fakes = with_scopes(&["actions:write"]);
    fakes
        .types
        .expect_find_all()
        .times(..=1)
        .returning(|names| {
            let known = names.iter().filter(|name| name.as_str() != "nobodys");
            Ok(known
                .map(|name| {
                    let mut found = action_type(name.as_str());
                    found.input_schema = (name.as_str() == "strict").then(|| payload("{}"));
                    found
                })
                .collect())
        });
    fakes
        .schemas
        .expect_check()
        .returning(|_, _| Ok(vec![Violation::new("/text", "is missing")]));
    fakes
        .submissions
        .expect_submit_batch()
        .returning(move |actions, idempotency| {
            sender
                .send((actions.to_vec(), idempotency.is_some()))
                .unwrap();
            Ok(verdict.clone())
        });
    fakes.actions.expect_overviews().returning(|ids, reach| {
        assert_eq!(reach.owner, Some(ada()));
        let found = ids.iter().rev();
        Ok(found.map(|id| overview(*id, Status::Queued)).collect())
    });
    (fakes, submitted)
}

fn payload(json: &str) -> deed_domain::action::Payload {
    deed_domain::action::Payload::parse(json).unwrap()
}

fn batch(body: &str) -> TestRequest {
    post("/actions/batch", body)
}

fn echoes(count: usize) -> String {
    let echo = json!({"type": "echo", "input": 1});
    json!({"actions": vec![echo; count]}).to_string()
}

fn ids(answer: &Answer) -> Vec<String> {
    let body = answer.json();
    let items = body["items"].as_array().unwrap();
    items
        .iter()
        .map(|item| item["id"].as_str().unwrap().to_owned())
        .collect()
}

#[actix_web::test]
async fn a_batch_is_accepted_and_answered_in_its_order() {
    let (fakes, submitted) = fakes_with(BatchSubmitted::New);
    let body = r#"{"actions":[{"type":"echo","input":{"b": 1.50,"a":1}},{"type":"other","input":null,"priority":2,"run_at":"2026-01-31T11:00:00Z"}]}"#;
    let answer = fakes.answer(batch(body)).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let (made, has_key) = submitted.try_recv().unwrap();
    let asked: Vec<_> = made
        .iter()
        .map(|new| {
            let (name, input) = (new.action_type.as_str(), new.input.as_str());
            (name, input, new.priority.get(), new.run_at.is_some())
        })
        .collect();
    let expected = [
        ("echo", r#"{"b": 1.50,"a":1}"#, 5, false),
        ("other", "null", 2, true),
    ];
    assert_eq!(asked, expected);
    assert!(!has_key && made.iter().all(|new| new.user_id == ada()));
    let expected: Vec<String> = made.iter().map(|new| new.id.to_string()).collect();
    assert_eq!(ids(&answer), expected);
    let body = answer.json();
    assert_eq!(body["items"][0]["status"], "queued");
    assert!(body["items"][0].get("input").is_none(), "{body}");
}

#[actix_web::test]
async fn everything_that_is_wrong_is_told_together_and_nothing_is_stored() {
    let deep = format!("{}{}", "[".repeat(129), "]".repeat(129));
    let body = format!(
        r#"{{"actions":[{{"type":"echo","input":1}},{{"type":"E CHO","input":{{"a":1,"a":2}},"priority":10}},
            {{"type":"strict","input":{{}}}},{{"type":"nobodys","input":1}},{{"type":"echo","input":1,"run_at":"2099-01-01T00:00:00Z"}},
            {{"type":"echo","input":{deep}}}]}}"#
    );
    let (fakes, submitted) = fakes_with(BatchSubmitted::New);
    let answer = fakes.answer(batch(&body)).await;
    refused(&answer, 400, "validation_failed");
    assert_eq!(
        answer.places(),
        [
            "#/actions/1/type",
            "#/actions/1/input",
            "#/actions/1/priority",
            "#/actions/2/input/text",
            "#/actions/3/type",
            "#/actions/4/run_at",
            "#/actions/5/input"
        ]
    );
    assert!(submitted.try_recv().is_err());
}

#[actix_web::test]
async fn unknown_types_are_named_by_their_places() {
    let body = r#"{"actions":[{"type":"echo","input":1},{"type":"nobodys","input":1}]}"#;
    let (fakes, submitted) = fakes_with(BatchSubmitted::New);
    let answer = fakes.answer(batch(body)).await;
    refused(&answer, 400, "unknown_action_type");
    assert_eq!(answer.places(), ["#/actions/1/type"]);
    assert!(submitted.try_recv().is_err());
    // Removed since it was looked for.
    let (fakes, _submitted) = fakes_with(BatchSubmitted::UnknownTypes(vec![2]));
    let answer = fakes.answer(batch(&echoes(3))).await;
    refused(&answer, 400, "unknown_action_type");
    assert_eq!(answer.places(), ["#/actions/2/type"]);
}

#[actix_web::test]
async fn a_batch_has_between_1_and_500_actions() {
    for (count, is_taken) in [(0, false), (1, true), (500, true), (501, false)] {
        let (fakes, submitted) = fakes_with(BatchSubmitted::New);
        let answer = fakes.answer(batch(&echoes(count))).await;
        if is_taken {
            assert_eq!(answer.status, 202, "{count}");
            assert_eq!(submitted.try_recv().unwrap().0.len(), count);
        } else {
            refused(&answer, 400, "validation_failed");
            assert_eq!(answer.places(), ["#/actions"], "{count}");
            assert!(submitted.try_recv().is_err());
        }
    }
}

#[actix_web::test]
async fn errors_of_shape_name_their_place() {
    for (body, place) in [
        ("{}", "#/actions"),
        (r#"{"actions":[],"x":1}"#, "#/x"),
        (r#"{"actions":[{"type":"echo"}]}"#, "#/actions/0/input"),
        (
            r#"{"actions":[{"type":"echo","input":1},{"type":"echo","input":1,"retry_of":1}]}"#,
            "#/actions/1/retry_of",
        ),
    ] {
        let (fakes, _submitted) = fakes_with(BatchSubmitted::New);
        let answer = fakes.answer(batch(body)).await;
        refused(&answer, 400, "validation_failed");
        assert_eq!(answer.places(), [place], "{body}");
    }
}

#[actix_web::test]
async fn one_input_is_no_larger_than_it_may_be_alone() {
    let body = |bytes: usize| {
        json!({"actions": [{"type": "echo", "input": "x".repeat(bytes - 2)}]}).to_string()
    };
    let (fakes, _submitted) = fakes_with(BatchSubmitted::New);
    assert_eq!(fakes.answer(batch(&body(1 << 20))).await.status, 202);
    let (fakes, _submitted) = fakes_with(BatchSubmitted::New);
    let answer = fakes.answer(batch(&body((1 << 20) + 1))).await;
    refused(&answer, 400, "validation_failed");
    assert_eq!(answer.places(), ["#/actions/0/input"]);
}

#[actix_web::test]
async fn the_whole_body_has_at_most_4_mib() {
    let body = |bytes: usize| " ".repeat(bytes - echoes(1).len()) + &echoes(1);
    let (fakes, _submitted) = fakes_with(BatchSubmitted::New);
    assert_eq!(fakes.answer(batch(&body(4 << 20))).await.status, 202);
    let (fakes, _submitted) = fakes_with(BatchSubmitted::New);
    let answer = fakes.answer(batch(&body((4 << 20) + 1))).await;
    refused(&answer, 413, "body_too_large");
}

#[actix_web::test]
async fn an_idempotency_key_makes_it_repeatable() {
    let again = || batch(&echoes(2)).insert_header(("Idempotency-Key", "k"));
    let (fakes, submitted) = fakes_with(BatchSubmitted::New);
    let answer = fakes.answer(again()).await;
    let replayed = answer.header("idempotency-replayed");
    assert_eq!((answer.status, replayed), (202, None));
    assert!(submitted.try_recv().unwrap().1);

    let before = vec![action_id(9), action_id(4)];
    let expected: Vec<String> = before.iter().map(ToString::to_string).collect();
    let (fakes, _submitted) = fakes_with(BatchSubmitted::Replayed(before));
    let answer = fakes.answer(again()).await;
    assert_eq!(answer.header("idempotency-replayed"), Some("true"));
    assert_eq!((answer.status, ids(&answer)), (202, expected));

    for (verdict, status, code) in [
        (BatchSubmitted::KeyReused, 422, "idempotency_key_reused"),
        (BatchSubmitted::InFlight, 409, "idempotency_in_flight"),
    ] {
        let (fakes, _submitted) = fakes_with(verdict);
        refused(&fakes.answer(again()).await, status, code);
    }
}

#[actix_web::test]
async fn a_narrowed_key_submits_its_types_only() {
    let (mut fakes, submitted) = fakes_with(BatchSubmitted::New);
    fakes.authenticator = with_scopes(&["actions:write:echo"]).authenticator;
    let body = r#"{"actions":[{"type":"echo","input":1},{"type":"nobodys","input":1}]}"#;
    let answer = fakes.answer(batch(body)).await;
    refused(&answer, 403, "insufficient_scope");
    assert_eq!(
        answer.json()["message"],
        "The key lacks the scope actions:write:nobodys."
    );
    assert!(submitted.try_recv().is_err());
}

#[actix_web::test]
async fn a_server_that_drains_takes_none() {
    let (fakes, submitted) = fakes_with(BatchSubmitted::New);
    fakes.draining.send_replace(true);
    refused(&fakes.answer(batch(&echoes(1))).await, 503, "unavailable");
    assert!(submitted.try_recv().is_err());
}

#[actix_web::test]
async fn the_root_key_needs_a_user() {
    let answer = with_root().answer(batch(&echoes(1))).await;
    refused(&answer, 400, "user_required");
}
