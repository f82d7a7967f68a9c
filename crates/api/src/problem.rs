//! Every answer from 400 up: one shape, which is also RFC 9457's.

use serde::{Deserialize, Serialize};

/// The media type of a [`Problem`].
pub const MEDIA_TYPE: &str = "application/problem+json";

/// Why a request was refused, or could not be served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct Problem {
    /// A stable code to program against; each has a page under `/problems/{code}`.
    pub error: String,
    /// What went wrong, for people.
    pub message: String,
    /// The path of the code's page.
    #[serde(rename = "type")]
    pub kind: String,
    /// What the code means, the same for each occurrence.
    pub title: String,
    /// The HTTP status of the answer.
    #[cfg_attr(feature = "openapi", schemars(range(min = 400, max = 599)))]
    pub status: u16,
    /// The path that was asked for.
    pub instance: String,
    /// The answer's `X-Request-Id`, which is also on each log line of the request.
    pub request_id: String,
    /// What is wrong where, when the request itself is at fault.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Fault>,
}

/// One thing that is wrong with a request, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(schemars::JsonSchema))]
pub struct Fault {
    /// A JSON Pointer (as a URI fragment) into the request's body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// The name of a query or path parameter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameter: Option<String>,
    /// The name of a header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// What is wrong there.
    pub message: String,
}

impl Fault {
    /// A fault in the body, at a JSON Pointer such as `#/email`.
    pub fn at_pointer(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            pointer: Some(pointer.into()),
            parameter: None,
            header: None,
            message: message.into(),
        }
    }

    /// A fault in a query or path parameter.
    pub fn in_parameter(parameter: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            pointer: None,
            parameter: Some(parameter.into()),
            header: None,
            message: message.into(),
        }
    }

    /// A fault in a header.
    pub fn in_header(header: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            pointer: None,
            parameter: None,
            header: Some(header.into()),
            message: message.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_names_one_place() {
        let check =
            |fault: Fault, json: &str| assert_eq!(serde_json::to_string(&fault).unwrap(), json);
        check(
            Fault::at_pointer("#/a", "m"),
            r##"{"pointer":"#/a","message":"m"}"##,
        );
        check(
            Fault::in_parameter("limit", "m"),
            r#"{"parameter":"limit","message":"m"}"#,
        );
        check(
            Fault::in_header("X-User-ID", "m"),
            r#"{"header":"X-User-ID","message":"m"}"#,
        );
    }

    #[test]
    fn a_problem_reads_back_the_same() {
        let problem = Problem {
            error: "validation_failed".to_owned(),
            message: "The request is not valid.".to_owned(),
            kind: "/problems/validation_failed".to_owned(),
            title: "Invalid request".to_owned(),
            status: 400,
            instance: "/users".to_owned(),
            request_id: "r".to_owned(),
            errors: vec![Fault::at_pointer("#/email", "not a valid e-mail address")],
        };
        let json = serde_json::to_string(&problem).unwrap();
        assert!(
            json.contains(r#""type":"/problems/validation_failed""#),
            "{json}"
        );
        assert_eq!(serde_json::from_str::<Problem>(&json).unwrap(), problem);
    }
}
