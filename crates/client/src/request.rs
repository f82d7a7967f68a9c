//! Sends a request, again where that helps, and reads what comes.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use deed_api::problem::{MEDIA_TYPE, Problem};
use reqwest::header::{ACCEPT, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue, LOCATION};
use reqwest::{Response, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep, timeout};

use crate::builder::Client;
use crate::error::{Error, Refusal};
use crate::operation::{Operation, Repeat};
use crate::random;
use crate::retry::retry_after;

/// How many bytes an answer may have: room for a page of the largest objects that there are.
const ANSWER_MAX: usize = 512 * 1024 * 1024;
/// How many bytes the answer of a refusal may have.
const PROBLEM_MAX: usize = 1024 * 1024;

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const USER_ID: HeaderName = HeaderName::from_static("x-user-id");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// A request, ready to be sent as often as needed.
pub(crate) struct Request {
    pub(crate) operation: &'static Operation,
    repeat: Repeat,
    url: Url,
    headers: HeaderMap,
    body: Bytes,
    timeout: Duration,
}

/// An answer below 400, read to its end.
pub(crate) struct Answer {
    operation: &'static Operation,
    pub(crate) status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

/// An object, with the tag that names this very version of it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tagged<T> {
    /// The object.
    pub value: T,
    /// Its tag, as it stands in a header.
    pub etag: String,
}

impl Client {
    /// A request of `operation`; `values` stand where its path has parameters, in their order.
    pub(crate) fn request(&self, operation: &'static Operation, values: &[&str]) -> Request {
        let mut headers = HeaderMap::new();
        if let Some(key) = &self.shared.key {
            headers.insert(API_KEY, key.clone());
        }
        let user = self
            .user
            .map(|user| HeaderValue::from_str(&user.to_string()));
        if let Some(Ok(user)) = user {
            headers.insert(USER_ID, user);
        }
        Request {
            operation,
            repeat: operation.repeat,
            url: url(&self.shared.base, operation.path, values),
            headers,
            body: Bytes::new(),
            timeout: self.shared.request_timeout,
        }
    }

    /// Sends it and reads the answer to its end.
    pub(crate) async fn send(&self, request: &Request) -> Result<Answer, Error> {
        let mut repetition = Repetition::new(self, request.repeat);
        loop {
            let attempt = async {
                let response = self.open(request).await?;
                read(request.operation, response).await
            };
            match limited(request, attempt).await {
                Ok(answer) => return Ok(answer),
                Err(error) => repetition.wait(error).await?,
            }
        }
    }

    /// Sends it and answers as soon as the head of the answer is there. The body has no time limit.
    pub(crate) async fn start(&self, request: &Request) -> Result<Response, Error> {
        let mut repetition = Repetition::new(self, request.repeat);
        loop {
            match self.start_once(request).await {
                Ok(response) => return Ok(response),
                Err(error) => repetition.wait(error).await?,
            }
        }
    }

    /// The same, without a second try.
    pub(crate) async fn start_once(&self, request: &Request) -> Result<Response, Error> {
        limited(request, self.open(request)).await
    }

    /// One try, up to the head of an answer below 400.
    async fn open(&self, request: &Request) -> Result<Response, Error> {
        let id = request.operation.id;
        let response = self
            .shared
            .http
            .request(request.operation.method.clone(), request.url.clone())
            .headers(request.headers.clone())
            .body(request.body.clone())
            .send()
            .await
            .map_err(|error| Error::connection(id, error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        if status.as_u16() < 400 {
            return Err(Error::protocol(
                id,
                format!("an unexpected status {status}"),
            ));
        }
        Err(Error::Refused(Box::new(refusal(response).await)))
    }
}

/// Decides after each failure whether there is another try.
struct Repetition<'a> {
    client: &'a Client,
    repeat: Repeat,
    done: u32,
    began: Instant,
    /// Whether any try may have arrived.
    was_sent: bool,
}

impl<'a> Repetition<'a> {
    fn new(client: &'a Client, repeat: Repeat) -> Self {
        Self {
            client,
            repeat,
            done: 0,
            began: Instant::now(),
            was_sent: false,
        }
    }

    /// Waits for the next try; gives `error` back where there is none.
    async fn wait(&mut self, mut error: Error) -> Result<(), Error> {
        let retry = &self.client.shared.retry;
        let pause = retry.pause(self.repeat, &error, self.done, self.began.elapsed());
        match &mut error {
            // What the last try did not send, one before it may have.
            Error::Connection { is_unsent, .. } if pause.is_none() => *is_unsent &= !self.was_sent,
            Error::Connection { is_unsent, .. } => self.was_sent |= !*is_unsent,
            _ => self.was_sent = true,
        }
        match pause {
            Some(pause) => sleep(pause).await,
            None => return Err(error),
        }
        self.done += 1;
        Ok(())
    }
}

async fn limited<T>(
    request: &Request,
    attempt: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    match timeout(request.timeout, attempt).await {
        Ok(result) => result,
        Err(_) => Err(Error::Timeout {
            operation: request.operation.id,
            limit: request.timeout,
        }),
    }
}

async fn read(operation: &'static Operation, mut response: Response) -> Result<Answer, Error> {
    let (status, headers) = (response.status(), response.headers().clone());
    let body = whole(&mut response, ANSWER_MAX)
        .await
        .map_err(|error| Error::connection(operation.id, error))?
        .ok_or_else(|| Error::protocol(operation.id, format!("more than {ANSWER_MAX} bytes")))?;
    Ok(Answer {
        operation,
        status,
        headers,
        body,
    })
}

/// The body; `None` when it is larger than `limit`.
async fn whole(response: &mut Response, limit: usize) -> reqwest::Result<Option<Bytes>> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len().saturating_add(chunk.len()) > limit {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body.freeze()))
}

async fn refusal(mut response: Response) -> Refusal {
    let status = response.status().as_u16();
    let retry_after = retry_after(response.headers());
    let request_id = text(response.headers(), &REQUEST_ID).map(str::to_owned);
    let is_problem = media_type(response.headers()) == MEDIA_TYPE;
    // A refusal is one, even if what it says does not arrive.
    let body = whole(&mut response, PROBLEM_MAX).await.ok().flatten();
    let problem: Option<Problem> = body
        .filter(|_| is_problem)
        .and_then(|body| serde_json::from_slice(&body).ok());
    Refusal {
        status,
        request_id: request_id.or_else(|| Some(problem.as_ref()?.request_id.clone())),
        problem,
        retry_after,
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// The type of an answer's body, without its parameters.
pub(crate) fn media_type(headers: &HeaderMap) -> &str {
    let value = text(headers, &CONTENT_TYPE).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim()
}

/// Whether an answer is that of an earlier request with the same `Idempotency-Key`.
pub(crate) fn is_replay(headers: &HeaderMap) -> bool {
    text(headers, &IDEMPOTENCY_REPLAYED) == Some("true")
}

/// Where an answer says that its object is.
pub(crate) fn location(headers: &HeaderMap) -> Option<&str> {
    text(headers, &LOCATION)
}

fn url(base: &Url, path: &str, values: &[&str]) -> Url {
    let mut url = base.clone();
    let mut values = values.iter();
    // Only a URL that can't be a base has no segments, and the builder refuses those.
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty();
        for segment in path.split('/').skip(1) {
            if segment.starts_with('{') {
                segments.push(values.next().copied().unwrap_or_default());
            } else {
                segments.push(segment);
            }
        }
    }
    url
}

impl Request {
    /// With a header.
    pub(crate) fn header(mut self, name: HeaderName, value: &str) -> Result<Self, Error> {
        let value = HeaderValue::from_str(value).map_err(|_| {
            Error::Invalid(format!("{name} has characters that no header may have"))
        })?;
        self.headers.insert(name, value);
        Ok(self)
    }

    /// Asks for a media type.
    pub(crate) fn accept(self, media_type: &'static str) -> Self {
        let mut request = self;
        let value = HeaderValue::from_static(media_type);
        request.headers.insert(ACCEPT, value);
        request
    }

    /// With a JSON body.
    pub(crate) fn json(mut self, body: &impl Serialize) -> Result<Self, Error> {
        self.body = serde_json::to_vec(body)?.into();
        let value = HeaderValue::from_static("application/json");
        self.headers.insert(CONTENT_TYPE, value);
        Ok(self)
    }

    /// With a body of one JSON value a line.
    pub(crate) fn lines<T: Serialize>(mut self, items: &[T]) -> Result<Self, Error> {
        let mut body = Vec::new();
        for item in items {
            let line = serde_json::to_vec(item)?;
            // Text that was kept as it came may have line breaks between its tokens.
            body.extend(line.into_iter().map(|byte| match byte {
                b'\n' | b'\r' => b' ',
                byte => byte,
            }));
            body.push(b'\n');
        }
        self.body = body.into();
        let value = HeaderValue::from_static("application/x-ndjson");
        self.headers.insert(CONTENT_TYPE, value);
        Ok(self)
    }

    /// With a query.
    pub(crate) fn query(mut self, query: &str) -> Self {
        self.url.set_query((!query.is_empty()).then_some(query));
        self
    }

    /// With an `Idempotency-Key`: this one, or one of its own.
    pub(crate) fn keyed(self, key: Option<&str>) -> Result<Self, Error> {
        let key = match key {
            Some(key) => key.to_owned(),
            None => random::idempotency_key()?,
        };
        let is_valid =
            (1..=255).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_valid {
            let what = "an Idempotency-Key has 1 to 255 visible ASCII characters";
            return Err(Error::Invalid(what.to_owned()));
        }
        // Quoted, so that a quotation mark at its beginning is one.
        let quoted = format!("\"{}\"", key.replace('\\', "\\\\").replace('"', "\\\""));
        self.header(IDEMPOTENCY_KEY, &quoted)
    }

    /// Such that it acts once however often it is sent: something in it says that it is the same.
    pub(crate) fn repeatable(mut self) -> Self {
        self.repeat = Repeat::Safe;
        self
    }

    /// With more time, because the server is asked to wait so long.
    pub(crate) fn patient(mut self, wait: Duration) -> Self {
        self.timeout = self.timeout.saturating_add(wait);
        self
    }
}

impl Answer {
    /// The body as what it should be. Members that this client doesn't know are no fault.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.body).map_err(|error| {
            // Without the body's own words: it may hold a secret.
            let (line, column) = (error.line(), error.column());
            let what = format!("the body is not what it should be, at line {line} column {column}");
            Error::protocol(self.operation.id, what)
        })
    }

    /// The same, with its tag.
    pub(crate) fn tagged<T: DeserializeOwned>(&self) -> Result<Tagged<T>, Error> {
        let etag = text(&self.headers, &ETAG)
            .ok_or_else(|| Error::protocol(self.operation.id, "no ETag"))?
            .to_owned();
        let value = self.json()?;
        Ok(Tagged { value, etag })
    }

    /// The body as text.
    pub(crate) fn text(&self) -> Result<String, Error> {
        String::from_utf8(self.body.to_vec())
            .map_err(|_| Error::protocol(self.operation.id, "the body is not UTF-8"))
    }

    pub(crate) fn is_replay(&self) -> bool {
        is_replay(&self.headers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation;

    fn client(base: &str) -> Client {
        Client::builder(base).api_key("deedk_x").build().unwrap()
    }

    #[test]
    fn paths_are_put_behind_the_base_and_encoded() {
        let check = |base: &str, value: &str, expected: &str| {
            let request = client(base).request(operation::GET_ACTION_TYPE, &[value]);
            assert_eq!(request.url.as_str(), expected);
        };
        check("http://a", "echo", "http://a/action-types/echo");
        check("http://a/x/", "echo", "http://a/x/action-types/echo");
        check(
            "http://a/x",
            "a/../b?c#d",
            "http://a/x/action-types/a%2F..%2Fb%3Fc%23d",
        );
    }

    #[test]
    fn idempotency_keys_are_quoted_and_bounded() {
        let request = |key: &str| {
            client("http://a")
                .request(operation::CREATE_ACTION, &[])
                .keyed(Some(key))
                .map(|request| {
                    request.headers[&IDEMPOTENCY_KEY]
                        .to_str()
                        .unwrap()
                        .to_owned()
                })
        };
        assert_eq!(request("order-1").unwrap(), "\"order-1\"");
        assert_eq!(request("\"a\\").unwrap(), "\"\\\"a\\\\\"");
        for wrong in ["", "a b", "é", &"k".repeat(256)] {
            assert!(request(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_key_and_the_user_go_along() {
        let user = uuid::Uuid::from_u128(7);
        let request = client("http://a")
            .as_user(user)
            .request(operation::GET_ME, &[]);
        assert_eq!(request.headers[&API_KEY], "deedk_x");
        assert_eq!(request.headers[&USER_ID], user.to_string().as_str());
    }

    #[test]
    fn a_body_that_is_none_of_ours_is_told_without_its_words() {
        let answer = Answer {
            operation: operation::GET_ME,
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: Bytes::from_static(b"{\"secret\": \"deedk_x\"}"),
        };
        let error = answer.json::<Problem>().unwrap_err().to_string();
        assert!(
            error.contains("line 1") && !error.contains("deedk_x"),
            "{error}"
        );
    }
}
