//! HTTP as far as a task needs it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::Context as _;

/// How long a connection may take to be made, and how long an answer may be silent.
const CONNECT: Duration = Duration::from_secs(1);
const SILENCE: Duration = Duration::from_secs(10);

/// A request that is being put together.
pub(crate) struct Request {
    text: String,
    body: String,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// A line of an answer, and how long after the request it came.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) text: String,
    pub(crate) after: Duration,
}

impl Request {
    pub(crate) fn get(path: &str) -> Self {
        Self {
            text: format!("GET {path} HTTP/1.1\r\n"),
            body: String::new(),
        }
    }

    pub(crate) fn post(path: &str, json: &str) -> Self {
        let request = Self {
            text: format!("POST {path} HTTP/1.1\r\n"),
            body: json.to_owned(),
        };
        request
            .header("Content-Type", "application/json")
            .header("Content-Length", &json.len().to_string())
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.text.push_str(&format!("{name}: {value}\r\n"));
        self
    }

    /// Sends it, and reads the answer to its end.
    pub(crate) fn send(self, address: SocketAddr) -> anyhow::Result<Answer> {
        let mut text = String::new();
        self.open(address)?.read_to_string(&mut text)?;
        let status = text.split(' ').nth(1).context("that is no HTTP")?.parse()?;
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        Ok(Answer {
            status,
            body: body.to_owned(),
        })
    }

    /// Sends it, and notes when each line of the answer came.
    pub(crate) fn lines(self, address: SocketAddr) -> anyhow::Result<Vec<Line>> {
        let began = Instant::now();
        let mut lines = Vec::new();
        for line in BufReader::new(self.open(address)?).lines() {
            lines.push(Line {
                text: line?,
                after: began.elapsed(),
            });
        }
        Ok(lines)
    }

    fn open(self, address: SocketAddr) -> anyhow::Result<TcpStream> {
        let mut stream = TcpStream::connect_timeout(&address, CONNECT)?;
        stream.set_read_timeout(Some(SILENCE))?;
        let Self { text, body } = self;
        // In one piece: whoever answers after the first piece and closes would break the rest.
        let message = format!("{text}Host: {address}\r\nConnection: close\r\n\r\n{body}");
        stream.write_all(message.as_bytes())?;
        Ok(stream)
    }
}

/// The one JSON object in a body that may have come in chunks.
pub(crate) fn unchunked(body: &str) -> &str {
    let start = body.find('{').unwrap_or(0);
    let end = body.rfind('}').map_or(body.len(), |end| end + 1);
    body.get(start..end).unwrap_or(body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::thread;

    /// Answers one request, and gives back what was asked.
    fn answering(answer: &'static str) -> (SocketAddr, thread::JoinHandle<String>) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = [0u8; 1000];
            let length = stream.read(&mut asked).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8_lossy(&asked[..length]).into_owned()
        });
        (address, server)
    }

    #[test]
    fn a_request_is_sent_and_its_answer_read() {
        let (address, server) =
            answering("HTTP/1.1 201 Created\r\nA: b\r\n\r\n1c\r\n{\"id\":\"x\"}\r\n0\r\n");
        let answer = Request::post("/users", "{}")
            .header("X-API-Key", "k")
            .send(address)
            .unwrap();
        assert_eq!(answer.status, 201);
        assert_eq!(unchunked(&answer.body), "{\"id\":\"x\"}");
        let asked = server.join().unwrap();
        assert!(asked.starts_with("POST /users HTTP/1.1\r\n"), "{asked}");
        assert!(asked.contains("X-API-Key: k\r\n") && asked.contains("Content-Length: 2\r\n"));
    }

    #[test]
    fn lines_come_with_their_times() {
        let (address, server) = answering("HTTP/1.1 200 OK\r\n\r\ndata: a\n");
        let lines = Request::get("/stream").lines(address).unwrap();
        let texts: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(texts, ["HTTP/1.1 200 OK", "", "data: a"]);
        assert!(lines.is_sorted_by_key(|line| line.after));
        server.join().unwrap();
    }
}
