//! The little of PostgreSQL's frontend/backend protocol (version 3.0) that tells whether a server answers and runs one
//! statement. Only what a connection without password and without TLS needs; a Unix socket has neither here.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::io::{FdFlags, fcntl_setfd, ioctl_fionbio};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, connect, socket};

/// Protocol version 3.0.
const PROTOCOL: u32 = 3 << 16;
/// Longer messages than this are no answer of a PostgreSQL server to what is said here.
const MESSAGE_MAX: usize = 1 << 20;

/// Why there is no connection, or why a statement failed.
#[derive(Debug)]
pub(crate) enum WireError {
    /// Nobody listens on the socket.
    Nobody,
    /// The server answered, and refused.
    Refused { sqlstate: String, message: String },
    /// Somebody listens, but gave no sensible answer in time.
    Unclear(io::Error),
}

impl From<io::Error> for WireError {
    fn from(error: io::Error) -> Self {
        Self::Unclear(error)
    }
}

/// A connection that is ready for a statement.
pub(crate) struct Connection {
    stream: UnixStream,
    deadline: Instant,
}

impl Connection {
    /// Connects and signs in. Everything that is done with the connection has to be over within `limit`.
    pub(crate) fn open(
        socket: &Path,
        user: &str,
        database: &str,
        limit: Duration,
    ) -> Result<Self, WireError> {
        let deadline = Instant::now() + limit;
        let mut connection = Self {
            stream: reach(socket)?,
            deadline,
        };
        let mut body = PROTOCOL.to_be_bytes().to_vec();
        for text in ["user", user, "database", database] {
            body.extend_from_slice(text.as_bytes());
            body.push(0);
        }
        body.push(0);
        connection.send(None, &body)?;
        connection.until_ready()?;
        Ok(connection)
    }

    /// Runs one statement and throws its rows away.
    pub(crate) fn execute(&mut self, sql: &str) -> Result<(), WireError> {
        let mut body = sql.as_bytes().to_vec();
        body.push(0);
        self.send(Some(b'Q'), &body)?;
        self.until_ready()
    }

    fn send(&mut self, kind: Option<u8>, body: &[u8]) -> Result<(), WireError> {
        let length = u32::try_from(body.len() + 4)
            .map_err(|_| io::Error::other("the statement is too long"))?;
        let mut message: Vec<u8> = kind.into_iter().collect();
        message.extend_from_slice(&length.to_be_bytes());
        message.extend_from_slice(body);
        self.stream.set_write_timeout(Some(self.remaining()?))?;
        self.stream.write_all(&message)?;
        Ok(())
    }

    /// Reads until the server is ready for the next statement, and answers the first error on the way.
    fn until_ready(&mut self) -> Result<(), WireError> {
        let mut refusal = None;
        loop {
            let (kind, body) = match self.receive() {
                Ok(message) => message,
                // A server that refuses a connection closes it after its word.
                Err(error) => return Err(refusal.unwrap_or(error)),
            };
            match kind {
                b'Z' => return refusal.map_or(Ok(()), Err),
                b'E' if refusal.is_none() => refusal = Some(refused(&body)),
                b'R' if body != [0; 4] => {
                    return Err(WireError::Refused {
                        sqlstate: "28000".to_owned(),
                        message: "the server asks for a password".to_owned(),
                    });
                }
                _ => {}
            }
        }
    }

    fn receive(&mut self) -> Result<(u8, Vec<u8>), WireError> {
        let mut kind = [0; 1];
        let mut length = [0; 4];
        self.read(&mut kind)?;
        self.read(&mut length)?;
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if !(4..=MESSAGE_MAX).contains(&length) {
            return Err(
                io::Error::new(io::ErrorKind::InvalidData, "not PostgreSQL's protocol").into(),
            );
        }
        let mut body = vec![0; length - 4];
        self.read(&mut body)?;
        let [kind] = kind;
        Ok((kind, body))
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<(), WireError> {
        self.stream.set_read_timeout(Some(self.remaining()?))?;
        Ok(self.stream.read_exact(buffer)?)
    }

    fn remaining(&self) -> io::Result<Duration> {
        let remaining = self.deadline.saturating_duration_since(Instant::now());
        if remaining.is_zero() {
            Err(io::ErrorKind::TimedOut.into())
        } else {
            Ok(remaining)
        }
    }
}

/// Connects without ever blocking: a frozen server whose backlog is full would hold a blocking connect for ever.
fn reach(path: &Path) -> Result<UnixStream, WireError> {
    let address = SocketAddrUnix::new(path).map_err(io::Error::from)?;
    let fd = socket(AddressFamily::UNIX, SocketType::STREAM, None).map_err(io::Error::from)?;
    fcntl_setfd(&fd, FdFlags::CLOEXEC).map_err(io::Error::from)?;
    ioctl_fionbio(&fd, true).map_err(io::Error::from)?;
    match connect(&fd, &address) {
        Ok(()) => {}
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::CONNREFUSED) => {
            return Err(WireError::Nobody);
        }
        Err(error) => return Err(WireError::Unclear(error.into())),
    }
    ioctl_fionbio(&fd, false).map_err(io::Error::from)?;
    Ok(UnixStream::from(fd))
}

/// An ErrorResponse: fields of one letter and a text, each ended by a zero byte.
fn refused(body: &[u8]) -> WireError {
    let mut sqlstate = String::new();
    let mut message = String::new();
    for field in body.split(|byte| *byte == 0) {
        match field.split_first() {
            Some((b'C', text)) => sqlstate = String::from_utf8_lossy(text).into_owned(),
            Some((b'M', text)) => message = String::from_utf8_lossy(text).into_owned(),
            _ => {}
        }
    }
    WireError::Refused { sqlstate, message }
}

/// `name` as a quoted SQL identifier.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;
    use std::thread;

    const LIMIT: Duration = Duration::from_secs(5);

    /// Connects to a listener that answers with these bytes and closes.
    fn open_against(answer: &'static [u8]) -> Result<Connection, WireError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut length = [0; 4];
            stream.read_exact(&mut length).unwrap();
            let mut rest = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap() - 4];
            stream.read_exact(&mut rest).unwrap();
            stream.write_all(answer).unwrap();
            rest
        });
        let result = Connection::open(&path, "me", "base", LIMIT);
        let sent = server.join().unwrap();
        assert_eq!(sent, b"\x00\x03\x00\x00user\0me\0database\0base\0\0");
        result
    }

    #[test]
    fn signs_in_where_no_password_is_asked() {
        let answer = b"R\0\0\0\x08\0\0\0\0S\0\0\0\x08a\0b\0Z\0\0\0\x05I";
        assert!(open_against(answer).is_ok());
    }

    #[test]
    fn tells_why_the_server_refuses() {
        let answer = b"E\0\0\0\x1dSFATAL\0C57P03\0Mstarting\0\0";
        let Err(WireError::Refused { sqlstate, message }) = open_against(answer) else {
            panic!("not refused")
        };
        assert_eq!((sqlstate.as_str(), message.as_str()), ("57P03", "starting"));
    }

    #[test]
    fn a_server_that_wants_a_password_refuses() {
        let result = open_against(b"R\0\0\0\x08\0\0\0\x03");
        assert!(matches!(result, Err(WireError::Refused { .. })));
    }

    #[test]
    fn a_stranger_on_the_socket_is_unclear() {
        assert!(matches!(
            open_against(b"HTTP/1.1 400 Bad Request\r\n"),
            Err(WireError::Unclear(_))
        ));
        assert!(matches!(open_against(b""), Err(WireError::Unclear(_))));
    }

    #[test]
    fn nobody_listens_on_a_left_over_socket() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        assert!(matches!(
            Connection::open(&path, "me", "base", LIMIT),
            Err(WireError::Nobody)
        ));
        drop(UnixListener::bind(&path).unwrap());
        assert!(matches!(
            Connection::open(&path, "me", "base", LIMIT),
            Err(WireError::Nobody)
        ));
    }

    #[test]
    fn silence_ends_at_the_limit() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let _listener = UnixListener::bind(&path).unwrap();
        let result = Connection::open(&path, "me", "base", Duration::from_millis(50));
        assert!(matches!(result, Err(WireError::Unclear(_))));
    }

    #[test]
    fn identifiers_are_quoted() {
        assert_eq!(quoted("a\"b"), "\"a\"\"b\"");
    }
}
