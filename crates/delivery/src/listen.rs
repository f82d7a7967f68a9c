//! Serves the interface on a socket.

use std::io;
use std::net::TcpListener;
use std::time::Duration;

use actix_http::HttpService;
use actix_server::Server;
use actix_service::{IntoServiceFactory as _, ServiceFactoryExt as _, fn_service, map_config};
use actix_web::dev::AppConfig;
use actix_web::rt::net::TcpStream;

use crate::app::{Api, app};
use crate::connection::{HEAD_TIMEOUT, KEEP_ALIVE, Timed};

/// For how long what a client still sends is read and thrown away when its answer is written: a socket that is closed with
/// something unread resets the connection, and the answer is lost.
const LINGER: Duration = Duration::from_secs(1);

/// How long requests in flight may take to be answered when the server stops.
const ANSWER: Duration = Duration::from_secs(5);

/// Serves HTTP/1.1 on `listener`, with as many `workers` as are to parse and encode at the same time. Signals are left
/// to the caller, who stops the server by its handle.
///
/// A head has 10 s from its first byte on; an idle connection is kept for 75 s.
///
/// # Errors
/// When the socket can't be used.
pub fn listen(api: Api, listener: TcpListener, workers: usize) -> io::Result<Server> {
    let address = listener.local_addr()?;
    let builder = Server::build()
        .workers(workers)
        .disable_signals()
        .shutdown_timeout(ANSWER.as_secs());
    let stop = builder.graceful_shutdown_signal();
    let builder = builder.listen("http", listener, move || {
        let app = app(&api)
            .into_factory()
            .map_err(|error: actix_web::Error| error.error_response());
        let stop = stop.clone();
        let service = HttpService::build()
            .graceful_shutdown_signal(move || {
                let stop = stop.clone();
                async move { stop.notified().await }
            })
            .client_request_timeout(HEAD_TIMEOUT)
            .keep_alive(KEEP_ALIVE)
            .client_disconnect_timeout(LINGER)
            // Who hangs up is noticed at once, and not at the next write: nothing is leased for a worker that is gone.
            .h1_allow_half_closed(false)
            .local_addr(address)
            .on_connect_ext(|socket: &Timed<TcpStream>, extensions| {
                extensions.insert(socket.connection().clone());
            })
            .h1(map_config(app, |()| AppConfig::default()));
        fn_service(|socket: TcpStream| async move {
            let peer = socket.peer_addr().ok();
            Ok((Timed::new(socket), peer))
        })
        .and_then(service)
    })?;
    Ok(builder.run())
}
