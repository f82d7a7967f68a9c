//! What may stand between a server and PostgreSQL.

mod faulty;

pub use faulty::{Commit, Fault, FaultyProxy};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio_postgres::Config;
use tokio_postgres::config::Host;

/// The message by which PostgreSQL tells of a NOTIFY.
const NOTIFICATION: u8 = b'A';

/// What a proxy keeps to itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeps {
    /// Notifications, as a pooler in transaction mode does.
    Notifications,
    /// The settings that a client asks for at the start, but for the search path, as a pooler that ignores `options`.
    Settings,
}

/// A proxy on loopback that passes everything on but one thing. Ends when dropped.
pub struct Proxy {
    port: u16,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Stands before the server of `url`.
    pub async fn before(url: &str, keeps: Keeps) -> Self {
        let config: Config = url.parse().unwrap();
        let host = config.get_hosts().first().unwrap().clone();
        let server_port = config.get_ports().first().copied().unwrap_or(5432);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                match &host {
                    Host::Unix(directory) => {
                        let socket = directory.join(format!(".s.PGSQL.{server_port}"));
                        let server = UnixStream::connect(socket).await.unwrap();
                        tokio::spawn(pass(client, tokio::io::split(server), keeps));
                    }
                    Host::Tcp(name) => {
                        let server = TcpStream::connect((name.as_str(), server_port))
                            .await
                            .unwrap();
                        tokio::spawn(pass(client, tokio::io::split(server), keeps));
                    }
                }
            }
        });
        Self { port, task }
    }

    /// The same `url`, through this.
    #[must_use]
    pub fn url(&self, url: &str) -> String {
        through(self.port, url)
    }
}

/// The same `url` at another port of loopback.
fn through(port: u16, url: &str) -> String {
    let config: Config = url.parse().unwrap();
    let options = config.get_options().unwrap_or_default();
    format!(
        "postgres://{}@127.0.0.1:{port}/{}?options={}&application_name={}",
        config.get_user().unwrap(),
        config.get_dbname().unwrap(),
        options.replace('=', "%3D").replace(' ', "%20"),
        config.get_application_name().unwrap_or("e2e"),
    )
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Reads a client's first message and answers it as it is passed on.
async fn start_up(client: &mut (impl AsyncRead + Unpin), keeps: Keeps) -> Vec<u8> {
    let length = client.read_u32().await.unwrap();
    let mut message = vec![0u8; usize::try_from(length).unwrap() - 4];
    client.read_exact(&mut message).await.unwrap();
    if keeps == Keeps::Settings {
        // The protocol's version, then names and values, each with a zero at its end.
        let (version, rest) = message.split_at(4);
        let mut words: Vec<String> = rest
            .split(|byte| *byte == 0)
            .map(|word| String::from_utf8(word.to_vec()).unwrap())
            .collect();
        let options = words.iter().position(|word| word == "options").unwrap() + 1;
        let kept = words[options]
            .split(' ')
            .filter(|word| word.contains("search_path"));
        words[options] = kept.collect::<Vec<_>>().join(" ");
        message = [version, words.join("\0").as_bytes()].concat();
    }
    let length = u32::try_from(message.len() + 4).unwrap();
    [&length.to_be_bytes()[..], &message].concat()
}

async fn pass(
    client: TcpStream,
    (mut from, mut to): (impl AsyncRead + Unpin, impl AsyncWrite + Unpin),
    keeps: Keeps,
) {
    let (mut read, mut write) = tokio::io::split(client);
    let there = async {
        let first = start_up(&mut read, keeps).await;
        to.write_all(&first).await.unwrap();
        // An end on either side ends both.
        let _ = copy(&mut read, &mut to).await;
    };
    let back = async {
        // A message is its type, its length with the length's own four bytes, and the rest.
        let mut head = [0u8; 5];
        while from.read_exact(&mut head).await.is_ok() {
            let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
            let mut rest = vec![0u8; usize::try_from(length).unwrap() - 4];
            if from.read_exact(&mut rest).await.is_err() {
                return;
            }
            if head[0] == NOTIFICATION && keeps == Keeps::Notifications {
                continue;
            }
            let message = [&head[..], &rest].concat();
            if write.write_all(&message).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = there => {}
        () = back => {}
    }
}

/// A server of PostgreSQL's protocol that says it is `version`, and answers nothing else. Ends when dropped.
pub struct OldServer {
    port: u16,
    task: JoinHandle<()>,
}

impl OldServer {
    /// Starts on loopback.
    pub async fn start(version: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let task = tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let mut start_up = [0u8; 8];
                if client.read_exact(&mut start_up).await.is_err() {
                    continue;
                }
                let parameter = format!("server_version\0{version}\0");
                let length = u32::try_from(parameter.len() + 4).unwrap();
                let mut answer = vec![b'R', 0, 0, 0, 8, 0, 0, 0, 0, b'S'];
                answer.extend(length.to_be_bytes());
                answer.extend(parameter.as_bytes());
                answer.extend([b'Z', 0, 0, 0, 5, b'I']);
                if client.write_all(&answer).await.is_ok() {
                    // Until the client ends it.
                    let _ = copy(&mut client, &mut tokio::io::sink()).await;
                }
            }
        });
        Self { port, task }
    }

    /// Where it is, as `DATABASE_URL`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://deed@127.0.0.1:{}/deed", self.port)
    }
}

impl Drop for OldServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}
