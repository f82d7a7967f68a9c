//! Binds, runs, drains.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use anyhow::Context as _;
use deed_adapters::postgres::migrate;
use deed_delivery::Api;
use deed_domain::ports::ActionHandler;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::fault::{Exit, Fault};
use crate::limits;
use crate::metrics::listener;
use crate::preflight::Need;
use crate::settings::Settings;
use crate::wire::{self, Background};

/// How long `/readyz` says that the server drains before it stops to accept, so that a load balancer can hear it.
const LINGER: Duration = Duration::from_millis(500);
/// How long draining may take altogether.
const DRAIN: Duration = Duration::from_secs(28);
/// How many connections may wait to be accepted.
const BACKLOG: i32 = 1024;
/// How long a peer may leave sent bytes unacknowledged before the kernel cuts the connection.
const USER_TIMEOUT: Duration = Duration::from_secs(30);
/// How much the kernel buffers for a reader that stalls. Without it, about 4 MB each.
const SEND_BUFFER: usize = 64 * 1024;

/// A server that runs.
pub struct Running {
    address: SocketAddr,
    http: ServerHandle,
    http_task: JoinHandle<std::io::Result<()>>,
    ended: watch::Receiver<bool>,
    background: Background,
    metrics: Option<listener::Running>,
    draining: watch::Sender<bool>,
}

impl Running {
    /// The address that is served, with the port that was chosen where 0 was asked for.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the interface stands, without a slash at its end.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns when the HTTP server has stopped by itself.
    pub(crate) async fn failed(&self) {
        let mut ended = self.ended.clone();
        let _ = ended.wait_for(|ended| *ended).await;
    }

    /// Stops: `/readyz` says so at once, streams and waits end, work in flight finishes or goes back to the queue.
    /// Takes less than 30 s; what is not done by then is left to other replicas.
    pub async fn drain(self) {
        log::info!("draining: no new work is taken, and what is under way finishes");
        self.draining.send_replace(true);
        match tokio::time::timeout(DRAIN, self.finish()).await {
            Ok(()) => log::info!("stopped: everything under way was finished or given back"),
            Err(_) => log::warn!("stopped before all was done; leases that are left will expire"),
        }
    }

    async fn finish(mut self) {
        tokio::join!(self.background.finish_work(), tokio::time::sleep(LINGER));
        self.http.stop(true).await;
        let _ = self.http_task.await;
        self.background.stop().await;
        // The last to go: a drain is watched too.
        if let Some(metrics) = self.metrics {
            metrics.stop().await;
        }
    }
}

pub(crate) async fn start(
    handlers: Vec<Arc<dyn ActionHandler>>,
    database_url: &str,
    settings: &Settings,
) -> anyhow::Result<Running> {
    settings.check()?;
    limits::raise_open_files();
    start_on(bind(settings.listen)?, handlers, database_url, settings).await
}

/// The same on an address that is bound already.
pub(crate) async fn start_on(
    listener: TcpListener,
    handlers: Vec<Arc<dyn ActionHandler>>,
    database_url: &str,
    settings: &Settings,
) -> anyhow::Result<Running> {
    let address = listener.local_addr()?;
    let database =
        wire::connect(database_url, usize::from(settings.pool_size), Need::Durable).await?;
    refuse_when_behind(&migrate::lacking(&database).await?)?;

    let metrics = listener::bind(settings.metrics_listen)?;
    let (draining, drain_signal) = watch::channel(false);
    let (parts, background, exporter) =
        wire::wire(database, handlers, settings, drain_signal).await?;
    let api = Api::new(parts).context("the OpenAPI document can't be made")?;

    let server = deed_delivery::listen(api, listener, wire::available_cores())
        .context("the listening socket can't be used")?;
    let http = server.handle();
    let (ended_sender, ended) = watch::channel(false);
    let http_task = tokio::spawn(async move {
        let result = server.await;
        if let Err(error) = &result {
            log::error!(error:err = *error; "the HTTP server failed");
        }
        ended_sender.send_replace(true);
        result
    });
    let metrics = metrics
        .map(|listener| listener::start(listener, Arc::new(exporter)))
        .transpose()
        .context("the socket of the metrics can't be used")?;
    let running = Running {
        address,
        http,
        http_task,
        ended,
        background,
        metrics,
        draining,
    };
    log::info!(address:% = address; "listening on {}", running.base_url());
    Ok(running)
}

pub(crate) fn refuse_when_behind(pending: &[String]) -> Result<(), Fault> {
    if pending.is_empty() {
        return Ok(());
    }
    Err(Fault::new(
        Exit::DatabaseBehind,
        format!(
            "The database lacks {} migration(s): {}",
            pending.len(),
            pending.join(", ")
        ),
        "Run `deed migrate up`, or serve with --migrate",
    ))
}

/// The listening socket of the interface.
///
/// # Errors
/// Says why the address can't be listened on.
pub(crate) fn bind(address: SocketAddr) -> Result<TcpListener, Fault> {
    listen_on(address).map_err(|error| not_bound(address, &error, "--listen (DEED_LISTEN)"))
}

/// A listening socket. Linux passes these options on to each accepted one: no timer of ours could cut a reader that
/// stalls, because nothing polls a body while the write buffer is full.
pub(crate) fn listen_on(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // A server that was killed can bind its address again at once.
    socket.set_reuse_address(true)?;
    socket.set_keepalive(true)?;
    socket.set_send_buffer_size(SEND_BUFFER)?;
    cut_silent_peers(&SockRef::from(&socket))?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Why `address`, which `setting` names, can't be listened on.
pub(crate) fn not_bound(address: SocketAddr, error: &std::io::Error, setting: &str) -> Fault {
    let (cause, mend) = match error.kind() {
        std::io::ErrorKind::AddrInUse => (
            format!("{address} is in use by another process"),
            format!("Stop it, or choose another address with {setting}"),
        ),
        std::io::ErrorKind::PermissionDenied => (
            format!("{address} can't be listened on without more rights"),
            format!("Choose a port from 1024 on with {setting}, or grant CAP_NET_BIND_SERVICE"),
        ),
        _ => (
            format!("{address} can't be listened on: {error}"),
            format!("Choose an address of this machine with {setting}"),
        ),
    };
    Fault::new(Exit::AddressInUse, cause, mend)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn cut_silent_peers(socket: &SockRef<'_>) -> std::io::Result<()> {
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn cut_silent_peers(_: &SockRef<'_>) -> std::io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_in_use_is_said_in_one_sentence() {
        let first = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let taken = first.local_addr().unwrap();
        let error = bind(taken).unwrap_err().to_string();
        assert!(
            error.contains("is in use") && error.contains("--listen"),
            "{error}"
        );
    }

    #[test]
    fn a_database_that_is_behind_is_refused_with_the_command() {
        assert!(refuse_when_behind(&[]).is_ok());
        let error = refuse_when_behind(&["0001_identity".to_owned()])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("deed migrate up") && error.contains("0001_identity"),
            "{error}"
        );
    }
}
