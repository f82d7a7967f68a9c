//! What Deed leans on: PostgreSQL, argon2, the clock, JSON Schema, the in-process runner.
//!
//! Each port of the domain has its adapter here. See [`postgres`] for the store; the other modules need no
//! database.

#![forbid(unsafe_code)]

mod auth_cache;
pub mod clock;
pub mod dispatcher;
pub mod eraser;
pub mod handlers;
mod heartbeats;
pub mod ids;
pub mod input_schemas;
pub mod metrics;
pub mod password_hasher;
pub mod postgres;
pub mod runner;
