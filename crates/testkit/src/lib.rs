//! For tests: a fresh schema for each, fixtures, a clock that stands still until it is set.

#![forbid(unsafe_code)]
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test that can't be set up has to fail, where it stands"
)]

mod clock;
mod cluster;
mod database;

pub use clock::ManualClock;
pub use database::TestDatabase;
