//! The least HTTP/1.1 client that can load a server on the same machine without being the limit itself: requests are
//! bytes made once, and of an answer only its status and its end are looked for.

use std::io;
use std::net::SocketAddr;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How much of an answer is read at a time, in bytes.
const READ: usize = 16 * 1024;

/// A request as it is sent.
#[derive(Debug, Clone)]
pub(crate) struct Request(Vec<u8>);

impl Request {
    /// A request with a key, further header lines and a body of JSON, which may be empty.
    pub(crate) fn new(line: &str, key: &str, headers: &[(&str, &str)], body: &str) -> Self {
        let mut head = format!("{line} HTTP/1.1\r\nHost: bench\r\nX-API-Key: {key}\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() {
            head.push_str(&format!(
                "Content-Type: application/json\r\nContent-Length: {}\r\n",
                body.len()
            ));
        }
        head.push_str("\r\n");
        head.push_str(body);
        Self(head.into_bytes())
    }
}

/// A connection that is kept.
pub(crate) struct Connection {
    socket: TcpStream,
    /// What was read of the present answer.
    buffer: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        Ok(Self {
            socket,
            buffer: Vec::with_capacity(READ),
        })
    }

    /// Sends a request and answers the status and the body, whose length is declared.
    pub(crate) async fn exchange(&mut self, request: &Request) -> anyhow::Result<(u16, &[u8])> {
        self.begin(request).await?;
        let (status, body) = self.head().await?;
        let head = self.buffer.get(..body).unwrap_or_default();
        let length = content_length(head).unwrap_or(0);
        while self.buffer.len() < body + length {
            self.read().await?;
        }
        let body = self.buffer.get(body..body + length).unwrap_or_default();
        Ok((status, body))
    }

    /// Sends a request and reads the head of a stream.
    pub(crate) async fn open_stream(&mut self, request: &Request) -> anyhow::Result<u16> {
        self.begin(request).await?;
        let (status, body) = self.head().await?;
        self.buffer.drain(..body);
        Ok(status)
    }

    /// Reads on in a stream until it has more than `seen` bytes; answers all since its beginning or the last
    /// [`Self::forget`].
    pub(crate) async fn more(&mut self, seen: usize) -> anyhow::Result<&[u8]> {
        while self.buffer.len() <= seen {
            self.read().await?;
        }
        Ok(&self.buffer)
    }

    /// Drops what was read of a stream, but for the last `kept` bytes.
    pub(crate) fn forget(&mut self, kept: usize) {
        let gone = self.buffer.len().saturating_sub(kept);
        self.buffer.drain(..gone);
    }

    async fn begin(&mut self, request: &Request) -> io::Result<()> {
        self.buffer.clear();
        self.socket.write_all(&request.0).await
    }

    /// The status, and where the body begins.
    async fn head(&mut self) -> anyhow::Result<(u16, usize)> {
        let mut looked = 0_usize;
        loop {
            self.read().await?;
            let from = looked.saturating_sub(3);
            if let Some(at) = find(self.buffer.get(from..).unwrap_or_default(), b"\r\n\r\n") {
                let status = self.buffer.get(9..12).context("no status")?;
                return Ok((std::str::from_utf8(status)?.parse()?, from + at + 4));
            }
            looked = self.buffer.len();
        }
    }

    async fn read(&mut self) -> anyhow::Result<()> {
        self.buffer.reserve(READ);
        if self.socket.read_buf(&mut self.buffer).await? == 0 {
            bail!("the server has closed the connection");
        }
        Ok(())
    }
}

/// Where `needle` begins.
pub(crate) fn find(text: &[u8], needle: &[u8]) -> Option<usize> {
    memchr::memmem::find(text, needle)
}

/// The end of a response in chunks. A chunk of events ends in line feeds, so nothing else looks like it.
pub(crate) const LAST_CHUNK: &[u8] = b"\r\n0\r\n\r\n";

fn content_length(head: &[u8]) -> Option<usize> {
    let name = b"content-length: ";
    let value = head.get(find(head, name)? + name.len()..)?;
    let end = find(value, b"\r\n")?;
    std::str::from_utf8(value.get(..end)?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn an_answer_is_read_to_its_end_however_it_comes() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut asked = vec![0; 1024];
            let length = socket.read(&mut asked).await.unwrap();
            for byte in b"HTTP/1.1 201 Created\r\ncontent-length: 5\r\nx: y\r\n\r\nhello" {
                socket.write_all(&[*byte]).await.unwrap();
            }
            String::from_utf8(asked[..length].to_vec()).unwrap()
        });
        let mut connection = Connection::open(address).await.unwrap();
        let request = Request::new("POST /x", "k", &[("Prefer", "wait=1")], "{}");
        let (status, body) = connection.exchange(&request).await.unwrap();
        assert_eq!((status, body), (201, b"hello".as_slice()));
        assert_eq!(
            server.await.unwrap(),
            "POST /x HTTP/1.1\r\nHost: bench\r\nX-API-Key: k\r\nPrefer: wait=1\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
        );
    }

    #[test]
    fn a_length_is_found_in_the_head() {
        assert_eq!(
            content_length(b"a: b\r\ncontent-length: 12\r\n\r\n"),
            Some(12)
        );
        assert_eq!(content_length(b"a: b\r\n\r\n"), None);
    }
}
