//! `/leases`.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use deed_domain::StoreError;
use deed_domain::action::{
    Attempts, Cancel, EventName, Grant, Lease, LeaseRef, LeaseRequest, Payload, RetryPolicy,
    Sequence,
};
use deed_domain::id::LeaseId;
use deed_domain::ports::{
    Appended, Beat, Dispatch, DispatchError, Finished, Granted, HeartbeatVerdict, Held, Released,
    Wish,
};
use insta::assert_snapshot;
use serde_json::json;
use tokio::sync::Notify;
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

/// What is granted to whoever asks, and how they do.
fn granting(grants: Vec<Grant>, expect: impl Fn(&Wish) + Send + 'static) -> Fakes {
    let mut fakes = worker();
    fakes.dispatch.expect_lease().returning(move |wish| {
        expect(&wish);
        Ok(Granted::new(grants.clone(), None))
    });
    fakes
}

#[actix_web::test]
async fn what_is_granted_is_told_whole() {
    let fakes = granting(vec![grant()], |wish| {
        assert_eq!((wish.max, wish.worker.as_str()), (1, "w"));
        assert_eq!((wish.lease, wish.wait), (None, Duration::ZERO));
        assert_eq!(wish.request, None);
    });
    let body = r#"{"types":["report.render"],"worker":"w"}"#;
    assert_snapshot!(fakes.answer(post("/leases", body)).await.text());
}

#[actix_web::test]
async fn a_wait_is_as_long_as_was_asked_and_the_server_allows() {
    for (asked, allowed) in [(25, 25), (60, 30)] {
        let mut fakes = granting(Vec::new(), move |wish| {
            assert_eq!(wish.wait, Duration::from_secs(allowed));
        });
        fakes.settings.max_wait = Duration::from_secs(30);
        let body = json!({"types": ["report.render"], "worker": "w", "wait_seconds": asked});
        let answer = fakes.answer(post("/leases", &body.to_string())).await;
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (200, r#"{"leases":[]}"#)
        );
    }
}

#[actix_web::test]
async fn a_request_is_known_again_by_its_key_and_id() {
    let seen: Arc<Mutex<Vec<Option<LeaseRequest>>>> = Arc::default();
    let heard = Arc::clone(&seen);
    let fakes = granting(Vec::new(), move |wish| {
        heard.lock().unwrap().push(wish.request)
    });
    let api = fakes.into_api();
    for id in ["a", "a", "b"] {
        let body = json!({"types": ["report.render"], "worker": "w", "request_id": id});
        assert_eq!(
            answer(&api, post("/leases", &body.to_string()))
                .await
                .status,
            200
        );
    }
    let seen = seen.lock().unwrap();
    assert!(seen[0].is_some() && seen[0] == seen[1] && seen[1] != seen[2]);
}

#[actix_web::test]
async fn where_too_many_wait_it_is_told_when_to_come_again() {
    let mut fakes = worker();
    fakes
        .dispatch
        .expect_lease()
        .returning(|_| Err(DispatchError::TooMany));
    let body = r#"{"types":["report.render"],"worker":"w"}"#;
    let answer = fakes.answer(post("/leases", body)).await;
    refused(&answer, 503, "overloaded");
    assert_eq!(answer.header("retry-after"), Some("5"));
}

/// Grants after a while, as when nothing waits.
struct Patient {
    asked: Arc<Notify>,
    left: Arc<Notify>,
}

struct Leaving(Arc<Notify>);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

#[async_trait]
impl Dispatch for Patient {
    async fn lease(&self, _: Wish) -> Result<Granted, DispatchError> {
        let _leaving = Leaving(Arc::clone(&self.left));
        self.asked.notify_one();
        std::future::pending().await
    }
}

fn patient() -> (Fakes, Arc<Notify>, Arc<Notify>) {
    let (asked, left) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let mut fakes = worker();
    fakes.dispatching = Some(Arc::new(Patient {
        asked: Arc::clone(&asked),
        left: Arc::clone(&left),
    }));
    (fakes, asked, left)
}

const PATIENT: &str = r#"{"types":["report.render"],"worker":"w","wait_seconds":60}"#;

#[actix_web::test]
async fn a_drain_ends_a_wait_at_once() {
    let (fakes, asked, left) = patient();
    let draining = fakes.draining.clone();
    let api = fakes.into_api();
    let (answer, ()) = tokio::join!(answer(&api, post("/leases", PATIENT)), async {
        asked.notified().await;
        draining.send_replace(true);
    });
    assert_eq!(answer.body, r#"{"leases":[],"draining":true}"#);
    left.notified().await;
}

#[actix_web::test]
async fn who_hangs_up_waits_no_more() {
    let (fakes, asked, left) = patient();
    let api = fakes.into_api();
    let request = post("/leases", PATIENT);
    tokio::select! {
        answer = answer(&api, request) => panic!("{answer:?}"),
        () = asked.notified() => {}
    }
    let soon = Duration::from_secs(10);
    assert!(tokio::time::timeout(soon, left.notified()).await.is_ok());
}

#[actix_web::test]
async fn all_limits_of_a_claim_are_told_together() {
    let body = r#"{"types":[],"max":501,"lease_seconds":0,"worker":"","wait_seconds":61,"request_id":"a b"}"#;
    let answer = worker().answer(post("/leases", body)).await;
    refused(&answer, 400, "validation_failed");
    let mut places = answer.places();
    places.sort();
    assert_eq!(
        places,
        [
            "#/lease_seconds",
            "#/max",
            "#/request_id",
            "#/types",
            "#/wait_seconds",
            "#/worker"
        ]
    );
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

const FINISH: &str = "/leases/finish";

/// The id of another lease.
const OTHER: &str = "AZjA3gAAcACAAAAMAAAAAgAAAAAAAAAAAAAAAAAAAAc";

#[actix_web::test]
async fn ends_are_answered_one_by_one_in_the_order_given() {
    let mut fakes = worker();
    fakes.leases.expect_finish().times(1).returning(|finishes| {
        assert_eq!(finishes.len(), 2);
        Ok(vec![Finished::Lost, Finished::Repeated])
    });
    let failure = json!({"error": {"code": "a", "message": "b"}, "retryable": false});
    let body = json!({"items": [
        {"lease_id": LEASE, "complete": {"output": 1}},
        {"lease_id": "nonsense", "complete": {"output": 1}},
        {"lease_id": OTHER, "fail": failure},
    ]});
    let answer = fakes.answer(post(FINISH, &body.to_string())).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let lost = json!({"code": "lease_lost", "message": "The lease is lost."});
    assert_eq!(
        answer.json(),
        json!({"results": [
            {"lease_id": LEASE, "ok": false, "error": lost},
            {"lease_id": "nonsense", "ok": false, "error": lost},
            {"lease_id": OTHER, "ok": true},
        ], "leases": []})
    );
}

/// A fake that writes ends, and what comes after them is up to the test.
fn finishing(fakes: &mut Fakes) -> String {
    fakes
        .leases
        .expect_finish()
        .times(1)
        .returning(|_| Ok(vec![Finished::Repeated]));
    json!({"items": [{"lease_id": LEASE, "complete": {"output": 1}}],
        "then_lease": {"types": ["report.render"], "worker": "w", "wait_seconds": 60}})
    .to_string()
}

#[actix_web::test]
async fn the_next_leases_come_with_the_ends() {
    let mut fakes = granting(vec![grant()], |wish| {
        assert_eq!(wish.wait, Duration::from_secs(60));
    });
    let body = finishing(&mut fakes);
    let answer = fakes.answer(post(FINISH, &body)).await.json();
    assert_eq!(answer["results"], json!([{"lease_id": LEASE, "ok": true}]));
    assert_eq!(answer["leases"][0]["lease_id"], LEASE);
}

#[actix_web::test]
async fn ends_that_are_written_are_told_whatever_comes_of_the_next_lease() {
    let results = json!([{"lease_id": LEASE, "ok": true}]);
    let mut away = worker();
    away.dispatch.expect_lease().returning(|_| {
        let cause = Arc::new(std::io::Error::other("away"));
        Err(StoreError::Unavailable(cause).into())
    });
    let body = finishing(&mut away);
    let answer = away.answer(post(FINISH, &body)).await;
    assert_eq!((answer.status, &answer.json()["results"]), (200, &results));
    let mut draining = worker();
    let body = finishing(&mut draining);
    draining.draining.send_replace(true);
    let answer = draining.answer(post(FINISH, &body)).await;
    assert_eq!(
        (answer.status, answer.json()),
        (
            200,
            json!({"results": results, "leases": [], "draining": true})
        )
    );
}

#[actix_web::test]
async fn what_is_wrong_is_told_before_an_end_is_written() {
    let api = worker().into_api();
    let item = json!({"lease_id": LEASE, "complete": {"output": 1}});
    let both = json!({"lease_id": OTHER, "complete": {"output": 1},
        "fail": {"error": {"code": "a", "message": "b"}, "retryable": true}});
    let then = |field: &str, value: serde_json::Value| {
        let mut then = json!({"types": ["report.render"], "worker": "w"});
        then[field] = value;
        json!({"items": [item], "then_lease": then})
    };
    for (body, place) in [
        (json!({"items": []}), "#/items"),
        (json!({"items": vec![&item; 501]}), "#/items"),
        (json!({"items": [item, item]}), "#/items/1/lease_id"),
        (json!({"items": [item, both]}), "#/items/1"),
        (json!({"items": [{"lease_id": LEASE}]}), "#/items/0"),
        (then("max", json!(501)), "#/then_lease/max"),
        (then("types", json!(["A"])), "#/then_lease/types/0"),
        (then("wait_seconds", json!(61)), "#/then_lease/wait_seconds"),
    ] {
        let answer = answer(&api, post(FINISH, &body.to_string())).await;
        refused(&answer, 400, "validation_failed");
        assert_eq!(answer.places(), [place], "{answer:?}");
    }
    let beyond = answer(
        &api,
        post(FINISH, &then("types", json!(["echo"])).to_string()),
    )
    .await;
    refused(&beyond, 403, "insufficient_scope");
}

#[actix_web::test]
async fn each_output_has_one_mebibyte_and_all_together_four() {
    let body = |bytes: usize| {
        let output = "a".repeat(bytes - 2);
        json!({"items": [{"lease_id": LEASE, "complete": {"output": output}}]}).to_string()
    };
    let mut fakes = worker();
    finishing(&mut fakes);
    let api = fakes.into_api();
    let most = answer(&api, post(FINISH, &body(Payload::MAX_BYTES))).await;
    assert_eq!(most.status, 200);
    let more = answer(&api, post(FINISH, &body(Payload::MAX_BYTES + 1))).await;
    refused(&more, 400, "validation_failed");
    let all = answer(&api, post(FINISH, &body(4 * Payload::MAX_BYTES))).await;
    refused(&all, 413, "body_too_large");
}

#[actix_web::test]
async fn a_heartbeat_tells_of_a_drain() {
    let mut fakes = worker();
    fakes
        .leases
        .expect_heartbeat()
        .returning(|beats| Ok(vec![HeartbeatVerdict::Lost; beats.len()]));
    fakes.draining.send_replace(true);
    let body = json!({"lease_ids": [LEASE]}).to_string();
    let answer = fakes.answer(post("/leases/heartbeat", &body)).await;
    assert_eq!(answer.json()["draining"], true);
}
