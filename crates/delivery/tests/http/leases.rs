//! `/leases`.

use std::time::Duration;

use deed_domain::action::{
    Attempts, Cancel, EventName, Grant, Lease, LeaseRef, Payload, RetryPolicy, Sequence,
};
use deed_domain::id::LeaseId;
use deed_domain::ports::{Appended, Beat, Finished, HeartbeatVerdict, Held, Released};
use insta::assert_snapshot;
use serde_json::json;
use uuid::Uuid;

use crate::support::*;

/// The id of the lease below.
const LEASE: &str = "AZjA3gAAcACAAAAMAAAAAQAAAAAAAAAAAAAAAAAAAAc";
const OTHERS: [&str; 3] = ["actions:read", "actions:write", "types:write"];

fn grant() -> Grant {
    Grant {
        lease: Lease {
            id: LeaseRef {
                action_id: action_id(1),
                lease_id: LeaseId::from_uuid(Uuid::from_u128(7)),
            },
            expires_at: now(),
            deadline_at: now(),
            next_seq: Sequence::new(3).unwrap(),
            cancel_requested: false,
        },
        action_type: name("report.render"),
        user_id: ada(),
        input: Payload::parse(r#"{"b":1, "a":1.0}"#).unwrap(),
        attempt: 1,
        max_attempts: 3,
        checkpoint: Some(Payload::parse(r#"{"page":1.0}"#).unwrap()),
        time_left: Some(Duration::from_secs(60)),
        traceparent: None,
    }
}

fn held() -> Held {
    Held {
        action_type: name("report.render"),
        attempts: Attempts { used: 1, max: 3 },
        cancel: Cancel::NotAsked,
        next_seq: Sequence::new(3).unwrap(),
        retry: RetryPolicy::default(),
    }
}

/// Fakes of a worker that holds every lease it names.
fn worker() -> Fakes {
    let mut fakes = with_scopes(&["actions:work:report.*"]);
    fakes
        .leases
        .expect_held()
        .returning(|leases| Ok(vec![Some(held()); leases.len()]));
    fakes
}

fn about(call: &str, body: &str) -> actix_web::test::TestRequest {
    post(&format!("/leases/{LEASE}/{call}"), body)
}

#[actix_web::test]
async fn what_is_granted_is_told_whole() {
    let mut fakes = worker();
    fakes.leases.expect_claim().returning(|request| {
        assert_eq!((request.max, request.worker.as_str()), (1, "w"));
        assert_eq!(request.lease, None);
        Ok(vec![grant()])
    });
    let body = r#"{"types":["report.render"],"worker":"w"}"#;
    assert_snapshot!(fakes.answer(post("/leases", body)).await.text());
}

#[actix_web::test]
async fn all_limits_of_a_claim_are_told_together() {
    let body = r#"{"types":[],"max":501,"lease_seconds":0,"worker":""}"#;
    let answer = worker().answer(post("/leases", body)).await;
    refused(&answer, 400, "validation_failed");
    let mut places = answer.places();
    places.sort();
    assert_eq!(places, ["#/lease_seconds", "#/max", "#/types", "#/worker"]);
}

#[actix_web::test]
async fn a_server_that_drains_grants_nothing() {
    let fakes = worker();
    fakes.draining.send_replace(true);
    let body = r#"{"types":["report.render"],"worker":"w"}"#;
    let answer = fakes.answer(post("/leases", body)).await;
    refused(&answer, 503, "unavailable");
}

#[actix_web::test]
async fn a_heartbeat_answers_in_the_order_asked() {
    let mut fakes = worker();
    fakes.leases.expect_heartbeat().returning(|beats| {
        let held = HeartbeatVerdict::Held {
            expires_at: now(),
            cancel_requested: true,
        };
        let verdict = |beat: &Beat| match beat.lease == grant().lease.id {
            true => held,
            false => HeartbeatVerdict::Finished,
        };
        Ok(beats.iter().map(verdict).collect())
    });
    let done = LEASE.replace("AAAc", "AAAg");
    let body = json!({"lease_ids": ["nonsense", LEASE, done]}).to_string();
    let answer = fakes.answer(post("/leases/heartbeat", &body)).await;
    assert_eq!(
        answer.json()["leases"],
        json!([
            {"lease_id": "nonsense", "ok": false, "reason": "lost", "expires_at": null, "cancel_requested": false},
            {"lease_id": LEASE, "ok": true, "reason": null, "expires_at": "2026-01-31T10:00:00Z", "cancel_requested": true},
            {"lease_id": done, "ok": false, "reason": "finished", "expires_at": null, "cancel_requested": false},
        ])
    );
}

#[actix_web::test]
async fn events_are_messages_and_progress_only() {
    let mut fakes = worker();
    fakes
        .leases
        .expect_append()
        .times(1)
        .returning(|appends, _| {
            let names: Vec<&EventName> =
                appends[0].events.iter().map(|event| &event.name).collect();
            assert_eq!(names, [&EventName::Message, &EventName::Progress]);
            assert_eq!(appends[0].events[1].data.as_str(), r#"{"percent":5}"#);
            Ok(vec![Appended::Written {
                next_seq: Sequence::new(5).unwrap(),
                cancel_requested: false,
            }])
        });
    let api = fakes.into_api();
    let body = r#"{"from_seq":3,"events":[{"event":"message","data":1},{"event":"progress","data":{"percent":5}}]}"#;
    let written = answer(&api, about("events", body)).await;
    assert_eq!(
        (written.status, &written.json()["next_seq"]),
        (200, &json!(5))
    );
    for wrong in [
        r#"{"from_seq":3,"events":[{"event":"done","data":1}]}"#,
        r#"{"from_seq":3,"events":[{"event":"progress","data":{"percent":101}}]}"#,
        r#"{"from_seq":3,"events":[{"event":"progress","data":{"other":1}}]}"#,
        r#"{"from_seq":3,"events":[]}"#,
        r#"{"from_seq":0,"events":[{"event":"message","data":1}]}"#,
    ] {
        let answer = answer(&api, about("events", wrong)).await;
        refused(&answer, 400, "validation_failed");
    }
}

#[actix_web::test]
async fn a_checkpoint_goes_with_events_or_alone() {
    let longest = format!("\"{}\"", "x".repeat(Lease::CHECKPOINT_MAX_BYTES - 2));
    for (events, count, checkpoint) in [
        (
            r#"[{"event":"message","data":1}]"#,
            1,
            r#"{"b":1, "a":1.0}"#,
        ),
        ("[]", 0, "0"),
        ("[]", 0, &longest),
    ] {
        let mut fakes = worker();
        let expected = Payload::parse(checkpoint).unwrap();
        fakes
            .leases
            .expect_append()
            .times(1)
            .returning(move |appends, _| {
                assert_eq!(appends[0].events.len(), count);
                assert_eq!(appends[0].checkpoint.as_ref(), Some(&expected));
                Ok(vec![Appended::Written {
                    next_seq: Sequence::new(3).unwrap(),
                    cancel_requested: false,
                }])
            });
        let body = format!(r#"{{"from_seq":3,"events":{events},"checkpoint":{checkpoint}}}"#);
        assert_eq!(fakes.answer(about("events", &body)).await.status, 200);
    }
    let longer = format!("\"{}\"", "x".repeat(Lease::CHECKPOINT_MAX_BYTES - 1));
    let api = worker().into_api();
    for (checkpoint, place) in [
        // Null is none.
        ("null", "#/events"),
        (longer.as_str(), "#/checkpoint"),
        (r#"{"a":1,"a":2}"#, "#/checkpoint"),
    ] {
        let body = format!(r#"{{"from_seq":3,"events":[],"checkpoint":{checkpoint}}}"#);
        let answer = answer(&api, about("events", &body)).await;
        refused(&answer, 400, "validation_failed");
        assert_eq!(answer.places(), [place]);
    }
}

fn lines(query: &str, body: &str) -> actix_web::test::TestRequest {
    actix_web::test::TestRequest::post()
        .uri(&format!("/leases/{LEASE}/events{query}"))
        .insert_header(KEY)
        .insert_header(("content-type", "application/x-ndjson; charset=utf-8"))
        .set_payload(body.to_owned())
}

#[actix_web::test]
async fn events_may_come_line_by_line() {
    let mut fakes = worker();
    fakes
        .leases
        .expect_append()
        .times(1)
        .returning(|appends, _| {
            let said: Vec<&str> = appends[0]
                .events
                .iter()
                .map(|event| event.data.as_str())
                .collect();
            assert_eq!(said, [r#"{"b":1, "a":1.0}"#, r#"{"percent":5}"#]);
            assert_eq!(appends[0].from_seq.get(), 7);
            Ok(vec![Appended::Written {
                next_seq: Sequence::new(9).unwrap(),
                cancel_requested: false,
            }])
        });
    let body = "{\"event\":\"message\",\"data\":{\"b\":1, \"a\":1.0}}\n\n\
                {\"event\":\"progress\",\"data\":{\"percent\":5}}";
    let written = fakes.answer(lines("?from_seq=7", body)).await;
    assert_eq!(
        (written.status, &written.json()["next_seq"]),
        (200, &json!(9))
    );
}

#[actix_web::test]
async fn a_broken_line_refuses_them_all() {
    // None of the store's writes is expected.
    let api = worker().into_api();
    let good = r#"{"event":"message","data":1}"#;
    let many = format!("{good}\n").repeat(1_001);
    let large = format!(
        r#"{{"event":"message","data":"{}"}}"#,
        "a".repeat(Payload::MAX_BYTES)
    );
    for (body, place) in [
        ("", "#/events"),
        ("\n \n", "#/events"),
        (many.as_str(), "#/events"),
        (r#"{"event":"done","data":1}"#, "#/events/1/event"),
        (
            r#"{"event":"progress","data":{"percent":101}}"#,
            "#/events/1/data",
        ),
        (
            r#"{"event":"message","data":{"a":1,"a":2}}"#,
            "#/events/1/data",
        ),
        (large.as_str(), "#/events/1/data"),
    ] {
        let body = match place.len() > "#/events".len() {
            true => format!("{good}\n{body}\n{good}\n"),
            false => body.to_owned(),
        };
        let answer = answer(&api, lines("?from_seq=3", &body)).await;
        refused(&answer, 400, "validation_failed");
        assert_eq!(answer.places(), [place]);
    }
    let answer = answer(
        &api,
        lines("?from_seq=3", &format!("{good}\n\n{{\"event\"")),
    )
    .await;
    refused(&answer, 400, "malformed_json");
    assert!(answer.body.contains("line 3, column"), "{answer:?}");
}

#[actix_web::test]
async fn the_position_stands_in_the_query_of_lines_only() {
    let api = worker().into_api();
    let line = r#"{"event":"message","data":1}"#;
    for query in ["", "?from_seq=0", "?from_seq=x", "?from_seq=3&other=1"] {
        let answer = answer(&api, lines(query, line)).await;
        refused(&answer, 400, "validation_failed");
    }
    let body = r#"{"from_seq":3,"events":[{"event":"message","data":1}]}"#;
    let both = answer(&api, about("events?from_seq=3", body)).await;
    refused(&both, 400, "validation_failed");
    assert_eq!(both.places(), ["from_seq"]);
}

#[actix_web::test]
async fn a_report_in_another_form_is_told_which_are_taken() {
    let request = actix_web::test::TestRequest::post()
        .uri(&format!("/leases/{LEASE}/events?from_seq=3"))
        .insert_header(KEY)
        .insert_header(("content-type", "text/plain"))
        .set_payload("a");
    let answer = worker().answer(request).await;
    refused(&answer, 415, "unsupported_media_type");
    let taken = "application/json or application/x-ndjson";
    assert!(answer.body.contains(taken), "{answer:?}");
}

#[actix_web::test]
async fn a_gap_is_a_conflict() {
    let mut fakes = worker();
    fakes.leases.expect_append().returning(|_, _| {
        let next_seq = Sequence::new(9).unwrap();
        Ok(vec![Appended::OutOfOrder { next_seq }])
    });
    let body = r#"{"from_seq":3,"events":[{"event":"message","data":1}]}"#;
    let answer = fakes.answer(about("events", body)).await;
    refused(&answer, 409, "sequence_conflict");
    assert!(answer.body.contains("stands at 9"), "{answer:?}");
}

#[actix_web::test]
async fn what_is_done_is_answered_200_and_what_is_lost_409() {
    for (finished, released, status) in [
        (Finished::Repeated, Released::Released, 200),
        (Finished::Lost, Released::Lost, 409),
    ] {
        for (call, body) in [
            ("complete", r#"{"output":{"a":1}}"#),
            (
                "fail",
                r#"{"error":{"code":"a","message":"b"},"retryable":false}"#,
            ),
            ("release", "{}"),
        ] {
            let mut fakes = worker();
            fakes
                .leases
                .expect_finish()
                .returning(move |_| Ok(vec![finished]));
            fakes
                .leases
                .expect_release()
                .returning(move |_| Ok(vec![released]));
            let answer = fakes.answer(about(call, body)).await;
            assert_eq!(answer.status, status, "{call}: {answer:?}");
            match status {
                200 => assert_eq!(answer.body, "{}"),
                _ => refused(&answer, 409, "lease_lost"),
            }
        }
    }
}

#[actix_web::test]
async fn an_output_has_one_mebibyte() {
    let body = |bytes: usize| format!(r#"{{"output":"{}"}}"#, "a".repeat(bytes - 2));
    let mut fakes = worker();
    fakes
        .leases
        .expect_finish()
        .times(1)
        .returning(|_| Ok(vec![Finished::Repeated]));
    let api = fakes.into_api();
    let most = answer(&api, about("complete", &body(Payload::MAX_BYTES))).await;
    assert_eq!(most.status, 200);
    let more = answer(&api, about("complete", &body(Payload::MAX_BYTES + 1))).await;
    refused(&more, 400, "validation_failed");
}

#[actix_web::test]
async fn what_is_no_lease_is_lost() {
    let answer = worker()
        .answer(post("/leases/nonsense/release", "{}"))
        .await;
    refused(&answer, 409, "lease_lost");
}

#[actix_web::test]
async fn working_needs_its_scope() {
    let body = r#"{"types":["report.render"],"worker":"w"}"#;
    let answer = with_scopes(&OTHERS).answer(post("/leases", body)).await;
    refused(&answer, 403, "insufficient_scope");
    let elsewhere = with_scopes(&["actions:work:other"]);
    refused(
        &elsewhere.answer(post("/leases", body)).await,
        403,
        "insufficient_scope",
    );
}
