//! Streams: what is survived, and what is not passed over.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use deed_client::api::action::CreateAction;
use deed_client::{Client, Error, Event, EventKind, Follow, Outcome};
use uuid::Uuid;

use crate::server::{Reply, Server};

const ID: Uuid = Uuid::from_u128(7);
/// So that nobody waits for long.
const QUICK: &str = "retry: 1\n\n";

fn events(range: std::ops::RangeInclusive<u32>) -> String {
    range
        .map(|seq| format!("id: {seq}\nevent: message\ndata: {{\"n\":{seq}}}\n\n"))
        .collect()
}

fn done(seq: u32) -> String {
    format!("id: {seq}\nevent: done\ndata: {{\"status\":\"succeeded\",\"output\":{seq}}}\n\n")
}

/// Everything up to the end, which has to come soon.
async fn all(mut follow: Follow) -> Result<Vec<Event>, Error> {
    let read = async {
        let mut found = Vec::new();
        while let Some(event) = follow.next().await {
            found.push(event?);
        }
        assert!(follow.next().await.is_none(), "it is over");
        Ok(found)
    };
    tokio::time::timeout(Duration::from_secs(8), read)
        .await
        .unwrap()
}

fn positions(events: &[Event]) -> Vec<u32> {
    events.iter().map(|event| event.seq).collect()
}

#[tokio::test]
async fn a_log_is_read_up_to_its_end() {
    let stream = format!("{QUICK}: heartbeat\n\n{}{}", events(1..=2), done(3));
    let server = Server::start([Reply::stream(&stream).left_open()]).await;
    let found = all(server.client().follow(ID)).await.unwrap();
    assert_eq!(positions(&found), [1, 2, 3]);
    let outcome = found[2].kind().unwrap();
    assert!(
        matches!(&outcome, EventKind::Done(Outcome::Succeeded(output)) if output.get() == "3"),
        "{outcome:?}"
    );
    assert_eq!(server.header("last-event-id"), [""]);
    assert_eq!(server.header("accept"), ["text/event-stream"]);
}

#[tokio::test]
async fn a_lost_stream_goes_on_after_the_last_event() {
    let half = "id: 4\nevent: message\nda";
    let server = Server::start([
        Reply::stream(&format!("{QUICK}{}", events(1..=2))),
        Reply::cut_stream(&format!("{QUICK}{}{half}", events(3..=3))),
        Reply::nothing(),
        Reply::problem("503 Service Unavailable", "draining", "Retry-After: 0\r\n"),
        Reply::problem(
            "429 Too Many Requests",
            "too_many_streams",
            "Retry-After: 0\r\n",
        ),
        Reply::stream(QUICK),
        Reply::stream(&format!("{}{}", events(4..=4), done(5))),
    ])
    .await;
    let lost = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&lost);
    let follow = server.client().follow(ID).on_reconnect(move |lost| {
        heard
            .lock()
            .unwrap()
            .push((lost.cause.is_some(), lost.last));
    });
    assert_eq!(positions(&all(follow).await.unwrap()), [1, 2, 3, 4, 5]);
    assert_eq!(
        server.header("last-event-id"),
        ["", "2", "3", "3", "3", "3", "3"]
    );
    let lost = lost.lock().unwrap().clone();
    assert_eq!(
        lost,
        [
            (false, 2),
            (true, 3),
            (true, 3),
            (true, 3),
            (true, 3),
            (false, 3)
        ]
    );
}

#[tokio::test]
async fn a_gap_a_duplicate_and_a_step_back_are_errors() {
    for (stream, wrong) in [
        (format!("{}{}", events(1..=2), events(4..=4)), (3, 4)),
        (format!("{}{}", events(1..=2), events(2..=2)), (3, 2)),
        (format!("{}{}", events(1..=2), events(1..=1)), (3, 1)),
        (events(2..=2), (1, 2)),
    ] {
        let server = Server::start([Reply::stream(&stream)]).await;
        let error = all(server.client().follow(ID)).await.unwrap_err();
        let Error::Sequence { expected, found } = error else {
            panic!("{error:?}");
        };
        assert_eq!((expected, found), wrong);
        assert_eq!(server.requests().len(), 1, "it is not tried again");
    }
}

#[tokio::test]
async fn a_gap_after_a_resumption_is_an_error_too() {
    let server = Server::start([
        Reply::stream(&format!("{QUICK}{}", events(1..=2))),
        Reply::stream(&events(4..=5)),
    ])
    .await;
    let error = all(server.client().follow(ID)).await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::Sequence {
                expected: 3,
                found: 4
            }
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn an_event_without_an_id_is_none_of_the_log() {
    let stream = format!("{}event: notice\ndata: {{}}\n\n{}", events(1..=1), done(2));
    let server = Server::start([Reply::stream(&stream)]).await;
    let found = all(server.client().follow(ID)).await.unwrap();
    assert_eq!(positions(&found), [1, 2]);
}

#[tokio::test]
async fn what_is_no_log_is_told() {
    let large = format!("data: {}", "x".repeat(4 * 1024 * 1024));
    for (stream, said) in [
        ("id: x\ndata: {}\n\n", "not a position"),
        ("id: 1\ndata: {\n\n", "not JSON"),
        (large.as_str(), "larger than"),
    ] {
        let server = Server::start([Reply::stream(stream)]).await;
        let error = all(server.client().follow(ID)).await.unwrap_err();
        assert!(matches!(error, Error::Protocol { .. }), "{error:?}");
        assert!(error.to_string().contains(said), "{error}");
    }
}

#[tokio::test]
async fn an_answer_that_is_no_stream_is_told() {
    let server = Server::start([Reply::answer(
        "200 OK",
        "Content-Type: text/html\r\n",
        "<p>",
    )])
    .await;
    let error = all(server.client().follow(ID)).await.unwrap_err();
    assert!(error.to_string().contains("text/html"), "{error}");
}

#[tokio::test]
async fn a_log_that_was_read_already_has_nothing_more() {
    let server = Server::start([Reply::answer("204 No Content", "", "")]).await;
    let found = all(server.client().follow(ID).after(5)).await.unwrap();
    assert!(found.is_empty());
    assert_eq!(server.header("last-event-id"), ["5"]);
}

#[tokio::test]
async fn a_refusal_to_resume_ends_it() {
    let server = Server::start([
        Reply::stream(&format!("{QUICK}{}", events(1..=1))),
        Reply::problem("401 Unauthorized", "invalid_api_key", ""),
    ])
    .await;
    let error = all(server.client().follow(ID)).await.unwrap_err();
    assert_eq!(error.code(), Some("invalid_api_key"));
}

#[tokio::test]
async fn a_silent_stream_is_replaced() {
    let first = format!("{QUICK}{}", events(1..=1));
    let silent = Reply::stream(&first)
        .short_of("0\r\n\r\n".len())
        .left_open();
    let server = Server::start([silent, Reply::stream(&done(2))]).await;
    let idle = Duration::from_millis(100);
    let client = server.client_with(|builder| builder.stream_idle_timeout(idle));
    assert_eq!(positions(&all(client.follow(ID)).await.unwrap()), [1, 2]);
}

#[tokio::test]
async fn a_server_that_stays_away_is_given_up() {
    let server = Server::start([Reply::stream(&format!("{QUICK}{}", events(1..=2)))]).await;
    let patience = Duration::from_millis(300);
    let follow = server.client().follow(ID).give_up_after(patience);
    let before = std::time::Instant::now();
    let error = all(follow).await.unwrap_err();
    assert!(
        matches!(
            &error,
            Error::GaveUp {
                last: 2,
                source: Some(_),
                ..
            }
        ),
        "{error:?}"
    );
    assert!(error.is_unreachable());
    assert!((patience..Duration::from_secs(5)).contains(&before.elapsed()));
}

#[tokio::test]
async fn streams_without_progress_are_given_up() {
    let empty = || Reply::stream(QUICK);
    let server = Server::start(std::iter::repeat_with(empty).take(1000)).await;
    let follow = server
        .client()
        .follow(ID)
        .give_up_after(Duration::from_millis(300));
    let error = all(follow).await.unwrap_err();
    assert!(matches!(error, Error::GaveUp { last: 0, .. }), "{error:?}");
}

#[tokio::test]
async fn a_reader_that_takes_its_time_is_no_reason_to_give_up() {
    let first = Reply::stream(&format!("{QUICK}{}", events(1..=1)));
    let server = Server::start([first, Reply::stream(&done(2))]).await;
    let patience = Duration::from_millis(20);
    let mut follow = server.client().follow(ID).give_up_after(patience);
    assert_eq!(follow.next().await.unwrap().unwrap().seq, 1);
    // What the reader does with the event.
    tokio::time::sleep(patience * 2).await;
    assert_eq!(positions(&all(follow).await.unwrap()), [2]);
}

#[tokio::test]
async fn who_never_reached_the_server_hears_so_at_once() {
    let server = Server::start([Reply::problem("404 Not Found", "action_not_found", "")]).await;
    let error = all(server.client().follow(ID)).await.unwrap_err();
    assert_eq!(error.code(), Some("action_not_found"));
    let error = all(server.client().follow(ID)).await.unwrap_err();
    assert!(matches!(error, Error::Connection { .. }), "{error:?}");
}

fn echo() -> CreateAction {
    CreateAction::new("echo", &serde_json::json!({"text": "a"})).unwrap()
}

async fn perform(client: &Client) -> Result<Follow, Error> {
    client.perform_and_follow(&echo()).await
}

#[tokio::test]
async fn performing_and_following_acts_once_and_resumes_where_it_is_told() {
    let location = format!("Location: /actions/{ID}/events\r\n");
    let server = Server::start([
        Reply::nothing(),
        Reply::stream_with(&location, &format!("{QUICK}{}", events(1..=2))),
        Reply::stream(&done(3)),
    ])
    .await;
    let follow = perform(&server.client()).await.unwrap();
    assert_eq!((follow.action_id(), follow.is_replay()), (ID, false));
    assert_eq!(positions(&all(follow).await.unwrap()), [1, 2, 3]);
    let keys = server.header("idempotency-key");
    assert!(!keys[0].is_empty() && keys[0] == keys[1] && keys[2].is_empty());
    let lines: Vec<String> = server
        .requests()
        .iter()
        .map(|request| request.lines().next().unwrap().to_owned())
        .collect();
    assert_eq!(
        lines,
        [
            "POST /stream HTTP/1.1".to_owned(),
            "POST /stream HTTP/1.1".to_owned(),
            format!("GET /actions/{ID}/events HTTP/1.1")
        ]
    );
}

#[tokio::test]
async fn a_stream_that_is_nowhere_is_told() {
    let server = Server::start([Reply::stream("")]).await;
    let error = perform(&server.client()).await.unwrap_err();
    assert!(error.to_string().contains("Location"), "{error}");
}

#[tokio::test]
async fn events_as_a_stream() {
    use futures_util::TryStreamExt as _;
    let server = Server::start([Reply::stream(&format!("{}{}", events(1..=1), done(2)))]).await;
    let found: Vec<Event> = server
        .client()
        .follow(ID)
        .into_stream()
        .try_collect()
        .await
        .unwrap();
    assert_eq!(positions(&found), [1, 2]);
}
