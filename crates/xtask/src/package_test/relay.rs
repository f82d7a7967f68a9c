//! TCP on loopback to PostgreSQL's socket: the private cluster listens on nothing else, and a chroot can't see it.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;

/// Lasts until the process ends.
pub(super) struct Relay {
    address: SocketAddr,
}

impl Relay {
    pub(super) fn start(socket: &Path) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let socket = socket.to_owned();
        thread::spawn(move || accept(&listener, &socket));
        Ok(Self { address })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

fn accept(listener: &TcpListener, socket: &Path) {
    for client in listener.incoming().flatten() {
        if let Ok(server) = UnixStream::connect(socket) {
            relay(client, server);
        }
    }
}

/// Copies both ways. Whichever side ends first, the other one is told.
fn relay(client: TcpStream, server: UnixStream) {
    let (Ok(mut from_client), Ok(mut from_server)) = (client.try_clone(), server.try_clone())
    else {
        return;
    };
    let (mut to_client, mut to_server) = (client, server);
    thread::spawn(move || {
        drop(io::copy(&mut from_client, &mut to_server));
        drop(to_server.shutdown(std::net::Shutdown::Write));
    });
    thread::spawn(move || {
        drop(io::copy(&mut from_server, &mut to_client));
        drop(to_client.shutdown(std::net::Shutdown::Both));
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixListener;

    #[test]
    fn what_is_said_arrives_and_is_answered() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("s");
        let listener = UnixListener::bind(&socket).unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            stream.write_all(text.to_uppercase().as_bytes()).unwrap();
        });
        let relay = Relay::start(&socket).unwrap();
        let mut client = TcpStream::connect(relay.address()).unwrap();
        client.write_all(b"hello").unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "HELLO");
        server.join().unwrap();
    }
}
