//! Tells the connection's clock when an answer ends.

use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::HttpResponse;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use bytes::Bytes;

use crate::connection::Serving;

/// A stream is being served until it ends; any other answer is made when it is handed over.
pub(super) fn until_sent(response: HttpResponse, serving: Option<Serving>) -> HttpResponse {
    match (serving, response.body().size()) {
        (Some(serving), BodySize::Stream) => response.map_body(|_, body| {
            BoxBody::new(Answer {
                body,
                _serving: serving,
            })
        }),
        _ => response,
    }
}

struct Answer {
    body: BoxBody,
    _serving: Serving,
}

impl MessageBody for Answer {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_next(context)
    }
}
