//! Spans by OpenTelemetry, in a build that has them.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may panic"
)]

use std::time::{Duration, Instant};

use deed_e2e::database::Database;
use deed_e2e::server::{DRAIN, Server};
use deed_e2e::wait::SOON;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

const DEED: &str = env!("CARGO_BIN_EXE_deed-under-test");
const ACTIONS: [&str; 2] = ["actions:read", "actions:write"];
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

/// A span, as far as it is looked at.
#[derive(Debug, Clone, Default)]
struct Span {
    trace: String,
    id: String,
    parent: String,
    name: String,
    kind: u64,
    attributes: Vec<(String, String)>,
    is_error: bool,
}

/// What a collector was sent at once.
#[derive(Debug)]
struct Batch {
    head: String,
    service: Vec<(String, String)>,
    spans: Vec<Span>,
}

/// The fields of a protobuf message, by number: its bytes, or its number.
fn fields(mut message: &[u8]) -> Vec<(u64, &[u8], u64)> {
    fn number(message: &mut &[u8]) -> u64 {
        let (mut value, mut shift) = (0, 0);
        loop {
            let (byte, rest) = message.split_first().unwrap();
            *message = rest;
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                return value;
            }
        }
    }
    let mut found = Vec::new();
    while !message.is_empty() {
        let key = number(&mut message);
        let length = match key & 7 {
            0 => {
                let value = number(&mut message);
                found.push((key >> 3, &message[..0], value));
                continue;
            }
            1 => 8,
            2 => usize::try_from(number(&mut message)).unwrap(),
            5 => 4,
            other => panic!("wire type {other}"),
        };
        let (bytes, rest) = message.split_at(length);
        message = rest;
        found.push((key >> 3, bytes, 0));
    }
    found
}

fn within(message: &[u8], field: u64) -> impl Iterator<Item = &[u8]> {
    let fields = fields(message).into_iter();
    fields.filter_map(move |(number, bytes, _)| (number == field).then_some(bytes))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn attribute(message: &[u8]) -> (String, String) {
    let key = text(within(message, 1).next().unwrap());
    let value = within(message, 2).next().unwrap();
    let value = match fields(value)[0] {
        (1, bytes, _) => text(bytes),
        (_, _, number) => number.to_string(),
    };
    (key, value)
}

fn span(message: &[u8]) -> Span {
    let mut span = Span::default();
    for (number, bytes, value) in fields(message) {
        match number {
            1 => span.trace = hexadecimal(bytes),
            2 => span.id = hexadecimal(bytes),
            4 => span.parent = hexadecimal(bytes),
            5 => span.name = text(bytes),
            6 => span.kind = value,
            9 => span.attributes.push(attribute(bytes)),
            15 => span.is_error = fields(bytes).contains(&(3, &[], 2)),
            _ => {}
        }
    }
    span
}

/// Takes one request, and answers that all is well.
async fn take(mut connection: TcpStream) -> Batch {
    let mut sent = Vec::new();
    let end = loop {
        if let Some(end) = sent.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        assert!(connection.read_buf(&mut sent).await.unwrap() > 0);
    };
    let head = text(&sent[..end]).to_lowercase();
    let length = head.split("content-length: ").nth(1).unwrap();
    let length: usize = length.split("\r\n").next().unwrap().parse().unwrap();
    while sent.len() < end + length {
        assert!(connection.read_buf(&mut sent).await.unwrap() > 0);
    }
    connection
        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut batch = Batch {
        head,
        service: Vec::new(),
        spans: Vec::new(),
    };
    for resource in within(&sent[end..], 1) {
        let of_service = within(resource, 1).flat_map(|resource| within(resource, 1));
        batch.service.extend(of_service.map(attribute));
        let spans = within(resource, 2).flat_map(|scope| within(scope, 2));
        batch.spans.extend(spans.map(span));
    }
    batch
}

/// A collector on loopback: its endpoint, and what it is sent.
async fn collector() -> (String, mpsc::UnboundedReceiver<Batch>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (sender, batches) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (connection, _) = listener.accept().await.unwrap();
            if sender.send(take(connection).await).is_err() {
                return;
            }
        }
    });
    (endpoint, batches)
}

fn value<'s>(span: &'s Span, key: &str) -> &'s str {
    let found = span.attributes.iter().find(|(name, _)| name == key);
    found.map_or("", |(_, value)| value.as_str())
}

#[tokio::test]
async fn a_request_and_its_action_are_spans_of_one_trace_and_a_drain_sends_them() {
    let (endpoint, mut batches) = collector().await;
    let database = Database::fresh().await;
    let mut server = Server::setup(&database)
        .environment("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)
        .environment("OTEL_EXPORTER_OTLP_HEADERS", "x-token=t")
        .environment("OTEL_SERVICE_NAME", "deed-of-the-test")
        // Only the drain sends.
        .environment("OTEL_BSP_SCHEDULE_DELAY", "600000")
        .start(DEED)
        .await;
    let client = server.user(&ACTIONS).await;
    let failing = json!({"type": "echo", "input": {"text": "x", "fail_at": 1}});
    let action = client
        .post("/actions", &failing)
        .header("traceparent", &format!("00-{TRACE}-{SPAN}-01"))
        .send()
        .await
        .json(201);
    let unsampled = "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-00";
    let other = client
        .post("/actions", &failing)
        .header("traceparent", unsampled);
    other.send().await.json(201);
    assert!(batches.try_recv().is_err());

    server.terminate();
    assert!(server.process.ended(DRAIN).await.success());
    let batch = tokio::time::timeout(SOON, batches.recv())
        .await
        .unwrap()
        .unwrap();
    assert!(
        batch.head.starts_with("post /v1/traces http/1.1\r\n"),
        "{}",
        batch.head
    );
    assert!(batch.head.contains("\r\nx-token: t\r\n"), "{}", batch.head);
    assert!(
        batch
            .service
            .contains(&("service.name".to_owned(), "deed-of-the-test".to_owned())),
        "{:?}",
        batch.service
    );
    let of_trace: Vec<&Span> = batch
        .spans
        .iter()
        .filter(|span| span.trace == TRACE)
        .collect();
    let [request, attempt] = ["POST /actions", "perform echo"]
        .map(|name| *of_trace.iter().find(|span| span.name == name).unwrap());
    assert_eq!(of_trace.len(), 2, "{of_trace:?}");
    assert_eq!(
        (request.parent.as_str(), request.kind, request.is_error),
        (SPAN, 2, false)
    );
    assert_eq!(value(request, "http.route"), "/actions");
    assert_eq!(value(request, "http.response.status_code"), "201");
    assert_eq!(
        (&attempt.parent, attempt.kind, attempt.is_error),
        (&request.id, 5, true)
    );
    assert_eq!(
        value(attempt, "deed.action.id"),
        action["id"].as_str().unwrap()
    );
    assert_eq!(value(attempt, "deed.outcome"), "failed");
    assert!(
        batch
            .spans
            .iter()
            .all(|span| !span.trace.starts_with("0af7")),
        "what its parent does not record is not recorded"
    );
    let began_here = batch
        .spans
        .iter()
        .find(|span| span.name == "POST /users")
        .unwrap();
    assert_eq!(began_here.parent, "");
}

#[tokio::test]
async fn a_collector_that_is_away_costs_nothing_but_spans() {
    // Somebody listens and never answers; and nobody listens.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (silent_at, gone_at) = (silent.local_addr().unwrap(), gone.local_addr().unwrap());
    drop(gone);
    for endpoint in [silent_at, gone_at] {
        let database = Database::fresh().await;
        let mut server = Server::setup(&database)
            .environment("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://{endpoint}"))
            .environment("OTEL_BSP_SCHEDULE_DELAY", "10")
            .environment("OTEL_BSP_MAX_QUEUE_SIZE", "4")
            .start(DEED)
            .await;
        let client = server.user(&ACTIONS).await;
        let began = Instant::now();
        for _ in 0..50 {
            client.get("/actions").send().await.json(200);
        }
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "{:?}",
            began.elapsed()
        );
        server.terminate();
        let began = Instant::now();
        assert!(server.process.ended(DRAIN).await.success());
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "{:?}",
            began.elapsed()
        );
        let output = server.process.output();
        assert!(
            output.matches("spans can't be delivered").count() <= 1,
            "{output}"
        );
    }
}
