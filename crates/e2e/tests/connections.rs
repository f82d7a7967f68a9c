//! What only the bare connection shows.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::time::{Duration, Instant};

use deed_e2e::database::Database;
use deed_e2e::server::Server;
use deed_e2e::wait::{SOON, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const DEED: &str = env!("CARGO_BIN_EXE_deed-under-test");

/// Sends `bytes`, and answers all that comes until the server closes the connection.
async fn exchange(address: &str, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    within(
        SOON,
        "the end of the connection",
        stream.read_to_end(&mut answer),
    )
    .await
    .unwrap();
    answer
}

#[tokio::test]
async fn http_2_is_not_spoken() {
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    // The client's preface of RFC 9113, 3.4, with an empty SETTINGS frame; a server of HTTP/2 would answer one.
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let answer = exchange(server.address(), preface).await;
    assert!(
        answer.is_empty() || answer.starts_with(b"HTTP/1.1 400"),
        "{answer:?}"
    );

    let upgrade = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n";
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    stream.write_all(upgrade).await.unwrap();
    let mut start = [0; 12];
    within(SOON, "an answer", stream.read_exact(&mut start))
        .await
        .unwrap();
    assert_eq!(&start, b"HTTP/1.1 200");
}

#[tokio::test]
async fn a_head_that_does_not_come_is_not_waited_for() {
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    let start = Instant::now();
    let answer = exchange(server.address(), b"GET /livez HTTP/1.1\r\nHost: x\r\n").await;
    let taken = start.elapsed();
    assert!(
        answer.is_empty() || answer.starts_with(b"HTTP/1.1 408"),
        "{answer:?}"
    );
    assert!(taken < Duration::from_secs(13), "{taken:?}");
}
