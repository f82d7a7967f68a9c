//! A network that fails as a test wants it to.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_postgres::Config;
use tokio_postgres::config::Host;

use super::through;

/// What is wrong with the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Whatever PostgreSQL answers arrives this much later.
    Latency(Duration),
    /// Connections are accepted and stay open, and nothing passes. What was sent meanwhile passes afterwards, as after
    /// the pull of a cable.
    BlackHole,
    /// A connection is cut when so many bytes of answers have passed.
    CutAfter(usize),
    /// New connections are refused.
    Refuse,
    /// A statement whose text contains this meets its end as told.
    OnCommit(Commit, &'static str),
}

/// What becomes of a statement that commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Commit {
    /// It was run, the COMMIT does not arrive, and the connection is cut.
    NotDone,
    /// It is committed, and the connection is cut before that is told.
    DoneAndCut,
    /// It is committed, and nothing comes back ever; the connection stays open.
    DoneAndSilent,
}

/// A proxy on loopback with a fault that can be switched. Ends when dropped, and its connections with it.
pub struct FaultyProxy {
    port: u16,
    network: Arc<Network>,
    task: JoinHandle<()>,
}

struct Network {
    fault: watch::Sender<Fault>,
    /// Counts the times that all connections were to be cut.
    cut: watch::Sender<usize>,
    /// How many statements met their end.
    ended: AtomicUsize,
    upstream: Upstream,
}

enum Upstream {
    Unix(std::path::PathBuf),
    Tcp(String, u16),
}

type Reader = Box<dyn AsyncRead + Send + Unpin>;
type Writer = Box<dyn AsyncWrite + Send + Unpin>;

impl FaultyProxy {
    /// Stands before the server of `url`, and passes everything on.
    pub async fn before(url: &str) -> Self {
        let config: Config = url.parse().unwrap();
        let port = config.get_ports().first().copied().unwrap_or(5432);
        let upstream = match config.get_hosts().first().unwrap() {
            Host::Unix(directory) => Upstream::Unix(directory.join(format!(".s.PGSQL.{port}"))),
            Host::Tcp(name) => Upstream::Tcp(name.clone(), port),
        };
        let network = Arc::new(Network {
            fault: watch::Sender::new(Fault::None),
            cut: watch::Sender::new(0),
            ended: AtomicUsize::new(0),
            upstream,
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let task = tokio::spawn(accept(listener, port, Arc::clone(&network)));
        Self {
            port,
            network,
            task,
        }
    }

    /// The same `url`, through this.
    #[must_use]
    pub fn url(&self, url: &str) -> String {
        through(self.port, url)
    }

    /// From now on this is wrong, for the connections that there are and for new ones.
    pub fn switch(&self, fault: Fault) {
        self.network.fault.send_replace(fault);
    }

    /// Cuts all connections that there are.
    pub fn cut_all(&self) {
        self.network.cut.send_modify(|count| *count += 1);
    }

    /// How many statements met the end of [`Fault::OnCommit`] so far.
    #[must_use]
    pub fn ended(&self) -> usize {
        self.network.ended.load(Ordering::SeqCst)
    }
}

impl Drop for FaultyProxy {
    fn drop(&mut self) {
        self.task.abort();
        self.cut_all();
    }
}

async fn accept(first: TcpListener, port: u16, network: Arc<Network>) {
    let mut fault = network.fault.subscribe();
    let mut listener = Some(first);
    loop {
        let Some(open) = &listener else {
            let _ = fault.wait_for(|fault| *fault != Fault::Refuse).await;
            listener = TcpListener::bind(("127.0.0.1", port)).await.ok();
            continue;
        };
        tokio::select! {
            accepted = open.accept() => {
                if let Ok((client, _)) = accepted {
                    tokio::spawn(serve(client, Arc::clone(&network)));
                }
            }
            // A port that nobody listens on refuses.
            _ = fault.wait_for(|fault| *fault == Fault::Refuse) => listener = None,
        }
    }
}

async fn serve(client: TcpStream, network: Arc<Network>) {
    let mut cut = network.cut.subscribe();
    let mut fault = network.fault.subscribe();
    let _ = client.set_nodelay(true);
    let pass = async {
        passable(&mut fault).await;
        let Ok((from, to)) = network.upstream.connect().await else {
            return;
        };
        let (read, write) = client.into_split();
        let session = Mutex::new(Session::default());
        let there = Way {
            network: &network,
            session: &session,
            fault: network.fault.subscribe(),
        };
        let back = Way {
            network: &network,
            session: &session,
            fault: network.fault.subscribe(),
        };
        // An end on either side ends both.
        tokio::select! {
            _ = there.requests(read, to) => {}
            _ = back.answers(from, write) => {}
        }
    };
    tokio::select! {
        () = pass => {}
        _ = cut.changed() => {}
    }
}

/// Waits while nothing passes.
async fn passable(fault: &mut watch::Receiver<Fault>) {
    let _ = fault.wait_for(|fault| *fault != Fault::BlackHole).await;
}

impl Upstream {
    async fn connect(&self) -> io::Result<(Reader, Writer)> {
        Ok(match self {
            Self::Unix(socket) => {
                let (read, write) = UnixStream::connect(socket).await?.into_split();
                (Box::new(read), Box::new(write))
            }
            Self::Tcp(name, port) => {
                let (read, write) = TcpStream::connect((name.as_str(), *port))
                    .await?
                    .into_split();
                (Box::new(read), Box::new(write))
            }
        })
    }
}

/// What is known of a connection.
#[derive(Default)]
struct Session {
    /// The texts of prepared statements by their names.
    statements: HashMap<String, String>,
    /// The text of the statement that was bound last.
    bound: String,
    /// What becomes of the answers to what was sent, in order; `None` for those that pass.
    awaited: VecDeque<Option<Commit>>,
}

impl Session {
    fn see(&mut self, kind: u8, body: &[u8]) {
        let mut words = body
            .split(|byte| *byte == 0)
            .map(|word| String::from_utf8_lossy(word).into_owned());
        let (first, second) = (
            words.next().unwrap_or_default(),
            words.next().unwrap_or_default(),
        );
        match kind {
            b'P' => drop(self.statements.insert(first, second)),
            b'B' => self.bound = self.statements.get(&second).cloned().unwrap_or_default(),
            b'Q' => self.bound = first,
            _ => {}
        }
    }
}

/// One direction of a connection.
struct Way<'a> {
    network: &'a Network,
    session: &'a Mutex<Session>,
    fault: watch::Receiver<Fault>,
}

impl Way<'_> {
    async fn requests(
        mut self,
        mut read: impl AsyncRead + Unpin,
        mut write: Writer,
    ) -> io::Result<()> {
        // The first message has no type.
        let length = read.read_u32().await?;
        let start_up = rest(&mut read, length).await?;
        passable(&mut self.fault).await;
        write
            .write_all(&[&length.to_be_bytes()[..], &start_up].concat())
            .await?;
        loop {
            let (kind, message) = message(&mut read).await?;
            passable(&mut self.fault).await;
            let commit = {
                let mut session = self.session.lock().unwrap();
                session.see(kind, &message[5..]);
                // Each of these is answered by ReadyForQuery, and commits what ran before it.
                let is_end = matches!(kind, b'S' | b'Q');
                let commit = match *self.fault.borrow() {
                    Fault::OnCommit(commit, text) if session.bound.contains(text) => Some(commit),
                    _ => None,
                };
                if is_end {
                    session.awaited.push_back(commit);
                    session.bound.clear();
                }
                commit.filter(|_| is_end)
            };
            if commit == Some(Commit::NotDone) {
                self.network.ended.fetch_add(1, Ordering::SeqCst);
                return Ok(());
            }
            write.write_all(&message).await?;
        }
    }

    async fn answers(
        mut self,
        mut read: Reader,
        mut write: impl AsyncWrite + Unpin,
    ) -> io::Result<()> {
        let (sender, mut arriving) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
        let arrive = async {
            while let Some((at, bytes)) = arriving.recv().await {
                tokio::time::sleep_until(at).await;
                if write.write_all(&bytes).await.is_err() {
                    break;
                }
            }
        };
        let send = async move {
            let mut passed = 0;
            let mut is_silent = false;
            while let Ok((kind, message)) = message(&mut read).await {
                passable(&mut self.fault).await;
                let commit = {
                    let mut session = self.session.lock().unwrap();
                    match session.awaited.front().copied().flatten() {
                        _ if is_silent => continue,
                        commit if kind == b'Z' => {
                            session.awaited.pop_front();
                            commit
                        }
                        None => None,
                        // The rest of an answer that nobody gets.
                        Some(_) => continue,
                    }
                };
                if let Some(commit) = commit {
                    self.network.ended.fetch_add(1, Ordering::SeqCst);
                    is_silent = commit == Commit::DoneAndSilent;
                    if is_silent {
                        continue;
                    }
                    return;
                }
                let fault = *self.fault.borrow();
                let delay = match fault {
                    Fault::Latency(delay) => delay,
                    _ => Duration::ZERO,
                };
                let room = match fault {
                    Fault::CutAfter(bytes) => bytes.saturating_sub(passed),
                    _ => message.len(),
                };
                passed = match fault {
                    Fault::CutAfter(bytes) => bytes.min(passed + message.len()),
                    _ => 0,
                };
                let is_cut = room < message.len();
                let bytes = message.into_iter().take(room).collect();
                let _ = sender.send((Instant::now() + delay, bytes));
                if is_cut {
                    return;
                }
            }
        };
        // When PostgreSQL ends the connection, what it said before still arrives.
        tokio::join!(send, arrive);
        Ok(())
    }
}

/// A message: its type, its length with the length's own four bytes, and the rest.
async fn message(read: &mut (impl AsyncRead + Unpin)) -> io::Result<(u8, Vec<u8>)> {
    let kind = read.read_u8().await?;
    let length = read.read_u32().await?;
    let rest = rest(read, length).await?;
    Ok((kind, [&[kind][..], &length.to_be_bytes(), &rest].concat()))
}

async fn rest(read: &mut (impl AsyncRead + Unpin), length: u32) -> io::Result<Vec<u8>> {
    let mut rest = vec![0u8; usize::try_from(length).unwrap() - 4];
    read.read_exact(&mut rest).await?;
    Ok(rest)
}
