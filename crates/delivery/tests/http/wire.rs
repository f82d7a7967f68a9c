//! What only a real connection shows.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use actix_web::dev::ServerHandle;
use deed_delivery::{Api, listen};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::*;

const SOON: Duration = Duration::from_secs(10);

/// Serves on a port of its own.
fn serve(api: Api) -> (SocketAddr, ServerHandle) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let server = listen(api, listener, 1).unwrap();
    let handle = server.handle();
    actix_web::rt::spawn(server);
    (address, handle)
}

async fn send(address: SocketAddr, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// Everything up to `end`, or up to the connection's end where that is empty.
async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        let length = timeout(SOON, stream.read(&mut buffer))
            .await
            .unwrap()
            .unwrap();
        text.extend_from_slice(&buffer[..length]);
        let found = String::from_utf8_lossy(&text).into_owned();
        if length == 0 || (!end.is_empty() && found.contains(end)) {
            return found;
        }
    }
}

#[actix_web::test]
async fn head_sends_no_body_and_the_connection_goes_on() {
    let (address, server) = serve(fakes().into_api());
    let head = "HEAD /livez HTTP/1.1\r\nHost: x\r\n\r\n";
    let get = "GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let text = read_until(&mut send(address, &format!("{head}{get}")).await, "").await;
    let (first, second) = text.split_once("\r\n\r\n").unwrap();
    assert!(
        first.starts_with("HTTP/1.1 200") && first.contains("content-length: 15"),
        "{text}"
    );
    assert!(
        second.starts_with("HTTP/1.1 200") && second.ends_with(r#"{"status":"ok"}"#),
        "{text}"
    );
    server.stop(false).await;
}

#[actix_web::test]
async fn a_body_too_large_is_refused_before_it_is_sent() {
    let (address, server) = serve(with_root().into_api());
    let request = "POST /actions HTTP/1.1\r\nHost: x\r\nX-API-Key: k\r\nContent-Type: application/json\r\nContent-Length: 99999999\r\n\r\n";
    let text = read_until(&mut send(address, request).await, "\"body_too_large\"").await;
    assert!(text.starts_with("HTTP/1.1 413"), "{text}");
    server.stop(false).await;
}

/// A chunked body that begins and never ends.
const ENDLESS: &str = "Transfer-Encoding: chunked\r\n\r\n5\r\nab";

/// The answer to a request whose body never ends; the connection must end all the same.
async fn answer_to_the_end(api: Api, head: &str) -> String {
    let (address, server) = serve(api);
    let request = format!("{head}\r\nHost: x\r\nContent-Type: application/json\r\n{ENDLESS}");
    let text = read_until(&mut send(address, &request).await, "").await;
    assert!(text.contains("\r\nconnection: close\r\n"), "{text}");
    server.stop(false).await;
    text
}

#[actix_web::test]
async fn a_stranger_can_not_hold_a_connection_with_a_body() {
    let mut fakes = fakes();
    fakes
        .authenticator
        .expect_authenticate()
        .returning(|_| Ok(None));
    let text = answer_to_the_end(fakes.into_api(), "POST /users HTTP/1.1\r\nX-API-Key: k").await;
    assert!(text.starts_with("HTTP/1.1 401"), "{text}");
}

#[actix_web::test]
async fn nor_where_no_body_is_asked_for() {
    let text = answer_to_the_end(fakes().into_api(), "GET /livez HTTP/1.1").await;
    assert!(
        text.starts_with("HTTP/1.1 200") && text.ends_with(r#"{"status":"ok"}"#),
        "{text}"
    );
    let text = answer_to_the_end(fakes().into_api(), "OPTIONS /users HTTP/1.1").await;
    assert!(text.starts_with("HTTP/1.1 204"), "{text}");
    let text = answer_to_the_end(fakes().into_api(), "GET /nothing HTTP/1.1").await;
    assert!(text.starts_with("HTTP/1.1 404"), "{text}");
}

/// Who sends on before it reads still gets its answer: what comes is read for a while after it.
#[actix_web::test]
async fn an_answer_is_not_lost_on_who_still_sends() {
    let (address, server) = serve(with_root().into_api());
    let length = 5 * 1024 * 1024;
    let head = format!(
        "POST /users HTTP/1.1\r\nHost: x\r\nX-API-Key: k\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    );
    let mut stream = send(address, &head).await;
    let block = vec![b' '; 64 * 1024];
    for _ in 0..length / block.len() {
        timeout(SOON, stream.write_all(&block))
            .await
            .unwrap()
            .unwrap();
    }
    let text = read_until(&mut stream, "").await;
    assert!(text.starts_with("HTTP/1.1 413"), "{text}");
    server.stop(false).await;
}

/// Who goes on sending after the refusal is read for a moment, so that the refusal arrives, but not for ever.
#[actix_web::test]
async fn a_body_too_large_ends_its_connection() {
    let (address, server) = serve(with_root().into_api());
    let head = "POST /users HTTP/1.1\r\nHost: x\r\nX-API-Key: k\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    let (mut reader, mut writer) = send(address, head).await.into_split();
    let endless = actix_web::rt::spawn(async move {
        let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
        while writer.write_all(chunk.as_bytes()).await.is_ok() {}
    });
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    // The end may be a reset: there are bytes that nobody has read.
    while let Ok(length @ 1..) = timeout(SOON, reader.read(&mut buffer)).await.unwrap() {
        text.extend_from_slice(&buffer[..length]);
    }
    let text = String::from_utf8_lossy(&text);
    assert!(
        text.starts_with("HTTP/1.1 413") && text.contains("\r\nconnection: close\r\n"),
        "{text}"
    );
    timeout(SOON, endless).await.unwrap().unwrap();
    server.stop(false).await;
}

/// A body that was sent whole leaves its connection open.
#[actix_web::test]
async fn a_body_that_ends_does_not_end_its_connection() {
    let (address, server) = serve(with_root().into_api());
    let head =
        "POST /users HTTP/1.1\r\nHost: x\r\nX-API-Key: k\r\nContent-Type: application/json\r\n";
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n");
    let mut stream = send(address, &chunked).await;
    let text = read_until(&mut stream, "\"validation_failed\"").await;
    assert!(!text.contains("connection: close"), "{text}");
    let get = "GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(get.as_bytes()).await.unwrap();
    let text = read_until(&mut stream, "").await;
    assert!(text.ends_with(r#"{"status":"ok"}"#), "{text}");
    server.stop(false).await;
}

#[actix_web::test]
async fn a_panic_in_a_handler_is_answered() {
    let mut fakes = with_scopes(&["actions:read"]);
    serve_log(&mut fakes, log());
    fakes
        .wakeups
        .expect_watch_log()
        .returning(|_| futures_util::StreamExt::boxed(futures_util::stream::pending()));
    fakes
        .wakeups
        .expect_watch_identities()
        .returning(|| futures_util::StreamExt::boxed(futures_util::stream::pending()));
    fakes
        .ids
        .expect_random_bytes()
        .returning(|| panic!("on purpose"));
    let (address, server) = serve(fakes.into_api());
    let request = format!(
        "GET /actions/{}/events HTTP/1.1\r\nHost: x\r\nX-API-Key: k\r\nX-Request-Id: r-1\r\n\r\n",
        action_id(1)
    );
    let text = read_until(&mut send(address, &request).await, "}").await;
    assert!(text.starts_with("HTTP/1.1 500"), "{text}");
    assert!(
        text.contains("application/problem+json") && text.contains("\"request_id\":\"r-1\""),
        "{text}"
    );
    server.stop(false).await;
}

#[actix_web::test]
async fn events_arrive_at_once_and_the_end_is_clean() {
    let mut fakes = with_scopes(&["actions:read"]);
    serve_log(&mut fakes, log().into_iter().take(2).collect());
    sleep_soundly(&mut fakes);
    let draining = fakes.draining.clone();
    let (address, server) = serve(fakes.into_api());
    let request = format!(
        "GET /actions/{}/events HTTP/1.1\r\nHost: x\r\nX-API-Key: k\r\nConnection: close\r\n\r\n",
        action_id(1)
    );
    let mut stream = send(address, &request).await;
    let text = read_until(&mut stream, "event: started").await;
    assert!(text.contains("content-type: text/event-stream"), "{text}");
    draining.send_replace(true);
    let rest = read_until(&mut stream, "").await;
    assert!(rest.ends_with("retry: 2000\n\n\r\n0\r\n\r\n"), "{rest:?}");
    server.stop(true).await;
}

/// HTTP/1.0 knows no chunks: a stream goes as it is, and ends with its connection.
#[actix_web::test]
async fn a_stream_over_http_1_0_has_no_chunks() {
    for keep_alive in ["", "Connection: keep-alive\r\n"] {
        let mut fakes = with_scopes(&["actions:read"]);
        serve_log(&mut fakes, log());
        sleep_soundly(&mut fakes);
        let (address, server) = serve(fakes.into_api());
        let request = format!(
            "GET /actions/{}/events HTTP/1.0\r\nX-API-Key: k\r\n{keep_alive}\r\n",
            action_id(1)
        );
        let text = read_until(&mut send(address, &request).await, "").await;
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let head = head.to_ascii_lowercase();
        assert!(head.starts_with("http/1.0 200"), "{text}");
        assert!(
            !head.contains("transfer-encoding") && !head.contains("keep-alive"),
            "{text}"
        );
        assert!(
            body.starts_with("retry: 2000\n\nid: 1\n") && body.ends_with("}\n\n"),
            "{text}"
        );
        server.stop(false).await;
    }
}

/// What the parser itself refuses has no body: actix answers before anything of ours.
#[actix_web::test]
async fn what_is_not_http_is_refused() {
    let (address, server) = serve(fakes().into_api());
    let text = read_until(&mut send(address, "nonsense\r\n\r\n").await, "").await;
    assert!(text.starts_with("HTTP/1.1 400"), "{text}");
    server.stop(false).await;
}
