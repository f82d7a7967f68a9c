//! The tests' own settings.

/// The value of a variable that is set to something.
#[expect(
    clippy::disallowed_methods,
    reason = "the settings of tests come from the environment"
)]
#[must_use]
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
