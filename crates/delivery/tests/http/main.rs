//! The interface over mockall fakes of the ports: every handler, every edge, and the document.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

mod action_types;
mod actions;
mod api_keys;
mod batch;
mod callers;
mod conditions;
mod deprecation;
mod document;
mod edges;
mod gone;
mod key_limits;
mod leases;
mod limits;
mod log;
mod long_poll;
mod metrics;
mod operations;
mod queries;
mod retry;
mod streams;
mod support;
mod tickets;
mod users;
mod wire;
