//! A client that bears one key.

use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};
use serde_json::Value;

use crate::stream::Stream;

/// Who sends requests where.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    headers: Vec<(String, String)>,
}

/// A request that is being put together.
pub struct Request {
    builder: reqwest::RequestBuilder,
}

/// A response that was read to its end.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: String,
}

impl Client {
    /// Somebody without a key.
    #[must_use]
    pub fn anonymous(base: &str) -> Self {
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .read_timeout(Duration::from_secs(70))
            .build()
            .unwrap();
        Self {
            http,
            base: base.to_owned(),
            headers: Vec::new(),
        }
    }

    /// The bearer of `key`.
    #[must_use]
    pub fn with_key(&self, key: &str) -> Self {
        Self {
            headers: vec![("X-API-Key".to_owned(), key.to_owned())],
            ..self.clone()
        }
    }

    /// The key that it bears.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers.find_map(|(name, value)| (name == "X-API-Key").then_some(value.as_str()))
    }

    /// The same, with one more header on every request.
    #[must_use]
    pub fn with_header(&self, name: &str, value: &str) -> Self {
        let mut other = self.clone();
        other.headers.push((name.to_owned(), value.to_owned()));
        other
    }

    /// The same, at another server.
    #[must_use]
    pub fn at(&self, base: &str) -> Self {
        Self {
            base: base.to_owned(),
            ..self.clone()
        }
    }

    /// A request. `path` begins with a slash.
    #[must_use]
    pub fn request(&self, method: &str, path: &str) -> Request {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let mut builder = self.http.request(method, format!("{}{path}", self.base));
        for (name, value) in &self.headers {
            builder = builder.header(name, value);
        }
        Request { builder }
    }

    /// GET.
    #[must_use]
    pub fn get(&self, path: &str) -> Request {
        self.request("GET", path)
    }

    /// POST of a JSON body.
    #[must_use]
    pub fn post(&self, path: &str, body: &Value) -> Request {
        self.request("POST", path).json(body)
    }

    /// Registers a user with a name of their own, and answers its id.
    pub async fn new_user(&self) -> String {
        let email = format!("{}@example.com", crate::unique());
        let body =
            serde_json::json!({"email": email, "name": "Somebody", "password": "correct horse"});
        self.post("/users", &body).send().await.json(201)["id"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// Issues a key of `user` as the root key, and answers the client that bears it.
    pub async fn new_key(&self, user: &str, scopes: &[&str]) -> Self {
        self.with_key(
            self.issue(user, serde_json::json!({"name": "e2e", "scopes": scopes}))
                .await["secret"]
                .as_str()
                .unwrap(),
        )
    }

    /// Issues a key of `user` as the root key; the answer's body.
    pub async fn issue(&self, user: &str, body: Value) -> Value {
        self.post("/api-keys", &body)
            .header("X-User-ID", user)
            .send()
            .await
            .json(201)
    }
}

impl Request {
    /// One more header.
    #[must_use]
    pub fn header(self, name: &str, value: &str) -> Self {
        Self {
            builder: self.builder.header(name, value),
        }
    }

    /// A JSON body.
    #[must_use]
    pub fn json(self, body: &Value) -> Self {
        self.text("application/json", body.to_string())
    }

    /// A body of any kind.
    #[must_use]
    pub fn text(self, content_type: &str, body: impl Into<String>) -> Self {
        Self {
            builder: self
                .builder
                .header("Content-Type", content_type)
                .body(body.into()),
        }
    }

    /// Sends it and reads the whole answer.
    pub async fn send(self) -> Answer {
        self.try_send().await.unwrap()
    }

    /// The same, where the server may be away.
    pub async fn try_send(self) -> reqwest::Result<Answer> {
        let response = self.builder.send().await?;
        Ok(Answer {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: response.text().await?,
        })
    }

    /// Sends it and reads the answer as an event stream, as it comes.
    pub async fn stream(self) -> Stream {
        match self.try_stream().await {
            Ok(stream) => stream,
            Err(problem) => panic!("no stream: {problem}"),
        }
    }

    /// The same, where the server may be away or refuse it; else what it said.
    pub async fn try_stream(self) -> Result<Stream, String> {
        let response = self
            .builder
            .send()
            .await
            .map_err(|error| error.to_string())?;
        if response.status() == StatusCode::OK {
            return Ok(Stream::new(response));
        }
        let status = response.status();
        let body = response.text().await.map_err(|error| error.to_string())?;
        Err(format!("{status} {body}"))
    }
}

impl Answer {
    /// The body as JSON, of an answer that has this status.
    #[track_caller]
    pub fn json(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.body);
        match serde_json::from_str(&self.body) {
            Ok(value) => value,
            Err(error) => panic!("{error}: {}", self.body),
        }
    }

    /// The problem in the body, of an answer that has this status and this code.
    #[track_caller]
    pub fn problem(&self, status: u16, code: &str) -> Value {
        let problem = self.json(status);
        assert_eq!(problem["error"], code, "{problem}");
        assert_eq!(problem["status"], status, "{problem}");
        assert_eq!(problem["type"], format!("/problems/{code}"), "{problem}");
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(
            self.header("x-request-id"),
            problem["request_id"],
            "{problem}"
        );
        problem
    }

    /// The value of a header; empty when it is missing.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }
}
