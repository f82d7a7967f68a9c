//! PostgreSQL: one file for each port, and what they share.

mod action_list;
mod action_reader;
mod action_row;
mod action_types;
mod api_keys;
mod attribution;
mod audit_log;
mod authenticator;
mod error;
mod event_log;
pub mod examine;
pub mod housekeeping;
mod idempotency;
mod leases;
pub mod migrate;
mod pool;
mod schema;
mod server_secrets;
mod statement;
mod submissions;
mod users;
mod wakeups;

pub use action_reader::PgActionReader;
pub use action_types::PgActionTypes;
pub use api_keys::PgApiKeys;
pub use audit_log::PgAuditLog;
pub use authenticator::PgAuthenticator;
pub use event_log::PgEventLog;
pub use leases::PgLeases;
pub use pool::{BadDatabaseUrl, Database};
pub use server_secrets::server_secret;
pub use submissions::PgSubmissions;
pub use users::PgUsers;
pub use wakeups::WakeupHub;
