//! Writes that bear an `Idempotency-Key`.

use std::future::IntoFuture;
use std::marker::PhantomData;

use futures_util::future::BoxFuture;
use serde::de::DeserializeOwned;

use crate::builder::Client;
use crate::error::Error;
use crate::request::Request;

/// A write that was not sent yet; await what it answers.
#[must_use = "nothing is sent until it is awaited"]
pub struct Keyed<T> {
    client: Client,
    request: Result<Request, Error>,
    key: Option<String>,
    answer: PhantomData<fn() -> T>,
}

impl<T> Keyed<T> {
    pub(crate) fn new(client: &Client, request: Result<Request, Error>) -> Self {
        Self {
            client: client.clone(),
            request,
            key: None,
            answer: PhantomData,
        }
    }

    /// The `Idempotency-Key`, 1 to 255 visible ASCII characters; without it a random one is sent.
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }
}

impl<T: DeserializeOwned + 'static> IntoFuture for Keyed<T> {
    type Output = Result<T, Error>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let Self {
            client,
            request,
            key,
            answer: _,
        } = self;
        Box::pin(async move {
            let request = request?.keyed(key.as_deref())?;
            client.send(&request).await?.json()
        })
    }
}
