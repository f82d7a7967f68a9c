//! A server of scripted answers: one for each connection, in their order. Then it is gone.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use deed_client::{Client, Retry};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What one connection gets once its request has been read.
pub(crate) struct Reply {
    bytes: Vec<u8>,
    is_left_open: bool,
}

impl Reply {
    /// These very bytes, and then the end.
    pub(crate) fn raw(text: impl Into<String>) -> Self {
        Self {
            bytes: text.into().into_bytes(),
            is_left_open: false,
        }
    }

    /// The end, without a word.
    pub(crate) fn nothing() -> Self {
        Self::raw("")
    }

    /// An answer.
    pub(crate) fn answer(status: &str, headers: &str, body: &str) -> Self {
        let length = body.len();
        Self::raw(format!(
            "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
        ))
    }

    /// An answer of JSON.
    pub(crate) fn json(status: &str, body: &str) -> Self {
        Self::answer(status, "Content-Type: application/json\r\n", body)
    }

    /// A problem.
    pub(crate) fn problem(status: &str, code: &str, headers: &str) -> Self {
        let number = status.split(' ').next().unwrap();
        let body = format!(
            r#"{{"error":"{code}","message":"It is so.","type":"/problems/{code}","title":"So","status":{number},"instance":"/","request_id":"r-1","new":[1]}}"#
        );
        Self::answer(
            status,
            &format!("Content-Type: application/problem+json\r\nX-Request-Id: r-1\r\n{headers}"),
            &body,
        )
    }

    /// The beginning of a stream, up to a clean end.
    pub(crate) fn stream(events: &str) -> Self {
        Self::stream_with("", events)
    }

    /// The same, with more headers.
    pub(crate) fn stream_with(headers: &str, events: &str) -> Self {
        Self::raw(format!(
            "HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\nContent-Type: text/event-stream\r\n{headers}\r\n{}0\r\n\r\n",
            chunk(events)
        ))
    }

    /// A stream that is cut off within its last chunk.
    pub(crate) fn cut_stream(events: &str) -> Self {
        Self::raw(format!(
            "HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\nContent-Type: text/event-stream\r\n\r\n{}5\r\nid",
            chunk(events)
        ))
    }

    /// What was said is all; the connection stays as it is.
    pub(crate) fn left_open(mut self) -> Self {
        self.is_left_open = true;
        self
    }

    /// Without the last so many bytes.
    pub(crate) fn short_of(mut self, bytes: usize) -> Self {
        self.bytes.truncate(self.bytes.len() - bytes);
        self
    }
}

fn chunk(text: &str) -> String {
    if text.is_empty() {
        return String::new();
    }
    format!("{:x}\r\n{text}\r\n", text.len())
}

/// A scripted server.
pub(crate) struct Server {
    pub(crate) base: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub(crate) async fn start(replies: impl IntoIterator<Item = Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        let replies: Vec<Reply> = replies.into_iter().collect();
        tokio::spawn(async move {
            let mut open = Vec::new();
            for reply in replies {
                let (mut stream, _) = listener.accept().await.unwrap();
                let request = read_request(&mut stream).await;
                seen.lock().unwrap().push(request);
                open.extend(reply.say(stream).await);
            }
            drop(listener);
            std::future::pending::<()>().await;
        });
        Self { base, requests }
    }

    /// A client of it that waits for nothing long.
    pub(crate) fn client(&self) -> Client {
        self.client_with(|builder| builder)
    }

    pub(crate) fn client_with(
        &self,
        change: impl FnOnce(deed_client::Builder) -> deed_client::Builder,
    ) -> Client {
        let retry = Retry {
            times: 3,
            first: Duration::from_millis(5),
            longest: Duration::from_millis(20),
            deadline: Duration::from_secs(10),
        };
        let builder = Client::builder(&self.base).api_key("deedk_x").retry(retry);
        change(builder).build().unwrap()
    }

    /// What it was asked, with headers in lower case.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    /// The values that one header had, request by request; empty where it was missing.
    pub(crate) fn header(&self, name: &str) -> Vec<String> {
        let value = |request: &String| {
            let line = request
                .lines()
                .find_map(|line| line.strip_prefix(&format!("{name}: ")));
            line.unwrap_or_default().to_owned()
        };
        self.requests().iter().map(value).collect()
    }
}

impl Reply {
    /// Says it, and answers the connection if that is to stay.
    pub(crate) async fn say(self, mut stream: TcpStream) -> Option<TcpStream> {
        // Whoever asked may be gone.
        drop(stream.write_all(&self.bytes).await);
        if self.is_left_open {
            return Some(stream);
        }
        drop(stream.shutdown().await);
        None
    }
}

pub(crate) async fn read_request(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |length| length.parse().unwrap());
            if body.len() >= length {
                return text;
            }
        }
        let mut buffer = [0; 4096];
        let read = stream.read(&mut buffer).await.unwrap();
        assert_ne!(read, 0, "half a request: {text}");
        bytes.extend_from_slice(&buffer[..read]);
    }
}
