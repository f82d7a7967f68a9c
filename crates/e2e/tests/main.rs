//! The scenarios, one a file.

mod batch;
mod cli_actions;
mod client;
mod closed_doors;
mod commands;
mod conditional;
mod connections;
mod dev;
mod example_workers;
mod first_day;
mod hostile;
mod key_limits;
mod metrics;
mod operations;
#[cfg(feature = "otel")]
mod otel;
mod own_handler;
#[cfg(feature = "promtool")]
mod promtool;
mod readme;
mod replicas;
mod resume;
mod retention;
mod retry;
mod secrets;
mod setup;
mod shutdown;
mod streams;
mod tickets;
mod traces;
mod unknown_routes;
mod upgrade;
mod waiting_workers;
mod workers;
