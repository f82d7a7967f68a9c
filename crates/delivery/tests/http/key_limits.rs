//! What a key may use: requests a second, open streams, waiting actions; and what answers tell of it.

use std::num::NonZeroU32;
use std::time::Duration;

use actix_web::dev::Service as _;
use actix_web::http::Method;
use actix_web::test::{TestRequest, init_service};
use deed_delivery::{Api, app};
use deed_domain::caller::{Actor, Identity};
use deed_domain::id::ApiKeyId;
use deed_domain::key_limits::KeyLimits;
use deed_domain::ports::{BatchSubmitted, MockUserRepository, Submitted};
use deed_domain::scope::ScopeSet;
use tokio::time::advance;
use uuid::Uuid;

use crate::support::*;

/// A key without limits.
const OTHER: (&str, &str) = ("X-API-Key", "another-key");

/// Ada's key may use so much and do everything; another one of hers has no limits, and there are no more keys.
fn with_limits(limits: KeyLimits) -> Fakes {
    let identity = move |id: ApiKeyId, limits| Identity {
        actor: Actor::Key(id),
        owner: Some(ada()),
        scopes: ScopeSet::everything(),
        expires_at: None,
        limits,
    };
    let mut fakes = fakes();
    let authenticator = &mut fakes.authenticator;
    authenticator
        .expect_authenticate()
        .returning(move |secret| {
            Ok(match secret {
                "a-key" => Some(identity(key_id(), limits)),
                "another-key" => {
                    let other = ApiKeyId::from_uuid(Uuid::from_u128(7));
                    Some(identity(other, KeyLimits::NONE))
                }
                _ => None,
            })
        });
    fakes
}

fn requests(rate: u32) -> KeyLimits {
    KeyLimits {
        requests_per_second: NonZeroU32::new(rate),
        ..KeyLimits::NONE
    }
}

fn streams(most: u32) -> KeyLimits {
    KeyLimits {
        streams: NonZeroU32::new(most),
        ..KeyLimits::NONE
    }
}

/// The two fields, or none.
fn told(answer: &Answer) -> Option<(&str, &str)> {
    let (policy, left) = (
        answer.header("ratelimit-policy"),
        answer.header("ratelimit"),
    );
    assert_eq!(policy.is_some(), left.is_some(), "{answer:?}");
    policy.zip(left)
}

#[tokio::test(start_paused = true)]
async fn who_is_over_the_limit_is_refused_until_the_time_is_up_and_nobody_else_is() {
    let mut fakes = with_limits(requests(2));
    fakes.users.expect_find().returning(|id| Ok(Some(user(id))));
    let api = fakes.into_api();
    let me = async || answer(&api, get("/users/me")).await;
    let policy = "\"default\";q=2;w=1";
    for left in ["\"default\";r=1;t=1", "\"default\";r=0;t=1"] {
        let answer = me().await;
        assert_eq!((answer.status, told(&answer)), (200, Some((policy, left))));
    }
    let answered = me().await;
    refused(&answered, 429, "rate_limited");
    assert_eq!(told(&answered), Some((policy, "\"default\";r=0;t=1")));
    let wait = answered.header("retry-after").unwrap().parse().unwrap();
    assert_eq!(wait, 1);

    let other = TestRequest::get().uri("/users/me").insert_header(OTHER);
    let other = answer(&api, other).await;
    assert_eq!((other.status, told(&other)), (200, None));

    advance(Duration::from_secs(wait)).await;
    assert_eq!(me().await.status, 200);
}

/// Refused or not, by whichever part: whose key has a limit is told of it as soon as the key is known.
#[actix_web::test]
async fn every_answer_to_a_limited_key_tells_what_is_left() {
    let mut fakes = with_limits(requests(100));
    fakes.users.expect_find().returning(|_| Ok(None));
    fakes.actions.expect_find().returning(|_, _| panic!());
    let api = fakes.into_api();
    let nobody = format!("/users/{}", user_id(9));
    for (request, status) in [
        (get(&nobody), 404),
        (get("/users/x"), 400),
        (get("/users?what=x"), 400),
        (post("/users", "{"), 400),
        (
            post("/users", "{}").insert_header(("Content-Type", "text/plain")),
            415,
        ),
        (get("/users/me").insert_header(("X-User-ID", "nobody")), 400),
        (
            get("/users/me").insert_header(("X-User-ID", user_id(9).to_string())),
            404,
        ),
        (get(&format!("/actions/{}", action_id(1))), 500),
        (get(&nobody).method(Method::HEAD), 404),
    ] {
        let answer = answer(&api, request).await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(told(&answer).is_some(), "{answer:?}");
    }
}

#[actix_web::test]
async fn whoever_is_unknown_is_not_counted() {
    let api = with_limits(requests(1)).into_api();
    for _ in 0..3 {
        let stranger = TestRequest::get().uri("/users/me");
        let answer = answer(&api, stranger.insert_header(("X-API-Key", "guess"))).await;
        refused(&answer, 401, "invalid_api_key");
        assert_eq!(told(&answer), None);
    }
    let public = answer(&api, get("/problems/not_found")).await;
    assert_eq!((public.status, told(&public)), (200, None));
}

/// One that is too many costs nothing but the look at its key: the fakes here expect no other call.
#[tokio::test(start_paused = true)]
async fn a_refused_request_does_nothing_else() {
    let mut fakes = with_limits(requests(1));
    let mut users = MockUserRepository::new();
    users
        .expect_find()
        .times(1)
        .returning(|id| Ok(Some(user(id))));
    fakes.users = users;
    let metrics = fakes.metrics.clone();
    let api = fakes.into_api();
    assert_eq!(answer(&api, get("/users/me")).await.status, 200);
    let act_as = get("/users/me").insert_header(("X-User-ID", user_id(2).to_string()));
    refused(&answer(&api, act_as).await, 429, "rate_limited");
    let asked = post("/actions", "not even JSON");
    refused(&answer(&api, asked).await, 429, "rate_limited");
    assert_eq!(over_limit(&metrics, "rate"), 2);
}

#[actix_web::test]
async fn the_root_key_has_no_limit() {
    let mut fakes = with_root();
    fakes.users.expect_find().returning(|id| Ok(Some(user(id))));
    let found = fakes.answer(get(&format!("/users/{}", user_id(2)))).await;
    assert_eq!((found.status, told(&found)), (200, None));
}

/// A log that goes on for ever.
fn with_open_log(limits: KeyLimits) -> Fakes {
    let mut fakes = with_limits(limits);
    serve_log(&mut fakes, log()[..2].to_vec());
    sleep_soundly(&mut fakes);
    fakes
}

fn events() -> TestRequest {
    get(&format!("/actions/{}/events", action_id(1)))
}

/// An answer that has an end: a stream here has none.
async fn answer_soon(api: &Api, request: TestRequest) -> Answer {
    let answer = answer(api, request);
    let answer = tokio::time::timeout(Duration::from_secs(10), answer).await;
    answer.unwrap()
}

/// Opens a stream and holds it open.
async fn open(api: &Api, request: TestRequest) -> (u16, impl Sized + use<>) {
    let service = init_service(app(api)).await;
    let response = service.call(request.to_request()).await.unwrap();
    (response.status().as_u16(), response)
}

#[actix_web::test]
async fn a_key_has_as_many_streams_open_as_it_may() {
    let fakes = with_open_log(streams(2));
    let metrics = fakes.metrics.clone();
    let api = fakes.into_api();
    let (first, held) = open(&api, events()).await;
    let (second, _also_held) = open(&api, events()).await;
    assert_eq!((first, second), (200, 200));
    let third = answer_soon(&api, events()).await;
    refused(&third, 429, "too_many_streams");
    assert_eq!(third.header("retry-after"), Some("1"));
    assert_eq!(over_limit(&metrics, "streams"), 1);

    // What is no stream doesn't count, and needs no room.
    let page = answer(&api, events().insert_header(("Accept", "application/json"))).await;
    let head = answer(&api, events().method(Method::HEAD)).await;
    assert_eq!((page.status, head.status), (200, 200));
    let (other, _held) = open(&api, events().insert_header(OTHER)).await;
    assert_eq!(other, 200);

    // Whose reader has gone makes room, as soon as its task has noticed.
    drop(held);
    let opened = tokio::time::timeout(Duration::from_secs(10), async {
        loop {
            let (status, response) = open(&api, events()).await;
            if status == 200 {
                return response;
            }
            tokio::task::yield_now().await;
        }
    });
    let _held = opened.await.unwrap();
    let full = answer_soon(&api, events()).await;
    refused(&full, 429, "too_many_streams");
}

/// Nothing is accepted for who may not follow it: no port is called here but for the key.
#[actix_web::test]
async fn a_refused_stream_asks_for_no_action() {
    let api = with_open_log(streams(1)).into_api();
    let (status, _held) = open(&api, events()).await;
    assert_eq!(status, 200);
    let asked = post("/stream", "{\"type\":\"echo\",\"input\":{}}");
    refused(&answer(&api, asked).await, 429, "too_many_streams");
}

/// A stream that has come to its end by itself leaves its place, and so does one that was none after all.
#[actix_web::test]
async fn streams_that_are_over_make_room() {
    let mut fakes = with_limits(streams(1));
    serve_log(&mut fakes, log());
    sleep_soundly(&mut fakes);
    let api = fakes.into_api();
    for _ in 0..3 {
        let whole = answer(&api, events()).await;
        assert_eq!(whole.status, 200);
        assert!(whole.body.contains("event: done"), "{whole:?}");
        let at_its_end = events().insert_header(("Last-Event-ID", "5"));
        assert_eq!(answer(&api, at_its_end).await.status, 204);
        let wrong = events().insert_header(("Last-Event-ID", "6"));
        refused(&answer(&api, wrong).await, 400, "invalid_cursor");
    }
}

#[actix_web::test]
async fn a_key_with_as_many_waiting_actions_as_it_may_asks_for_no_more() {
    let fakes = || {
        let limits = KeyLimits {
            queued: NonZeroU32::new(3),
            ..KeyLimits::NONE
        };
        let mut fakes = with_limits(limits);
        let types = &mut fakes.types;
        types
            .expect_find()
            .returning(|_| Ok(Some(action_type("echo"))));
        types
            .expect_find_all()
            .returning(|_| Ok(vec![action_type("echo")]));
        fakes
            .actions
            .expect_find()
            .returning(|id, _| Ok(Some(action(id, deed_domain::action::Status::Failed))));
        let submissions = &mut fakes.submissions;
        submissions.expect_submit().returning(|action, _| {
            assert_eq!(action.max_queued, NonZeroU32::new(3));
            Ok(Submitted::TooManyQueued)
        });
        submissions.expect_submit_batch().returning(|actions, _| {
            assert!(
                actions
                    .iter()
                    .all(|one| one.max_queued == NonZeroU32::new(3))
            );
            Ok(BatchSubmitted::TooManyQueued)
        });
        fakes
    };
    let one = "{\"type\":\"echo\",\"input\":{}}";
    let batch = format!("{{\"actions\":[{one},{one}]}}");
    let retry = format!("/actions/{}/retry", action_id(1));
    for request in [
        post("/actions", one),
        post("/stream", one),
        post("/actions/batch", &batch),
        TestRequest::post().uri(&retry).insert_header(KEY),
    ] {
        let fakes = fakes();
        let metrics = fakes.metrics.clone();
        let answer = fakes.answer(request).await;
        refused(&answer, 429, "too_many_queued");
        assert_eq!(answer.header("retry-after"), Some("1"));
        assert_eq!(over_limit(&metrics, "queued"), 1);
    }
}

/// How many requests were refused by that limit.
fn over_limit(metrics: &deed_delivery::metrics::HttpMetrics, limit: &str) -> u64 {
    let mut registry = prometheus_client::registry::Registry::default();
    metrics.register(&mut registry);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    let sample = format!("http_requests_over_limit_total{{limit=\"{limit}\"}} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&sample));
    line.unwrap().parse().unwrap()
}
