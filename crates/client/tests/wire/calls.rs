//! Calls: what is repeated, what is not, and what the errors say.

use std::error::Error as _;
use std::time::Duration;

use deed_client::Error;
use deed_client::api::action::{ActionQuery, CreateAction};
use deed_client::api::api_key::CreateApiKey;
use deed_client::api::lease::{
    FinishItem, FinishLeases, LeaseActions, WorkerEvent, WorkerEventName,
};
use deed_client::api::user::PatchUser;
use futures_util::TryStreamExt as _;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::server::{Reply, Server};

const ID: Uuid = Uuid::from_u128(7);
const ACTION: &str = r#"{"id":"00000000-0000-0000-0000-000000000007","type":"echo","status":"succeeded","user_id":"00000000-0000-0000-0000-000000000001","api_key_id":null,"input":{"text": "a"},"output":{"n": 1.10},"error":null,"attempt":1,"max_attempts":3,"priority":5,"retry_of":null,"run_at":null,"created_at":"2026-01-31T10:00:00Z","started_at":null,"finished_at":null,"new_member":{"a":1}}"#;

fn echo() -> CreateAction {
    CreateAction::new("echo", &serde_json::json!({"text": "a"})).unwrap()
}

fn summary(id: u128) -> String {
    let id = Uuid::from_u128(id);
    format!(
        r#"{{"id":"{id}","type":"echo","status":"succeeded","user_id":"{id}","api_key_id":null,"error":null,"attempt":1,"max_attempts":3,"priority":5,"retry_of":null,"run_at":null,"created_at":"2026-01-31T10:00:00Z","started_at":null,"finished_at":null}}"#
    )
}

fn unavailable() -> Reply {
    Reply::problem(
        "503 Service Unavailable",
        "unavailable",
        "Retry-After: 0\r\n",
    )
}

#[tokio::test]
async fn what_is_new_in_an_answer_is_ignored_and_payloads_keep_their_text() {
    let server = Server::start([Reply::json("200 OK", ACTION)]).await;
    let action = server.client().get_action(ID).await.unwrap();
    assert_eq!(action.output.unwrap().get(), r#"{"n": 1.10}"#);
    assert!(server.requests()[0].starts_with(&format!("GET /actions/{ID} HTTP/1.1")));
    assert_eq!(server.header("x-api-key"), ["deedk_x"]);
}

#[tokio::test]
async fn small_events_go_line_by_line_and_may_be_repeated() {
    let answer = r#"{"next_seq":9,"cancel_requested":false}"#;
    let server = Server::start([Reply::nothing(), Reply::json("200 OK", answer)]).await;
    let event = |data: &str| WorkerEvent {
        event: WorkerEventName::Message,
        data: RawValue::from_string(data.to_owned()).unwrap(),
    };
    let events = [event("{\n\"b\": 1.0\r\n}"), event("\"a\\nb\"")];
    let reported = server.client().report_lines("l", 7, &events).await.unwrap();
    assert_eq!(reported.next_seq, 9);
    assert_eq!(server.header("content-type"), ["application/x-ndjson"; 2]);
    let body = concat!(
        r#"{"event":"message","data":{ "b": 1.0  }}"#,
        "\n",
        r#"{"event":"message","data":"a\nb"}"#,
        "\n"
    );
    for request in server.requests() {
        assert!(request.starts_with("POST /leases/l/events?from_seq=7 HTTP/1.1"));
        assert!(request.ends_with(body), "{request}");
    }
}

#[tokio::test]
async fn a_read_is_repeated_until_it_is_answered() {
    let server = Server::start([
        Reply::nothing(),
        unavailable(),
        Reply::json("200 OK", ACTION).short_of(10),
        Reply::json("200 OK", ACTION),
    ])
    .await;
    server.client().get_action(ID).await.unwrap();
    assert_eq!(server.requests().len(), 4);
}

#[tokio::test]
async fn an_action_is_repeated_with_one_key_and_another_call_has_another() {
    let server = Server::start([
        Reply::nothing(),
        unavailable(),
        Reply::answer("502 Bad Gateway", "Content-Type: text/html\r\n", "<html>"),
        Reply::json("201 Created", ACTION),
        Reply::json("202 Accepted", ACTION),
    ])
    .await;
    let client = server.client();
    let first = client.create_action(&echo()).await.unwrap();
    assert!(first.is_over && !first.is_replay);
    let second = client.create_action(&echo()).respond_async().await.unwrap();
    assert!(!second.is_over);
    let keys = server.header("idempotency-key");
    assert!(keys[0].len() > 30 && keys[..4].iter().all(|key| *key == keys[0]));
    assert_ne!(keys[0], keys[4]);
    assert_eq!(server.header("prefer"), ["", "", "", "", "respond-async"]);
}

#[tokio::test]
async fn an_action_waits_out_its_own_first_try() {
    let in_flight = Reply::problem("409 Conflict", "idempotency_in_flight", "");
    let replayed = Reply::answer("201 Created", "Idempotency-Replayed: true\r\n", ACTION);
    let server = Server::start([Reply::nothing(), in_flight, replayed]).await;
    let wait = Duration::from_secs(7);
    let client = server.client();
    let call = client
        .create_action(&echo())
        .idempotency_key("order-1")
        .wait(wait);
    assert!(call.await.unwrap().is_replay);
    assert_eq!(server.header("idempotency-key"), ["\"order-1\""; 3]);
    assert_eq!(server.header("prefer"), ["wait=7"; 3]);
}

#[tokio::test]
async fn what_would_act_twice_is_sent_once() {
    let key = CreateApiKey {
        name: "laptop".to_owned(),
        scopes: vec!["actions:read".to_owned()],
        expires_at: None,
    };
    for reply in [Reply::nothing(), unavailable()] {
        let server = Server::start([reply, Reply::json("201 Created", "{}")]).await;
        let error = server.client().create_api_key(&key).await.unwrap_err();
        assert!(
            matches!(error, Error::Connection { .. } | Error::Refused(_)),
            "{error}"
        );
        assert_eq!(server.requests().len(), 1, "{error}");
    }
}

#[tokio::test]
async fn a_retry_is_repeated_with_one_key() {
    let server = Server::start([Reply::nothing(), Reply::json("202 Accepted", ACTION)]).await;
    server.client().retry_action(ID).await.unwrap();
    let keys = server.header("idempotency-key");
    assert!(keys[0].len() > 30 && keys[0] == keys[1], "{keys:?}");
}

#[tokio::test]
async fn what_was_refused_before_it_acted_is_sent_again() {
    let busy = Reply::problem(
        "429 Too Many Requests",
        "rate_limited",
        "Retry-After: 0\r\n",
    );
    let user = r#"{"id":"00000000-0000-0000-0000-000000000007","email":"a@b.co","name":"A","status":"active","external_id":null,"created_at":"2026-01-31T10:00:00Z","updated_at":"2026-01-31T10:00:00Z"}"#;
    let server = Server::start([busy, Reply::json("200 OK", user)]).await;
    let client = server.client();
    client.update_user(ID, &PatchUser::default()).await.unwrap();
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn a_wait_that_is_too_long_is_not_begun() {
    let busy = Reply::problem(
        "503 Service Unavailable",
        "unavailable",
        "Retry-After: 60\r\n",
    );
    let server = Server::start([busy]).await;
    let error = server.client().get_me().await.unwrap_err();
    let refusal = error.refusal().unwrap();
    assert_eq!(refusal.retry_after, Some(Duration::from_secs(60)));
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn retry_after_is_waited_for() {
    let busy = Reply::problem(
        "503 Service Unavailable",
        "unavailable",
        "Retry-After: 1\r\n",
    );
    let server = Server::start([busy, Reply::json("200 OK", ACTION)]).await;
    let before = std::time::Instant::now();
    server.client().get_action(ID).await.unwrap();
    assert!(before.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_probe_is_sent_once() {
    let server = Server::start([unavailable()]).await;
    let error = server.client().get_readyz().await.unwrap_err();
    assert_eq!(error.code(), Some("unavailable"));
}

#[tokio::test]
async fn a_refusal_says_all_that_the_server_said() {
    let refused = Reply::problem("404 Not Found", "action_not_found", "");
    let server = Server::start([refused]).await;
    let error = server.client().get_action(ID).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "It is so. (action_not_found, 404, request r-1)"
    );
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unreachable() {
    let server = Server::start([]).await;
    // Its listener is dropped by its own task, some time soon.
    let error = loop {
        match server.client().get_me().await {
            Err(
                error @ Error::Connection {
                    is_unsent: true, ..
                },
            ) => break error,
            other => assert!(other.is_err()),
        }
    };
    assert!(error.is_unreachable());
    // A query may hold an address or a cursor: the URL is no part of what is said, nor of its causes.
    let said = format!("{error}: {}", error.source().unwrap());
    assert!(!said.contains("http://"), "{said}");
}

#[tokio::test]
async fn what_an_earlier_try_may_have_sent_is_not_unsent() {
    // It answers nothing, and then is gone.
    let server = Server::start([Reply::nothing()]).await;
    let error = server.client().create_action(&echo()).await.unwrap_err();
    let Error::Connection { is_unsent, .. } = error else {
        panic!("{error:?}");
    };
    assert!(!is_unsent);
    // Nobody is there from the first.
    let error = server.client().create_action(&echo()).await.unwrap_err();
    let Error::Connection { is_unsent, .. } = error else {
        panic!("{error:?}");
    };
    assert!(is_unsent);
}

#[tokio::test]
async fn silence_is_a_timeout() {
    let server = Server::start([Reply::raw("HTTP/1.1 200 OK\r\n").left_open()]).await;
    let limit = Duration::from_millis(100);
    let client = server.client_with(|builder| builder.request_timeout(limit));
    let key = CreateApiKey {
        name: "a".to_owned(),
        scopes: Vec::new(),
        expires_at: None,
    };
    let error = client.create_api_key(&key).await.unwrap_err();
    assert!(
        matches!(error, Error::Timeout { limit: found, .. } if found == limit),
        "{error}"
    );
}

#[tokio::test]
async fn what_no_deed_server_says_is_told() {
    for (reply, said) in [
        (
            Reply::json("200 OK", "{}"),
            "the body is not what it should be",
        ),
        (
            Reply::json("200 OK", "<html>"),
            "the body is not what it should be",
        ),
        (
            Reply::answer("302 Found", "Location: http://evil.example/\r\n", ""),
            "302",
        ),
    ] {
        let server = Server::start([reply]).await;
        let error = server.client().get_action(ID).await.unwrap_err();
        assert!(matches!(error, Error::Protocol { .. }), "{error:?}");
        assert!(error.to_string().contains(said), "{error}");
    }
}

#[tokio::test]
async fn a_list_goes_on_page_by_page_with_its_filters() {
    let page = |ids: &[u128], next: &str| {
        let items: Vec<String> = ids.iter().map(|id| summary(*id)).collect();
        let body = format!(r#"{{"items":[{}],"next_cursor":{next}}}"#, items.join(","));
        Reply::json("200 OK", &body)
    };
    let server = Server::start([
        page(&[1, 2], r#""a+b""#),
        page(&[], r#""c""#),
        page(&[3], "null"),
    ])
    .await;
    let query = ActionQuery {
        r#type: Some("echo".to_owned()),
        limit: Some(2),
        ..ActionQuery::default()
    };
    let list = server.client().list_actions(&query).unwrap();
    let all: Vec<_> = list.all().try_collect().await.unwrap();
    let ids: Vec<u128> = all.iter().map(|action| action.id.as_u128()).collect();
    assert_eq!(ids, [1, 2, 3]);
    let targets: Vec<String> = server
        .requests()
        .iter()
        .map(|request| request.split(' ').nth(1).unwrap().to_owned())
        .collect();
    assert_eq!(
        targets,
        [
            "/actions?type=echo&limit=2",
            "/actions?type=echo&limit=2&cursor=a%2Bb",
            "/actions?type=echo&limit=2&cursor=c"
        ]
    );
}

#[tokio::test]
async fn a_list_that_does_not_go_on_is_an_error() {
    let page = || Reply::json("200 OK", r#"{"items":[],"next_cursor":"a"}"#);
    let server = Server::start([page(), page()]).await;
    let list = server
        .client()
        .list_actions(&ActionQuery::default())
        .unwrap();
    let all: Result<Vec<_>, _> = list.all().try_collect().await;
    assert!(matches!(all, Err(Error::Protocol { .. })), "{all:?}");
}

/// One end, and what is leased next.
fn ends(then_lease: Option<LeaseActions>) -> FinishLeases {
    let output = serde_json::value::to_raw_value(&1).unwrap();
    let complete = Some(deed_client::api::lease::CompleteLease { output });
    let item = FinishItem {
        lease_id: "a".to_owned(),
        complete,
        fail: None,
    };
    FinishLeases {
        items: vec![item],
        then_lease,
    }
}

fn next(request_id: Option<&str>) -> Option<LeaseActions> {
    Some(LeaseActions {
        types: vec!["report".to_owned()],
        max: None,
        lease_seconds: None,
        worker: "w".to_owned(),
        wait_seconds: Some(1),
        request_id: request_id.map(str::to_owned),
    })
}

#[tokio::test]
async fn ends_are_repeated_unless_that_could_lease_twice() {
    let body = r#"{"results":[{"lease_id":"a","ok":true}],"leases":[],"draining":true}"#;
    for then_lease in [None, next(Some("r-1"))] {
        let server = Server::start([Reply::nothing(), Reply::json("200 OK", body)]).await;
        let answer = server.client().finish_leases(&ends(then_lease)).await;
        let answer = answer.unwrap();
        assert!(answer.results[0].ok && answer.draining);
        let requests = server.requests();
        assert!(requests[1].starts_with("POST /leases/finish HTTP/1.1"));
    }
    let server = Server::start([Reply::nothing(), Reply::json("200 OK", body)]).await;
    let lost = server.client().finish_leases(&ends(next(None))).await;
    assert!(matches!(lost, Err(Error::Connection { .. })), "{lost:?}");
    assert_eq!(server.requests().len(), 1);
}

const USER: &str = r#"{"id":"00000000-0000-0000-0000-000000000007","email":"a@b.co","name":"A","status":"active","external_id":null,"created_at":"2026-01-31T10:00:00Z","updated_at":"2026-01-31T10:00:00Z"}"#;

#[tokio::test]
async fn a_change_is_made_of_the_version_that_was_read() {
    let tagged = |tag: &str| {
        let headers = format!("Content-Type: application/json\r\nETag: {tag}\r\n");
        Reply::answer("200 OK", &headers, USER)
    };
    let server = Server::start([
        tagged("\"1-a\""),
        tagged("\"1-b\""),
        Reply::problem("412 Precondition Failed", "precondition_failed", ""),
    ])
    .await;
    let client = server.client();
    let read = client.get_user_tagged(ID).await.unwrap();
    assert_eq!(read.etag, "\"1-a\"");
    let patch = PatchUser::default();
    let changed = client.update_user_if(ID, &read.etag, &patch).await.unwrap();
    assert_eq!(changed.etag, "\"1-b\"");
    let stale = client.update_user_if(ID, &read.etag, &patch).await;
    let error = stale.unwrap_err();
    assert_eq!(error.refusal().unwrap().status, 412);
    assert_eq!(server.header("if-match"), ["", "\"1-a\"", "\"1-a\""]);
}

#[tokio::test]
async fn an_answer_without_its_tag_is_none() {
    let server = Server::start([Reply::json("200 OK", USER)]).await;
    let error = server.client().get_user_tagged(ID).await.unwrap_err();
    assert!(matches!(error, Error::Protocol { .. }), "{error:?}");
}

#[tokio::test]
async fn the_end_of_an_action_is_waited_for() {
    let server = Server::start([Reply::json("200 OK", ACTION)]).await;
    let limit = Duration::from_secs(30);
    server.client().await_action(ID, limit).await.unwrap();
    assert_eq!(server.header("prefer"), ["wait=30"]);
}
