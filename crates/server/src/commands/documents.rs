//! `deed openapi`, `deed problems`: what the binary knows of itself.

use crate::terminal::say;

pub(crate) const OPENAPI_EXAMPLES: &str = "\
Examples:
  deed openapi > openapi.json                   what a client can be generated from
  deed openapi | jq -r '.paths | keys[]'        every path that is served";

pub(crate) const PROBLEMS_EXAMPLES: &str = "\
Examples:
  deed problems > PROBLEMS.md                   every code, when it comes, and what to do about it";

/// Prints the OpenAPI document, as it is served.
///
/// # Errors
/// None that a test doesn't rule out.
pub(crate) fn openapi() -> anyhow::Result<()> {
    say(deed_delivery::openapi::document()?.trim_end());
    Ok(())
}

/// Prints the page of every error code.
pub(crate) fn problems() {
    say(deed_delivery::problem::markdown().trim_end());
}
