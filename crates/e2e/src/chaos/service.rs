//! The servers as a client sees them: either may be gone at any moment.

use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;

use super::random::Random;

/// What came of a request.
#[derive(Debug)]
pub enum Answer {
    /// A whole answer.
    Told {
        /// Its status.
        status: u16,
        /// Its headers.
        headers: HeaderMap,
        /// Its body; null where it is not JSON.
        body: Value,
    },
    /// None, or a part of one: the request may have had its effect or not.
    Unknown,
}

impl Answer {
    /// The status and the code of a problem, if there is one. Status 408 says that the server has not read the request in
    /// time, and so has one that was frozen meanwhile not; 503 that it could not serve it; 0 is no answer.
    #[must_use]
    pub fn code(&self) -> (u16, &str) {
        match self {
            Self::Told { status, body, .. } => (*status, body["error"].as_str().unwrap_or("")),
            Self::Unknown => (0, ""),
        }
    }
}

/// Several servers, and a key for them.
#[derive(Debug, Clone)]
pub struct Service {
    http: Client,
    replicas: Vec<String>,
    key: String,
}

impl Service {
    /// These servers.
    #[must_use]
    pub fn new(replicas: &[String], key: &str) -> Self {
        let http = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(2))
            .build()
            .unwrap();
        Self {
            http,
            replicas: replicas.to_vec(),
            key: key.to_owned(),
        }
    }

    /// Any of the servers.
    pub fn any(&self, random: &mut Random) -> usize {
        random.place(self.replicas.len())
    }

    /// A request to one of them.
    pub fn request(&self, replica: usize, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}{path}", self.replicas[replica]);
        let request = self.http.request(method, url);
        request.header("X-API-Key", &self.key)
    }

    /// POST of a JSON body.
    pub fn post(&self, replica: usize, path: &str, body: &Value) -> RequestBuilder {
        self.request(replica, Method::POST, path)
            .header("Content-Type", "application/json")
            .body(body.to_string())
    }
}

/// Sends a request and reads the whole answer, for so long: a frozen server gives none.
pub async fn ask(request: RequestBuilder, limit: Duration) -> Answer {
    let answer = async {
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = response.bytes().await?;
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Ok::<_, reqwest::Error>(Answer::Told {
            status,
            headers,
            body,
        })
    };
    match tokio::time::timeout(limit, answer).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) | Err(_) => Answer::Unknown,
    }
}
