//! What can go wrong with a call.

use std::fmt;
use std::time::Duration;

use deed_api::problem::Problem;
use reqwest::StatusCode;

/// Why a call has no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The server answered that it won't, or can't.
    #[error("{0}")]
    Refused(Box<Refusal>),
    /// No connection, or it broke before the answer was complete.
    #[error("{operation}: the server can't be reached, or the connection broke")]
    Connection {
        /// The operation, as the OpenAPI document names it.
        operation: &'static str,
        /// Whether no connection was ever made for this call, so that nothing was sent: not by an earlier try either.
        is_unsent: bool,
        /// What the transport says.
        #[source]
        source: reqwest::Error,
    },
    /// No answer in time.
    #[error("{operation}: no answer within {limit:?}")]
    Timeout {
        /// The operation.
        operation: &'static str,
        /// The time that it had.
        limit: Duration,
    },
    /// The answer is not what a Deed server would say.
    #[error("{operation}: not the answer of a Deed server: {what}")]
    Protocol {
        /// The operation.
        operation: &'static str,
        /// What is wrong with it.
        what: String,
    },
    /// An event is missing, or came twice: `found` stood where `expected` should have.
    #[error("the stream is broken: event {found} came where {expected} should have")]
    Sequence {
        /// The position that should have come.
        expected: u32,
        /// The one that came.
        found: u32,
    },
    /// A stream could not be resumed for too long.
    #[error("no stream for {patience:?}; the last event was {last}")]
    GaveUp {
        /// How long was tried.
        patience: Duration,
        /// The position of the last event that came; 0 before the first.
        last: u32,
        /// What stood in the way last.
        #[source]
        source: Option<Box<Error>>,
    },
    /// What was asked for can't be sent: a URL, a key or an input that can't be one.
    #[error("{0}")]
    Invalid(String),
    /// The operating system gave no random bytes for an `Idempotency-Key`.
    #[error("the operating system gives no random bytes")]
    NoRandomness,
}

impl Error {
    /// What the server said, if it refused.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            Self::GaveUp { source, .. } => source.as_deref().and_then(Self::refusal),
            _ => None,
        }
    }

    /// The error code that the server answered, such as `action_not_found`.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.refusal().and_then(Refusal::code)
    }

    /// Whether nobody answered: no connection, none in time, or it broke.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        match self {
            Self::Connection { .. } | Self::Timeout { .. } => true,
            Self::GaveUp { source, .. } => source.as_deref().is_none_or(Self::is_unreachable),
            _ => false,
        }
    }

    pub(crate) fn protocol(operation: &'static str, what: impl Into<String>) -> Self {
        Self::Protocol {
            operation,
            what: what.into(),
        }
    }

    /// Without the URL, whose query may hold what is nobody's business.
    pub(crate) fn connection(operation: &'static str, source: reqwest::Error) -> Self {
        Self::Connection {
            operation,
            is_unsent: source.is_connect(),
            source: source.without_url(),
        }
    }
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self::Invalid(format!("it has no form in JSON: {error}"))
    }
}

/// An answer from 400 up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The status of the answer.
    pub status: u16,
    /// What the server says of it; `None` when somebody before it answered, such as a proxy.
    pub problem: Option<Problem>,
    /// Names this request in the server's log.
    pub request_id: Option<String>,
    /// After which time the server wants to be asked again.
    pub retry_after: Option<Duration>,
}

impl Refusal {
    /// The code to program against, such as `action_not_found`.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.problem.as_ref().map(|problem| problem.error.as_str())
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.problem {
            Some(problem) => write!(f, "{} ({}, {}", problem.message, problem.error, self.status)?,
            None => {
                let reason = StatusCode::from_u16(self.status)
                    .ok()
                    .and_then(|status| status.canonical_reason())
                    .unwrap_or("no reason given");
                write!(f, "{reason} ({}", self.status)?;
            }
        }
        if let Some(id) = &self.request_id {
            write!(f, ", request {id}")?;
        }
        f.write_str(")")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(problem: Option<Problem>) -> Refusal {
        Refusal {
            status: 404,
            problem,
            request_id: Some("r-1".to_owned()),
            retry_after: None,
        }
    }

    #[test]
    fn a_refusal_says_code_status_and_request() {
        let problem = Problem {
            error: "action_not_found".to_owned(),
            message: "There is no such action.".to_owned(),
            kind: "/problems/action_not_found".to_owned(),
            title: "Not found".to_owned(),
            status: 404,
            instance: "/actions/x".to_owned(),
            request_id: "r-1".to_owned(),
            errors: Vec::new(),
        };
        let error = Error::Refused(Box::new(refusal(Some(problem))));
        assert_eq!(
            error.to_string(),
            "There is no such action. (action_not_found, 404, request r-1)"
        );
        assert_eq!(error.code(), Some("action_not_found"));
        assert!(!error.is_unreachable());
    }

    #[test]
    fn a_proxy_s_refusal_has_no_problem() {
        assert_eq!(refusal(None).to_string(), "Not Found (404, request r-1)");
    }

    #[test]
    fn who_gave_up_says_what_stood_in_the_way() {
        let gave_up = |source: Option<Error>| Error::GaveUp {
            patience: Duration::from_secs(1),
            last: 3,
            source: source.map(Box::new),
        };
        assert!(gave_up(None).is_unreachable());
        assert!(!gave_up(Some(Error::Refused(Box::new(refusal(None))))).is_unreachable());
    }
}
