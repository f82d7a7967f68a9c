//! How long a connection may take for the head of a request.
//!
//! Actix times the head of a connection's first request alone: of any later one it would wait for the rest for ever.
//! So each connection has a clock here, which what is read starts and the routing of a request stops.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// How long a connection may take to send a request's head, from its first byte on.
pub(crate) const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an idle connection is kept.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// What a connection is doing. Cheap to clone: all clones are of the same connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct Connection(Rc<Cell<Phase>>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Phase {
    /// The first request has not been routed: actix times its head.
    #[default]
    First,
    /// Nothing is asked: actix times how long that is.
    Idle,
    /// A part of a head has come, the first of it or the last of an answer before it at this time.
    Head(Instant),
    /// A request is being served. Whether something has come meanwhile: its body, or the next request's head.
    Serving { has_read: bool },
    /// Nothing more has come since an answer ended, but a part of a head may have come before.
    Leftover(Instant),
}

impl Phase {
    /// When the connection is to be cut, if it stays as it is.
    fn deadline(self) -> Option<Instant> {
        match self {
            Self::Head(since) => Some(since + HEAD_TIMEOUT),
            Self::Leftover(since) => Some(since + KEEP_ALIVE + HEAD_TIMEOUT),
            Self::First | Self::Idle | Self::Serving { .. } => None,
        }
    }

    /// Whether it can turn into one with a deadline without another byte.
    fn is_watched(self) -> bool {
        !matches!(
            self,
            Self::First | Self::Idle | Self::Serving { has_read: false }
        )
    }
}

impl Connection {
    /// A request's head is complete. The answer ends when what this returns is dropped.
    pub(crate) fn serve(&self) -> Serving {
        self.0.set(Phase::Serving { has_read: false });
        Serving(self.clone())
    }

    fn read(&self) {
        match self.0.get() {
            Phase::Idle | Phase::Leftover(_) => self.0.set(Phase::Head(Instant::now())),
            Phase::Serving { .. } => self.0.set(Phase::Serving { has_read: true }),
            Phase::First | Phase::Head(_) => {}
        }
    }

    /// As long as its reader takes an answer, the next request may wait.
    fn written(&self) {
        if let Phase::Head(_) = self.0.get() {
            self.0.set(Phase::Head(Instant::now()));
        }
    }
}

/// A request that is being served.
#[derive(Debug)]
pub(crate) struct Serving(Connection);

impl Drop for Serving {
    fn drop(&mut self) {
        let connection = &self.0.0;
        connection.set(match connection.get() {
            Phase::Serving { has_read: true } => Phase::Leftover(Instant::now()),
            _ => Phase::Idle,
        });
    }
}

/// The socket of a connection, which fails to read when the clock has run out.
pub(crate) struct Timed<T> {
    socket: T,
    connection: Connection,
    /// Set once for many requests: when it goes off, the phase tells whether it is to be set again.
    alarm: Option<Pin<Box<Sleep>>>,
}

impl<T> Timed<T> {
    pub(crate) fn new(socket: T) -> Self {
        Self {
            socket,
            connection: Connection::default(),
            alarm: None,
        }
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Ready when the connection is to be cut.
    fn poll_late(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            let phase = self.connection.0.get();
            if self.alarm.is_none() && !phase.is_watched() {
                return Poll::Pending;
            }
            let next = || {
                phase
                    .deadline()
                    .unwrap_or_else(|| Instant::now() + HEAD_TIMEOUT)
            };
            let alarm = self
                .alarm
                .get_or_insert_with(|| Box::pin(sleep_until(next())));
            if let Some(deadline) = phase.deadline()
                && deadline < alarm.deadline()
            {
                alarm.as_mut().reset(deadline);
            }
            if alarm.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            if phase
                .deadline()
                .is_some_and(|deadline| deadline <= Instant::now())
            {
                return Poll::Ready(());
            }
            self.alarm = None;
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Timed<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        match Pin::new(&mut this.socket).poll_read(context, buffer) {
            Poll::Ready(Ok(())) => {
                if buffer.filled().len() > before {
                    this.connection.read();
                }
                Poll::Ready(Ok(()))
            }
            Poll::Pending => this
                .poll_late(context)
                .map(|()| Err(io::ErrorKind::TimedOut.into())),
            failed => failed,
        }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Timed<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.socket).poll_write(context, bytes);
        if written.is_ready() {
            this.connection.written();
        }
        written
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.socket).poll_write_vectored(context, slices);
        if written.is_ready() {
            this.connection.written();
        }
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    /// A connection whose first request has been answered, and its client.
    fn answered() -> (Timed<DuplexStream>, DuplexStream) {
        let (client, server) = duplex(64);
        let timed = Timed::new(server);
        drop(timed.connection().serve());
        (timed, client)
    }

    /// How long it takes until a read fails.
    async fn cut_after(timed: &mut Timed<DuplexStream>) -> Option<Duration> {
        let start = Instant::now();
        let read = async {
            let mut byte = [0];
            loop {
                if let Err(error) = timed.read_exact(&mut byte).await {
                    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
                    return start.elapsed();
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(3600), read)
            .await
            .ok()
    }

    fn about(taken: Option<Duration>, expected: Duration) {
        let taken = taken.expect("cut");
        assert!(
            taken >= expected && taken < expected + Duration::from_secs(1),
            "{taken:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_later_head_has_its_time_however_it_trickles() {
        let (mut timed, mut client) = answered();
        let trickle = tokio::spawn(async move {
            while client.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        about(cut_after(&mut timed).await, HEAD_TIMEOUT);
        drop(timed);
        trickle.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_nothing_is_left_to_actix() {
        let (mut timed, _client) = answered();
        assert_eq!(cut_after(&mut timed).await, None);
        let (_client, server) = duplex(64);
        assert_eq!(cut_after(&mut Timed::new(server)).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_is_served_has_no_deadline() {
        let (mut timed, mut client) = answered();
        client.write_all(b"head").await.unwrap();
        let mut head = [0; 4];
        timed.read_exact(&mut head).await.unwrap();
        let serving = timed.connection().serve();
        assert_eq!(cut_after(&mut timed).await, None);
        client.write_all(b"body").await.unwrap();
        assert_eq!(cut_after(&mut timed).await, None);
        drop(serving);
        // What was read may have been a part of the next head.
        about(cut_after(&mut timed).await, KEEP_ALIVE + HEAD_TIMEOUT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_after_a_long_leisure_has_its_own_time() {
        let (mut timed, mut client) = answered();
        let serving = timed.connection().serve();
        client.write_all(b"body").await.unwrap();
        let mut body = [0; 4];
        timed.read_exact(&mut body).await.unwrap();
        drop(serving);
        let asked = poll_fn(|context| Poll::Ready(timed.poll_late(context))).await;
        assert!(asked.is_pending());
        // Its alarm stands for the end of a keep-alive by now.
        tokio::time::sleep(HEAD_TIMEOUT + Duration::from_secs(2)).await;
        let asked = poll_fn(|context| Poll::Ready(timed.poll_late(context))).await;
        assert!(asked.is_pending());
        client.write_all(b"x").await.unwrap();
        about(cut_after(&mut timed).await, HEAD_TIMEOUT);
    }

    #[tokio::test(start_paused = true)]
    async fn the_clock_waits_for_the_reader_of_an_answer() {
        let (mut timed, mut client) = answered();
        client.write_all(b"x").await.unwrap();
        let mut byte = [0];
        timed.read_exact(&mut byte).await.unwrap();
        assert!(
            poll_fn(|context| Poll::Ready(timed.poll_late(context)))
                .await
                .is_pending()
        );
        tokio::time::advance(HEAD_TIMEOUT / 2).await;
        timed.write_all(b"answer").await.unwrap();
        about(cut_after(&mut timed).await, HEAD_TIMEOUT);
    }
}
