//! Every refusal and failure as a problem: one type for handlers to return, one table that gives it words.
//!
//! A handler or extractor answers a [`Refusal`]. Actix turns it into a response without a body; the outermost
//! middleware, which alone knows the request's id and path, writes the body. So whatever else answers with 4xx or
//! 5xx (the framework, another middleware) comes out in the same shape.

pub mod code;
mod domain;
mod page;

use std::error::Error;
use std::fmt;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, HeaderValue, RETRY_AFTER};
use actix_web::{HttpResponse, ResponseError};
use deed_api::problem::{Fault, Problem};

pub use code::ErrorCode;
pub(crate) use page::html as page_html;
pub use page::markdown;

/// A request that is answered with a problem.
#[derive(Debug)]
pub struct Refusal(Box<Parts>);

#[derive(Debug)]
struct Parts {
    code: ErrorCode,
    message: Option<String>,
    faults: Vec<Fault>,
    headers: Vec<(HeaderName, HeaderValue)>,
    cause: Option<Box<dyn Error + Send + Sync>>,
}

impl Refusal {
    /// A refusal in the words of the table.
    pub fn new(code: ErrorCode) -> Self {
        Self(Box::new(Parts {
            code,
            message: None,
            faults: Vec::new(),
            headers: Vec::new(),
            cause: None,
        }))
    }

    /// What the table says of this code, said more exactly. Never an inner error's text.
    pub fn message(mut self, message: impl Into<String>) -> Self {
        self.0.message = Some(message.into());
        self
    }

    /// The places in the request that are at fault.
    pub fn faults(mut self, faults: Vec<Fault>) -> Self {
        self.0.faults = faults;
        self
    }

    /// A header that belongs to the answer.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }

    /// After how long to try again, in whole seconds, rounded up, at least one.
    pub(crate) fn retry_after(self, pause: Duration) -> Self {
        let rest = u64::from(pause.subsec_nanos() > 0);
        let seconds = pause.as_secs().saturating_add(rest).max(1);
        self.header(RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// Where to find what was made before the failure.
    pub(crate) fn located(self, location: &str) -> Self {
        match HeaderValue::from_str(location) {
            Ok(location) => self.header(actix_web::http::header::LOCATION, location),
            Err(_) => self,
        }
    }

    /// What is behind a failure of ours: logged once, never shown.
    pub fn because(mut self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.0.cause = Some(cause.into());
        self
    }

    /// One broken header.
    pub(crate) fn bad_header(name: &str, message: impl Into<String>) -> Self {
        Self::new(ErrorCode::ValidationFailed).faults(vec![Fault::in_header(name, message)])
    }

    /// One broken query or path parameter.
    pub(crate) fn bad_parameter(name: &str, message: impl Into<String>) -> Self {
        Self::new(ErrorCode::ValidationFailed).faults(vec![Fault::in_parameter(name, message)])
    }

    /// One broken place in the body.
    pub(crate) fn bad_pointer(pointer: &str, message: impl Into<String>) -> Self {
        Self::new(ErrorCode::ValidationFailed).faults(vec![Fault::at_pointer(pointer, message)])
    }

    /// The code of this refusal.
    pub fn code(&self) -> ErrorCode {
        self.0.code
    }

    /// The faults named so far.
    pub fn named_faults(&self) -> &[Fault] {
        &self.0.faults
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.code.entry().code)
    }
}

impl Error for Refusal {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.cause.as_deref().map(|cause| {
            let cause: &(dyn Error + 'static) = cause;
            cause
        })
    }
}

impl ResponseError for Refusal {
    fn status_code(&self) -> StatusCode {
        self.0.code.entry().status
    }

    /// The response without its body; what the body needs rides along as a draft.
    fn error_response(&self) -> HttpResponse {
        if let Some(cause) = &self.0.cause {
            log_failure(self.0.code, cause.as_ref());
        }
        let mut response = HttpResponse::new(self.status_code());
        for (name, value) in &self.0.headers {
            response.headers_mut().append(name.clone(), value.clone());
        }
        for (name, value) in self.0.code.entry().headers() {
            if !response.headers().contains_key(&name) {
                response.headers_mut().insert(name, value);
            }
        }
        response.extensions_mut().insert(Draft {
            code: self.0.code,
            message: self.0.message.clone(),
            faults: self.0.faults.clone(),
        });
        response
    }
}

/// Logs a failure with its whole chain, once. A busy or draining service is expected; a bug is not.
fn log_failure(code: ErrorCode, cause: &(dyn Error + Send + Sync + 'static)) {
    let mut chain = cause.to_string();
    let mut next = cause.source();
    while let Some(source) = next {
        chain.push_str(": ");
        chain.push_str(&source.to_string());
        next = source.source();
    }
    match code {
        ErrorCode::InternalError => {
            log::error!(code = code.entry().code; "request failed: {chain}")
        }
        _ => log::warn!(code = code.entry().code; "request not served: {chain}"),
    }
}

/// A problem that still lacks what only the outermost middleware knows.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    code: ErrorCode,
    message: Option<String>,
    faults: Vec<Fault>,
}

impl Draft {
    /// The draft for a response that nobody of ours made: told from its status alone.
    pub(crate) fn of_status(status: StatusCode) -> Self {
        Self {
            code: ErrorCode::of_status(status),
            message: None,
            faults: Vec::new(),
        }
    }

    /// The same, said more exactly.
    pub(crate) fn saying(mut self, message: &str) -> Self {
        self.message = Some(message.to_owned());
        self
    }

    /// The whole problem.
    pub(crate) fn finish(self, instance: &str, request_id: &str) -> Problem {
        let entry = self.code.entry();
        Problem {
            error: entry.code.to_owned(),
            message: self.message.unwrap_or_else(|| entry.message.to_owned()),
            kind: format!("/problems/{}", entry.code),
            title: entry.title.to_owned(),
            status: entry.status.as_u16(),
            instance: instance.to_owned(),
            request_id: request_id.to_owned(),
            errors: self.faults,
        }
    }

    /// Its code.
    pub(crate) fn code(&self) -> ErrorCode {
        self.code
    }

    /// The status of the problem.
    pub(crate) fn status(&self) -> StatusCode {
        self.code.entry().status
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_carries_status_headers_and_draft() {
        let refusal =
            Refusal::new(ErrorCode::InvalidApiKey).faults(vec![Fault::in_header("X", "y")]);
        let response = refusal.error_response();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(
            response.headers().get("www-authenticate").unwrap(),
            "Bearer realm=\"deed\""
        );
        let draft = response.extensions().get::<Draft>().cloned().unwrap();
        let problem = draft.finish("/users", "r1");
        assert_eq!(problem.error, "invalid_api_key");
        assert_eq!(problem.kind, "/problems/invalid_api_key");
        assert_eq!(
            (problem.instance.as_str(), problem.request_id.as_str()),
            ("/users", "r1")
        );
        assert_eq!(problem.errors.len(), 1);
    }

    #[test]
    fn the_cause_never_shows_in_the_answer() {
        let refusal = Refusal::new(ErrorCode::InternalError).because("SELECT secret FROM hidden");
        assert!(!refusal.to_string().contains("hidden"));
        let draft = refusal
            .error_response()
            .extensions()
            .get::<Draft>()
            .cloned()
            .unwrap();
        let text = serde_json::to_string(&draft.finish("/", "r")).unwrap();
        assert!(!text.contains("hidden"), "{text}");
    }

    #[test]
    fn the_wait_is_told_in_whole_seconds() {
        let check = |milliseconds, expected: &str| {
            let pause = Duration::from_millis(milliseconds);
            let refusal = Refusal::new(ErrorCode::Overloaded).retry_after(pause);
            let response = refusal.error_response();
            let values: Vec<_> = response.headers().get_all(RETRY_AFTER).collect();
            assert_eq!(values, [expected], "{milliseconds}");
        };
        check(0, "1");
        check(1, "1");
        check(1000, "1");
        check(1001, "2");
    }

    #[test]
    fn a_refusals_own_header_beats_the_tables() {
        let refusal =
            Refusal::new(ErrorCode::Unavailable).header(RETRY_AFTER, HeaderValue::from_static("9"));
        let response = refusal.error_response();
        let values: Vec<_> = response.headers().get_all("retry-after").collect();
        assert_eq!(values, ["9"]);
    }
}
