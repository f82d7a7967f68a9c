//! Asking a server that listens on this machine how it is, without a client library.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The most that is read of an answer, in bytes.
const ANSWER_MAX: u64 = 64 * 1024;

/// An answer, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// GET `path` of the server that listens on `address`.
///
/// # Errors
/// When nobody answers within `patience`, or what answers speaks no HTTP.
pub(crate) async fn get(address: SocketAddr, path: &str, patience: Duration) -> io::Result<Answer> {
    let address = reachable(address);
    let answer = timeout(patience, async {
        let mut stream = TcpStream::connect(address).await?;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(ANSWER_MAX).read_to_end(&mut answer).await?;
        io::Result::Ok(answer)
    });
    let bytes = answer
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no answer in time"))??;
    parse(&String::from_utf8_lossy(&bytes))
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "what answers is no HTTP server"))
}

/// Where a server can be reached that listens on `address`: one on every address is reached on loopback.
pub(crate) fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        other => other,
    };
    SocketAddr::new(ip, address.port())
}

fn parse(answer: &str) -> Option<Answer> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let line = head.strip_prefix("HTTP/1.")?;
    let status = line.split(' ').nth(1)?.trim().parse().ok()?;
    Some(Answer {
        status,
        body: body.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_taken_apart() {
        for (text, expected) in [
            ("HTTP/1.1 200 OK\r\nA: b\r\n\r\nbody", Some((200, "body"))),
            ("HTTP/1.1 503\r\n\r\n", Some((503, ""))),
            ("SSH-2.0-OpenSSH\r\n\r\n", None),
            ("HTTP/1.1 200 OK\r\n", None),
            ("", None),
        ] {
            let answer = parse(text);
            let found = answer
                .as_ref()
                .map(|answer| (answer.status, answer.body.as_str()));
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn a_server_on_every_address_is_asked_on_loopback() {
        for (listens, asked) in [
            ("0.0.0.0:80", "127.0.0.1:80"),
            ("[::]:80", "[::1]:80"),
            ("10.1.2.3:80", "10.1.2.3:80"),
        ] {
            assert_eq!(
                reachable(listens.parse().unwrap()).to_string(),
                asked,
                "{listens}"
            );
        }
    }

    #[tokio::test]
    async fn silence_has_a_deadline() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let error = get(
            silent.local_addr().unwrap(),
            "/livez",
            Duration::from_millis(50),
        )
        .await
        .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
