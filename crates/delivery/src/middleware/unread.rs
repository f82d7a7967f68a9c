//! What is left of a request's body when its answer is sent.
//!
//! Actix reads a chunked body that nobody holds any more up to its end, without a deadline: one that never ends would
//! keep its connection for ever. Where the body is still held when the answer ends, actix says `Connection: close`,
//! discards what comes for the time that a client has to disconnect, and closes. So each body is held here.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use actix_web::HttpMessage;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest};
use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::{StreamExt, poll_fn};

/// A request's body, shared by whoever reads it and the answer.
#[derive(Clone)]
pub(super) struct Held(Rc<RefCell<Payload>>);

impl Held {
    /// Takes hold of the request's body, if it comes from a connection. It is read as before.
    pub(super) fn of(request: &mut ServiceRequest) -> Option<Self> {
        if !matches!(request.parts().1, Payload::H1 { .. }) {
            return None;
        }
        let held = Self(Rc::new(RefCell::new(request.take_payload())));
        let reader = held.clone();
        let payload =
            poll_fn(move |context| Pin::new(&mut *reader.0.borrow_mut()).poll_next(context));
        request.set_payload(Payload::Stream {
            payload: payload.boxed_local(),
        });
        Some(held)
    }

    /// The same answer, which keeps hold of the request's body until it is sent.
    pub(super) fn until_sent(&self, body: BoxBody) -> BoxBody {
        BoxBody::new(Answer {
            body,
            _request: self.clone(),
        })
    }
}

struct Answer {
    body: BoxBody,
    _request: Held,
}

impl MessageBody for Answer {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        match self.body.size() {
            // Boxing lets go of a body of no size at all. It is written as an empty one, where a status has one.
            BodySize::None => BodySize::Sized(0),
            size => size,
        }
    }

    fn poll_next(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_next(context)
    }
}
