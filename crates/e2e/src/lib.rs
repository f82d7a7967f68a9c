//! Black-box tests: the real binary, real PostgreSQL, HTTP only.
//!
//! This library is what the scenarios in `tests/` share: a database of their own, a server process, a client, and a
//! reader of event streams. Nothing here knows how the server works inside.

#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "this is test code: what goes wrong here fails a test"
)]

pub mod balancer;
pub mod browser;
pub mod chaos;
pub mod client;
pub mod cluster;
pub mod database;
mod environment;
pub mod process;
pub mod proxy;
pub mod server;
pub mod stream;
pub mod wait;

pub use environment::variable;

/// Random letters and digits: names and addresses that no other test uses.
#[must_use]
pub fn unique() -> String {
    let mut bytes = [0u8; 8];
    getrandom::fill(&mut bytes).unwrap();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
