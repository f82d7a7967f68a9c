//! The gate between a request's credentials and the rest of it.
//!
//! Actix polls the extractors of a handler side by side, and the first error wins. The caller's extractor, which
//! stands first in a signature, closes the gate when it is made and opens it when the caller is known.

use std::future::Future;

use actix_web::{HttpMessage, HttpRequest};
use futures_util::future::{FutureExt, LocalBoxFuture};
use tokio::sync::watch;

use crate::problem::Refusal;

#[derive(Clone)]
struct Gate(watch::Receiver<bool>);

/// Opens the gate when the caller is known. Dropped unopened, it leaves everyone waiting: the request is refused.
pub(super) struct Doorkeeper(watch::Sender<bool>);

impl Doorkeeper {
    pub(super) fn open(self) {
        self.0.send_replace(true);
    }
}

/// Closes the gate of this request.
pub(super) fn close(request: &HttpRequest) -> Doorkeeper {
    let (sender, receiver) = watch::channel(false);
    request.extensions_mut().insert(Gate(receiver));
    Doorkeeper(sender)
}

/// Runs `read` once the caller is known, or at once where the handler asks for none.
pub(super) fn after<T: 'static>(
    request: &HttpRequest,
    read: impl Future<Output = Result<T, Refusal>> + 'static,
) -> LocalBoxFuture<'static, Result<T, Refusal>> {
    let gate = request.extensions().get::<Gate>().cloned();
    async move {
        if let Some(Gate(mut open)) = gate
            && open.wait_for(|open| *open).await.is_err()
        {
            // The caller was refused, and that answer has won already.
            std::future::pending::<()>().await;
        }
        read.await
    }
    .boxed_local()
}
