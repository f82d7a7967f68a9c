//! The errors of operations, as the document describes them.

use actix_web::http::header;
use deed_api::problem::{Fault, MEDIA_TYPE};
use serde_json::{Map, Value, json};

use super::access::Access;
use super::operation::{Content, Operation, Success};
use super::{DocumentError, headers};
use crate::extract::ACCEPT_PATCH;
use crate::problem::ErrorCode;

/// The statuses of errors that come before it is known whose request it is: wrong key, target too long.
const BEFORE_COUNTING: [u16; 2] = [401, 414];

/// The errors of an operation, by status: its own, and those that come with what it takes.
pub(super) fn errors(
    operation: &Operation,
    described: &Value,
    access: Access,
) -> Vec<(u16, Vec<ErrorCode>)> {
    let mut codes = operation.errors.to_vec();
    let has_body = |success: &Success| success.content != Content::Empty;
    if operation.success.iter().any(has_body) {
        codes.push(ErrorCode::NotAcceptable);
    }
    codes.extend([ErrorCode::TargetTooLong, ErrorCode::InternalError]);
    if described["requestBody"].is_object() {
        codes.extend([
            ErrorCode::BadRequest,
            ErrorCode::RequestTimeout,
            ErrorCode::MalformedJson,
            ErrorCode::ValidationFailed,
            ErrorCode::BodyTooLarge,
            ErrorCode::UnsupportedMediaType,
        ]);
    }
    if described["parameters"]
        .as_array()
        .is_some_and(|parameters| !parameters.is_empty())
    {
        codes.push(ErrorCode::ValidationFailed);
    }
    if access != Access::Public {
        codes.extend([
            ErrorCode::ValidationFailed,
            ErrorCode::InvalidApiKey,
            ErrorCode::ActAsNotAllowed,
            ErrorCode::UserDisabled,
            ErrorCode::UserNotFound,
            ErrorCode::RateLimited,
            ErrorCode::Unavailable,
        ]);
    }
    if access == Access::Scope {
        codes.push(ErrorCode::InsufficientScope);
    }
    let mut by_status: Vec<(u16, Vec<ErrorCode>)> = Vec::new();
    for code in ErrorCode::ALL
        .iter()
        .copied()
        .filter(|code| codes.contains(code))
    {
        let status = code.entry().status.as_u16();
        match by_status.iter_mut().find(|(other, _)| *other == status) {
            Some((_, group)) => group.push(code),
            None => by_status.push((status, vec![code])),
        }
    }
    by_status
}

/// The answer with one of these codes, which have one status.
///
/// The codes stand beside the reference, where validators read them. Clients that are generated don't: to them a code is
/// a text, so that one that a later server adds is read like any other.
///
/// # Errors
/// [`DocumentError`] when a code has a header that the table of headers does not know.
pub(super) fn response(codes: &[ErrorCode]) -> Result<Value, DocumentError> {
    let mut examples = Map::new();
    let mut names = Vec::new();
    let mut own = Vec::new();
    for code in codes {
        let entry = code.entry();
        names.push(entry.code);
        own.extend(entry.headers().into_iter().map(|(name, _)| name));
        if *code == ErrorCode::UnsupportedMediaType {
            // What is taken is the operation's own.
            own.extend([header::ACCEPT, ACCEPT_PATCH, header::ACCEPT_ENCODING]);
        }
        examples.insert(
            entry.code.to_owned(),
            json!({ "summary": entry.title, "value": example(*code, codes) }),
        );
    }
    let description = match codes {
        [code] => code.entry().meaning.to_owned(),
        several => several
            .iter()
            .map(|code| format!("- `{}`: {}", code.entry().code, code.entry().meaning))
            .collect::<Vec<_>>()
            .join("\n"),
    };
    let status = codes.first().map(|code| code.entry().status.as_u16());
    let schema = json!({
        "$ref": "#/components/schemas/Problem",
        "properties": {
            "error": { "enum": names, "x-open-set": true },
            "status": { "const": status },
        },
    });
    let is_counted = status.is_none_or(|status| !BEFORE_COUNTING.contains(&status));
    let of_limits = headers::OF_LIMITED_KEYS.into_iter().filter(|_| is_counted);
    let names = own.iter().map(|name| name.as_str()).chain(of_limits);
    Ok(json!({
        "description": description,
        "headers": headers::of_answer(names)?,
        "content": { MEDIA_TYPE: { "schema": schema, "examples": examples } },
    }))
}

const USER: &str = "/users/0198c0de-0000-7000-8000-0000000000a1";
const API_KEY: &str = "/api-keys/0198c0de-0000-7000-8000-0000000000b1";
const ACTION: &str = "/actions/0198c0de-0000-7000-8000-0000000000c1";
const RETRY: &str = "/actions/0198c0de-0000-7000-8000-0000000000c1/retry";
const EVENTS: &str = "/actions/0198c0de-0000-7000-8000-0000000000c1/events";
const TICKET: &str = "/actions/0198c0de-0000-7000-8000-0000000000c1/stream-ticket";
const LEASE: &str = "/leases/AZjA3gAAcACAAAAAAAAAwV3uG0KdqUTSijDnIY9oCPU/events";
const TYPE: &str = "/action-types/report.render";

/// A problem of this code, at an operation that answers it, among others that the same answer has.
fn example(code: ErrorCode, beside: &[ErrorCode]) -> Value {
    let has_body = beside.contains(&ErrorCode::MalformedJson);
    let (instance, faults) = match code {
        ErrorCode::ValidationFailed if has_body => (
            "/users",
            vec![
                Fault::at_pointer("#/email", "must be an e-mail address"),
                Fault::at_pointer("#/name", "must have at least 1 character"),
            ],
        ),
        ErrorCode::ValidationFailed if beside.contains(&ErrorCode::InvalidCursor) => (
            "/actions",
            vec![Fault::in_parameter("limit", "must be between 1 and 200")],
        ),
        ErrorCode::ValidationFailed => (
            "/users/me",
            vec![Fault::in_header(
                "X-User-ID",
                "must be a UUID in the hyphenated form",
            )],
        ),
        ErrorCode::UnknownActionType => (
            "/actions",
            vec![Fault::at_pointer("#/type", "there is no such action type")],
        ),
        ErrorCode::UserAlreadyExists | ErrorCode::ExternalIdTaken => ("/users", Vec::new()),
        ErrorCode::UserNotFound | ErrorCode::PreconditionFailed => (USER, Vec::new()),
        ErrorCode::ApiKeyNotFound => (API_KEY, Vec::new()),
        ErrorCode::ActionNotFound | ErrorCode::ActionGone => (ACTION, Vec::new()),
        ErrorCode::ActionNotRetryable => (RETRY, Vec::new()),
        ErrorCode::TooManyTickets => (TICKET, Vec::new()),
        ErrorCode::NotAcceptable | ErrorCode::TooManyStreams => (EVENTS, Vec::new()),
        ErrorCode::ActionTypeNotFound | ErrorCode::TypeHasHandler | ErrorCode::TypeHasActions => {
            (TYPE, Vec::new())
        }
        ErrorCode::LeaseLost | ErrorCode::SequenceConflict => (LEASE, Vec::new()),
        ErrorCode::NotFound => ("/problems/no_such_code", Vec::new()),
        _ => ("/actions", Vec::new()),
    };
    let entry = code.entry();
    let mut problem = json!({
        "error": entry.code,
        "message": entry.message,
        "type": format!("/problems/{}", entry.code),
        "title": entry.title,
        "status": entry.status.as_u16(),
        "instance": instance,
        "request_id": "0198c0de-0000-7000-8000-000000000001",
    });
    if !faults.is_empty() {
        problem["errors"] = json!(faults);
    }
    problem
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_the_codes_and_the_headers_of_its_status() {
        let answer = response(&[ErrorCode::Unavailable, ErrorCode::Overloaded]).unwrap();
        let schema = &answer["content"][MEDIA_TYPE]["schema"];
        assert_eq!(
            schema["properties"]["error"]["enum"],
            json!(["unavailable", "overloaded"])
        );
        assert_eq!(schema["properties"]["status"]["const"], 503);
        assert!(answer["headers"]["Retry-After"].is_object());
        let examples = answer["content"][MEDIA_TYPE]["examples"]
            .as_object()
            .unwrap();
        assert_eq!(examples.len(), 2);
    }

    #[test]
    fn what_is_wrong_stands_where_the_operation_has_it() {
        let place = |beside: &[ErrorCode]| {
            let problem = example(ErrorCode::ValidationFailed, beside);
            let fault: Fault = serde_json::from_value(problem["errors"][0].clone()).unwrap();
            (fault.pointer, fault.parameter, fault.header)
        };
        let pointer = Some("#/email".to_owned());
        assert_eq!(place(&[ErrorCode::MalformedJson]), (pointer, None, None));
        let parameter = Some("limit".to_owned());
        assert_eq!(place(&[ErrorCode::InvalidCursor]), (None, parameter, None));
        let header = Some("X-User-ID".to_owned());
        assert_eq!(place(&[]), (None, None, header));
    }
}
