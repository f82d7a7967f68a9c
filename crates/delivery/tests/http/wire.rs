//! What only a real connection shows.

use std::net::SocketAddr;
use std::time::Duration;

use actix_web::HttpServer;
use actix_web::dev::ServerHandle;
use deed_delivery::{Api, app};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::*;

const SOON: Duration = Duration::from_secs(10);

/// Serves on a port of its own.
fn serve(api: Api) -> (SocketAddr, ServerHandle) {
    let server = HttpServer::new(move || app(&api))
        .workers(1)
        .disable_signals()
        .bind(("127.0.0.1", 0))
        .unwrap();
    let address = server.addrs()[0];
    let server = server.run();
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

/// What the parser itself refuses has no body: actix answers before anything of ours.
#[actix_web::test]
async fn what_is_not_http_is_refused() {
    let (address, server) = serve(fakes().into_api());
    let text = read_until(&mut send(address, "nonsense\r\n\r\n").await, "").await;
    assert!(text.starts_with("HTTP/1.1 400"), "{text}");
    server.stop(false).await;
}
