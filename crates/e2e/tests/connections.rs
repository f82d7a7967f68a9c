//! What only the bare connection shows.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::time::{Duration, Instant};

use deed_e2e::client::Client;
use deed_e2e::database::Database;
use deed_e2e::server::Server;
use deed_e2e::stream::{check_whole_log, words};
use deed_e2e::wait::{SOON, until, within};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

const DEED: &str = env!("CARGO_BIN_EXE_deed-under-test");
const ACTIONS: [&str; 2] = ["actions:read", "actions:write"];

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

/// Opens a stream of some 15 MB and reads nothing of it but its head.
async fn stalled(server: &Server, client: &Client) -> (TcpStream, String) {
    let key = client.key().unwrap();
    let body =
        json!({"type": "echo", "input": {"text": "x".repeat(50_000), "repeat": 300}}).to_string();
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut connection = socket
        .connect(server.address().parse().unwrap())
        .await
        .unwrap();
    let head = format!(
        "POST /stream HTTP/1.1\r\nHost: e2e\r\nX-API-Key: {key}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    connection.write_all(head.as_bytes()).await.unwrap();
    connection.write_all(body.as_bytes()).await.unwrap();
    let mut answer = String::new();
    while !answer.contains("\r\n\r\n") {
        let mut byte = [0];
        connection.read_exact(&mut byte).await.unwrap();
        answer.push(char::from(byte[0]));
    }
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let location = answer
        .lines()
        .find_map(|line| line.strip_prefix("location: "))
        .unwrap();
    (connection, location.to_owned())
}

#[tokio::test]
async fn a_reader_that_stalls_holds_nobody_up() {
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    let client = server.user(&ACTIONS).await;
    let (mut connection, path) = stalled(&server, &client).await;
    // The performance goes on to its end, and another reader gets all of it.
    let events = client.get(&path).stream().await.rest().await;
    check_whole_log(&events);
    assert_eq!(words(&events).len(), 300);
    assert_eq!(events.last().unwrap().json()["status"], "succeeded");
    // Whoever reads on after a while gets on, too.
    let mut buffer = vec![0; 64 * 1024];
    let mut read = 0;
    while read < 1_000_000 {
        let count = within(SOON, "more of the stream", connection.read(&mut buffer))
            .await
            .unwrap();
        assert!(count > 0, "cut after {read} bytes");
        read += count;
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_reader_that_stalls_for_long_is_cut() {
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    let client = server.user(&ACTIONS).await;
    let (connection, _) = stalled(&server, &client).await;
    // The kernel's table of connections shows the server's end of it, established or not at all.
    let port = |address: std::net::SocketAddr| format!(":{:04X}", address.port());
    let ours = port(connection.local_addr().unwrap());
    let theirs = port(connection.peer_addr().unwrap());
    let is_open = || {
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        table.lines().any(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            fields[1].ends_with(&theirs) && fields[2].ends_with(&ours)
        })
    };
    assert!(is_open());
    let start = Instant::now();
    until(Duration::from_secs(60), async || {
        if is_open() {
            Err(start.elapsed())
        } else {
            Ok(())
        }
    })
    .await;
    // Promised are 30 s; a resumed stream is not to be cut at once either.
    assert!(
        start.elapsed() > Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );
    assert!(
        start.elapsed() < Duration::from_secs(45),
        "{:?}",
        start.elapsed()
    );
}
