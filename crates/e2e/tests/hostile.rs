//! Who means harm on a bare connection: what it costs, and that nobody else pays. The figures stand in the output.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::time::{Duration, Instant};

use deed_e2e::database::Database;
use deed_e2e::server::Server;
use deed_e2e::wait::{SOON, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const DEED: &str = env!("CARGO_BIN_EXE_deed-under-test");

/// How long a head, or a silence within a body, may last, and what a busy machine may add.
const PATIENCE: Duration = Duration::from_secs(10);
const SLACK: Duration = Duration::from_secs(5);

const MIB: usize = 1024 * 1024;

async fn connect(server: &Server) -> TcpStream {
    TcpStream::connect(server.address()).await.unwrap()
}

/// All that comes until the connection ends, however it does.
async fn to_the_end(stream: &mut TcpStream, limit: Duration) -> String {
    let mut answer = Vec::new();
    // A reset is an end as well; what came before it counts.
    let _ = within(
        limit,
        "the end of the connection",
        stream.read_to_end(&mut answer),
    )
    .await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// One answer with a body of a known length, or without one.
async fn one_answer(stream: &mut TcpStream) -> String {
    let mut answer = String::new();
    loop {
        let mut byte = [0];
        within(SOON, "an answer", stream.read_exact(&mut byte))
            .await
            .unwrap();
        answer.push(char::from(byte[0]));
        if let Some((head, body)) = answer.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |length| length.parse().unwrap());
            if body.len() == length {
                return answer;
            }
        }
    }
}

fn status(answer: &str) -> u16 {
    answer
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3))
        .and_then(|status| status.parse().ok())
        .unwrap_or(0)
}

/// What the process has at the most had in memory, in bytes.
#[cfg(target_os = "linux")]
fn peak_memory(server: &Server) -> usize {
    let path = format!("/proc/{}/status", server.process.id());
    let status = std::fs::read_to_string(path).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    let kib: usize = line.trim().trim_end_matches(" kB").parse().unwrap();
    kib * 1024
}

/// Requests that two servers in a row may take for different ones. What is smuggled in asks for `/openapi.json`.
#[tokio::test]
async fn no_request_is_smuggled() {
    const SMUGGLED: &str = "GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n";
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    let post = |fields: &str, body: &str| {
        format!("POST /livez HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\n{body}")
    };
    let smuggled_length = format!("Content-Length: {}", SMUGGLED.len());
    let vectors = [
        (
            "length and chunks",
            post(
                &format!("{smuggled_length}\r\nTransfer-Encoding: chunked"),
                &format!("0\r\n\r\n{SMUGGLED}"),
            ),
        ),
        (
            "chunks and length",
            post(
                &format!("Transfer-Encoding: chunked\r\n{smuggled_length}"),
                &format!("0\r\n\r\n{SMUGGLED}"),
            ),
        ),
        (
            "two lengths",
            post(&format!("Content-Length: 0\r\n{smuggled_length}"), SMUGGLED),
        ),
        (
            "two lengths in one line",
            post(&format!("Content-Length: 0, {}", SMUGGLED.len()), SMUGGLED),
        ),
        ("a length with a sign", post("Content-Length: +0", SMUGGLED)),
        ("a negative length", post("Content-Length: -1", SMUGGLED)),
        (
            "a length in another base",
            post("Content-Length: 0x0", SMUGGLED),
        ),
        (
            "a length beyond numbers",
            post("Content-Length: 99999999999999999999999", SMUGGLED),
        ),
        ("an empty length", post("Content-Length:", SMUGGLED)),
        (
            "chunked not last",
            post(
                "Transfer-Encoding: chunked, identity",
                &format!("0\r\n\r\n{SMUGGLED}"),
            ),
        ),
        (
            "chunked twice",
            post(
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
                &format!("0\r\n\r\n{SMUGGLED}"),
            ),
        ),
        (
            "a coding that nobody knows",
            post(
                "Transfer-Encoding: xchunked",
                &format!("0\r\n\r\n{SMUGGLED}"),
            ),
        ),
        (
            "a coding behind a tab",
            post(
                "Transfer-Encoding:\x0bchunked",
                &format!("0\r\n\r\n{SMUGGLED}"),
            ),
        ),
        (
            "a name before a space",
            post(
                "Transfer-Encoding : chunked",
                &format!("0\r\n\r\n{SMUGGLED}"),
            ),
        ),
        (
            "a line folded",
            post(
                "Transfer-Encoding:\r\n chunked",
                &format!("0\r\n\r\n{SMUGGLED}"),
            ),
        ),
        (
            "chunks over HTTP/1.0",
            format!(
                "POST /livez HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{SMUGGLED}"
            ),
        ),
        (
            "a chunk's length in another form",
            post(
                "Transfer-Encoding: chunked",
                &format!("0x0\r\n\r\n{SMUGGLED}"),
            ),
        ),
        (
            "a chunk's length beyond numbers",
            post(
                "Transfer-Encoding: chunked",
                &format!("10000000000000000\r\n\r\n{SMUGGLED}"),
            ),
        ),
        (
            "a chunk's line that ends bare",
            post("Transfer-Encoding: chunked", &format!("0\n\n{SMUGGLED}")),
        ),
        (
            "no host",
            format!("POST /livez HTTP/1.1\r\nContent-Length: 0\r\n\r\n{SMUGGLED}"),
        ),
        ("two hosts", post("Host: y\r\nContent-Length: 0", SMUGGLED)),
        (
            "a bare carriage return",
            post("X: y\rContent-Length: 0", SMUGGLED),
        ),
        (
            "NUL in a field",
            post("X: \0\r\nContent-Length: 0", SMUGGLED),
        ),
        (
            "a field before the first",
            format!("POST /livez HTTP/1.1\r\n Host: x\r\nContent-Length: 0\r\n\r\n{SMUGGLED}"),
        ),
    ];
    for (name, bytes) in vectors {
        let mut stream = connect(&server).await;
        let start = Instant::now();
        stream.write_all(bytes.as_bytes()).await.unwrap();
        let answer = to_the_end(&mut stream, PATIENCE + SLACK).await;
        let answers = answer.matches("HTTP/1.1 ").count();
        println!(
            "{name}: {} in {:?}, then closed",
            status(&answer),
            start.elapsed()
        );
        assert!(answers <= 1, "{name}: {answer}");
        assert!(!answer.contains("\"openapi\""), "{name}: {answer}");
        // Where the head is sound it is answered, before its body is read.
        assert!(matches!(status(&answer), 400 | 405), "{name}: {answer}");
    }
}

/// The same where the body is read, by an operation that wants one.
#[tokio::test]
async fn no_request_is_smuggled_in_a_body() {
    const SMUGGLED: &str = "GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n";
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    let client = server.user(&["actions:write"]).await;
    let key = client.key().unwrap();
    for (name, chunks) in [
        ("a length in another form", "0x2\r\n{}\r\n0\r\n\r\n"),
        ("a length with a sign", "+2\r\n{}\r\n0\r\n\r\n"),
        ("a negative length", "-2\r\n{}\r\n0\r\n\r\n"),
        ("no length", "\r\n{}\r\n0\r\n\r\n"),
        (
            "a length beyond numbers",
            "10000000000000002\r\n{}\r\n0\r\n\r\n",
        ),
        ("lines that end bare", "2\n{}\n0\n\n"),
        (
            "a chunk that is longer than it says",
            "2\r\n{}}}\r\n0\r\n\r\n",
        ),
        (
            "an extension with a bare line feed",
            "2;x\n\r\n{}\r\n0\r\n\r\n",
        ),
    ] {
        let mut stream = connect(&server).await;
        let start = Instant::now();
        let bytes = format!(
            "POST /actions HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}{SMUGGLED}"
        );
        stream.write_all(bytes.as_bytes()).await.unwrap();
        let answer = to_the_end(&mut stream, PATIENCE + SLACK).await;
        println!(
            "{name}: {} in {:?}, then closed",
            status(&answer),
            start.elapsed()
        );
        // The connection may be cut without a word: what follows a broken chunk can't be told from it.
        assert!(answer.matches("HTTP/1.1 ").count() <= 1, "{name}: {answer}");
        assert!(matches!(status(&answer), 0 | 400), "{name}: {answer}");
    }
}

/// RFC 9112, 2.2 lets a line of the head end in a bare line feed. Whoever forwards such a head must not see another one.
#[tokio::test]
async fn a_head_with_bare_line_feeds_is_one_request_or_none() {
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    for bytes in [
        "GET /livez HTTP/1.1\nHost: x\nConnection: close\n\n",
        "GET /livez HTTP/1.1\r\nHost: x\nConnection: close\r\n\r\n",
    ] {
        let mut stream = connect(&server).await;
        stream.write_all(bytes.as_bytes()).await.unwrap();
        let answer = to_the_end(&mut stream, PATIENCE + SLACK).await;
        println!("{bytes:?}: {}", status(&answer));
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
        assert!(matches!(status(&answer), 200 | 400), "{answer}");
    }
}

#[tokio::test]
async fn a_second_head_that_does_not_come_is_not_waited_for() {
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    let mut stream = connect(&server).await;
    let get = "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n";
    stream.write_all(get.as_bytes()).await.unwrap();
    assert_eq!(status(&one_answer(&mut stream).await), 200);
    // A byte a second: it is the head that has its time, and not each byte.
    let (mut reader, mut writer) = stream.into_split();
    let trickle = tokio::spawn(async move {
        let mut second = tokio::time::interval(Duration::from_secs(1));
        for byte in get.as_bytes().chunks(1).take(get.len() - 4) {
            second.tick().await;
            if writer.write_all(byte).await.is_err() {
                break;
            }
        }
        writer
    });
    let start = Instant::now();
    let mut rest = Vec::new();
    let _ = within(
        PATIENCE + SLACK,
        "the end of the connection",
        reader.read_to_end(&mut rest),
    )
    .await;
    let taken = start.elapsed();
    trickle.abort();
    println!("a second head that trickles is cut after {taken:?}");
    assert!(taken > PATIENCE - Duration::from_secs(1), "{taken:?}");
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    let client = server.user(&["actions:write"]).await;
    let key = client.key().unwrap();
    let mut stream = connect(&server).await;
    let head = format!(
        "POST /actions HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{{"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let start = Instant::now();
    let answer = to_the_end(&mut stream, PATIENCE + SLACK + SLACK).await;
    println!(
        "a body that stops: {} and the end after {:?}",
        status(&answer),
        start.elapsed()
    );
    assert_eq!(status(&answer), 408, "{answer}");
    assert!(answer.contains("\"request_timeout\""), "{answer}");
}

/// A thousand connections that send nothing further, and one that wants an answer.
#[tokio::test]
async fn slow_heads_hold_nobody_up() {
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    let mut slow = Vec::new();
    for _ in 0..1000 {
        let mut stream = connect(&server).await;
        stream
            .write_all(b"GET /livez HTTP/1.1\r\nHost:")
            .await
            .unwrap();
        slow.push(stream);
    }
    let start = Instant::now();
    let anonymous = server.anonymous();
    assert_eq!(anonymous.get("/livez").send().await.status, 200);
    let taken = start.elapsed();
    println!("beside 1,000 slow heads an answer takes {taken:?}");
    assert!(taken < Duration::from_secs(1), "{taken:?}");
    let start = Instant::now();
    for mut stream in slow {
        let answer = to_the_end(&mut stream, PATIENCE + SLACK + SLACK).await;
        assert!(matches!(status(&answer), 0 | 408), "{answer}");
    }
    println!("and the last of them is cut {:?} later", start.elapsed());
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_million_brackets_are_refused_in_flat_memory() {
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    let client = server.user(&["actions:write"]).await;
    let before = peak_memory(&server);
    let body = format!("{{\"type\":\"echo\",\"input\":{}", "[".repeat(1_000_000));
    let start = Instant::now();
    let answer = client
        .request("POST", "/actions")
        .text("application/json", body)
        .send()
        .await;
    let grown = peak_memory(&server).saturating_sub(before);
    println!(
        "1,000,000 opening brackets: {} in {:?}, {} KiB more memory",
        answer.status,
        start.elapsed(),
        grown / 1024
    );
    answer.problem(400, "malformed_json");
    assert!(grown < 16 * MIB, "{grown}");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn ten_gigabytes_in_chunks_are_cut_in_flat_memory() {
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    let client = server.user(&["actions:write"]).await;
    let key = client.key().unwrap();
    let before = peak_memory(&server);
    for (target, expected) in [("POST /actions", 413), ("GET /livez", 200)] {
        let mut stream = connect(&server).await;
        let head = format!(
            "{target} HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let (mut reader, mut writer) = stream.into_split();
        let answer = tokio::spawn(async move {
            let mut answer = Vec::new();
            let _ = reader.read_to_end(&mut answer).await;
            String::from_utf8_lossy(&answer).into_owned()
        });
        let mut chunk = format!("{MIB:x}\r\n").into_bytes();
        chunk.resize(chunk.len() + MIB, b' ');
        chunk.extend_from_slice(b"\r\n");
        let start = Instant::now();
        let mut sent = 0;
        let limit = Duration::from_secs(60);
        within(limit, "the end of the connection", async {
            while sent < 10 * 1024 * MIB && writer.write_all(&chunk).await.is_ok() {
                sent += MIB;
            }
        })
        .await;
        let taken = start.elapsed();
        let grown = peak_memory(&server).saturating_sub(before);
        let answer = within(SOON, "the answer", answer).await.unwrap();
        println!(
            "{target}: {} and cut {taken:?} after its start with {} MiB sent of 10 GiB, {} KiB more memory",
            status(&answer),
            sent / MIB,
            grown / 1024
        );
        assert_eq!(status(&answer), expected, "{answer}");
        assert!(sent < 10 * 1024 * MIB, "all of it was taken");
        assert!(grown < 16 * MIB, "{grown}");
    }
}
