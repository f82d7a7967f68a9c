//! The second listener: `/metrics` and nothing else, away from the interface.

use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::ServerHandle;
use actix_web::http::{KeepAlive, Method, StatusCode, header};
use actix_web::web::{self, Bytes, Data, Payload};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::{Format, Shared};
use crate::fault::Fault;
use crate::serve;
use crate::settings::MetricsListen;

/// How it is set.
const SETTING: &str = "--metrics-listen (DEED_METRICS_LISTEN)";
/// How many connections are served at a time; more wait to be accepted. A few collectors ask a few times a minute.
const CONNECTIONS: usize = 16;
/// How long a connection may take to send its request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a scrape under way may take at the end, in seconds.
const STOP_SECONDS: u64 = 1;

/// The socket to listen on; none where metrics are switched off, or their address is another's. Metrics are no reason
/// not to serve, so that is only a warning.
///
/// # Errors
/// When the address can't be one of this machine's, or needs more rights.
pub(crate) fn bind(listen: MetricsListen) -> Result<Option<TcpListener>, Fault> {
    let MetricsListen::On(address) = listen else {
        return Ok(None);
    };
    match serve::listen_on(address) {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            log::warn!(
                address:% = address;
                "no metrics are served: {address} is in use by another process; choose another address with {SETTING}, or `off`"
            );
            Ok(None)
        }
        Err(error) => Err(serve::not_bound(address, &error, SETTING)),
    }
}

/// The listener, running.
pub(crate) struct Running {
    server: ServerHandle,
    task: JoinHandle<()>,
}

/// Serves `exporter` on `listener`, for as long as nobody stops it. Scrapes run on the present runtime.
///
/// # Errors
/// When the socket can't be used.
pub(crate) fn start(listener: TcpListener, exporter: Shared) -> std::io::Result<Running> {
    let address = listener.local_addr()?;
    let runtime = Handle::current();
    let server = HttpServer::new(move || {
        App::new()
            .app_data(Data::new(exporter.clone()))
            .app_data(Data::new(runtime.clone()))
            .default_service(web::to(answer))
    })
    .disable_signals()
    .workers(1)
    .max_connections(CONNECTIONS)
    .client_request_timeout(HEAD_TIMEOUT)
    // An idle connection would keep others out.
    .keep_alive(KeepAlive::Disabled)
    .shutdown_timeout(STOP_SECONDS)
    .listen(listener)?
    .run();
    let handle = server.handle();
    let task = tokio::spawn(async move {
        if let Err(error) = server.await {
            log::error!("metrics are no longer served: {error}");
        }
    });
    announce(address);
    Ok(Running {
        server: handle,
        task,
    })
}

fn announce(address: SocketAddr) {
    log::info!(address:% = address; "metrics are at http://{address}/metrics");
}

impl Running {
    /// Stops it; a scrape under way is answered.
    pub(crate) async fn stop(self) {
        self.server.stop(true).await;
        // It says itself what went wrong.
        let _ = self.task.await;
    }
}

/// Answers, and holds the request's body until that is sent: actix reads one that nobody holds up to its end, however
/// long that takes, and a few of those would keep everybody else out. One that is still held is cut.
async fn answer(
    request: HttpRequest,
    body: Payload,
    exporter: Data<Shared>,
    runtime: Data<Handle>,
) -> HttpResponse {
    let response = respond(request, exporter, runtime).await;
    response.map_body(|_, answer| {
        BoxBody::new(Held {
            answer,
            _request: body,
        })
    })
}

/// An answer's body with its request's, which nobody reads.
struct Held {
    answer: BoxBody,
    _request: Payload,
}

impl MessageBody for Held {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.answer.size()
    }

    fn poll_next(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.get_mut().answer).poll_next(context)
    }
}

async fn respond(
    request: HttpRequest,
    exporter: Data<Shared>,
    runtime: Data<Handle>,
) -> HttpResponse {
    if request.path() != "/metrics" {
        return line(StatusCode::NOT_FOUND, "There is only /metrics here.\n");
    }
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        let mut refusal = line(StatusCode::METHOD_NOT_ALLOWED, "Metrics are read by GET.\n");
        let allow = header::HeaderValue::from_static("GET, HEAD");
        refusal.headers_mut().insert(header::ALLOW, allow);
        return refusal;
    }
    let accept: Vec<&str> = request
        .headers()
        .get_all(header::ACCEPT)
        .filter_map(|value| value.to_str().ok())
        .collect();
    let format = Format::of_accept(&accept.join(","));
    let exporter = exporter.get_ref().clone();
    match runtime
        .spawn(async move { exporter.scrape(format).await })
        .await
    {
        Ok(Ok(text)) => HttpResponse::Ok()
            .insert_header((header::CONTENT_TYPE, format.content_type()))
            .insert_header((header::VARY, "Accept"))
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .body(text),
        Ok(Err(error)) => failed(&error),
        Err(error) => failed(&error),
    }
}

fn failed(error: &dyn std::error::Error) -> HttpResponse {
    log::error!("metrics could not be written down: {error}");
    line(
        StatusCode::INTERNAL_SERVER_ERROR,
        "The metrics could not be written down.\n",
    )
}

fn line(status: StatusCode, text: &'static str) -> HttpResponse {
    HttpResponse::build(status)
        .insert_header((header::CONTENT_TYPE, "text/plain; charset=utf-8"))
        .body(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_in_use_is_no_reason_not_to_serve() {
        let taken = serve::listen_on("127.0.0.1:0".parse().unwrap()).unwrap();
        let listen = MetricsListen::On(taken.local_addr().unwrap());
        assert!(bind(listen).unwrap().is_none());
        assert!(bind(MetricsListen::Off).unwrap().is_none());
        let free = MetricsListen::On("127.0.0.1:0".parse().unwrap());
        assert!(bind(free).unwrap().is_some());
    }

    #[test]
    fn an_address_of_another_machine_is_a_fault_that_names_the_setting() {
        let elsewhere = MetricsListen::On("192.0.2.1:9464".parse().unwrap());
        let fault = bind(elsewhere).unwrap_err().to_string();
        assert!(fault.contains("DEED_METRICS_LISTEN"), "{fault}");
    }
}
