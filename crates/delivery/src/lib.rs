//! How the world speaks to Deed: HTTP routes, streams, the OpenAPI document.
//!
//! [`app`] makes the actix application out of an [`Api`], which is put together from [`Parts`]: the use cases, the
//! settings, and the runtime on which every use case runs. A handler parses, calls and renders; rules live in the
//! domain, SQL in the adapters.

#![forbid(unsafe_code)]

mod accept;
mod action_types;
mod actions;
mod answer;
mod api_keys;
mod app;
mod connection;
mod cursor;
mod deprecation;
mod docs;
mod etag;
mod extract;
mod health;
mod idempotency;
mod json;
mod lease_id;
mod leases;
mod list;
mod listen;
pub mod metrics;
mod middleware;
pub mod openapi;
mod prefer;
pub mod problem;
mod rates;
pub mod request_id;
mod routes;
mod server_key;
pub mod sse;
mod streams;
mod users;

pub use api_keys::render as api_key_body;
pub use app::{Api, HttpSettings, Parts, Services, app};
pub use deprecation::Deprecated;
pub use health::{Check, Readiness};
pub use listen::listen;
pub use server_key::ServerKey;
pub use users::render as user_body;
