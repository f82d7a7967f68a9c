//! The client against a server that misbehaves in one way at a time.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may panic"
)]

mod calls;
mod server;
mod streams;
mod worker;
