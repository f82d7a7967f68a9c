//! Payloads as parts of an answer: the text that is kept, not another one that means the same.

use deed_domain::action::Payload;
use serde_json::value::RawValue;

use crate::problem::{ErrorCode, Refusal};

/// The payload's own text.
pub(crate) fn raw(payload: &Payload) -> Result<Box<RawValue>, Refusal> {
    RawValue::from_string(payload.as_str().to_owned())
        .map_err(|error| Refusal::new(ErrorCode::InternalError).because(error))
}
