//! `deed openapi`, `deed problems`: what the binary knows of itself.

use crate::terminal::say;

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
