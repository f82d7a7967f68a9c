//! What is true in Deed: types, rules, use cases and ports.
//!
//! A **deed** is an act, and the record of it. The vocabulary, on one page:
//!
//! | word | meaning |
//! |---|---|
//! | [`User`](user::User) | an account: e-mail, name, password hash, status `active` or `disabled` |
//! | [`ApiKey`](api_key::ApiKey) | a credential that belongs to a user; has scopes, may expire, is revoked; its secret is shown once |
//! | [`Scope`](scope::Scope) | one permission, such as `actions:write` |
//! | [`Caller`](caller::Caller) | who makes this request: the key (actor) and the user acted for (subject) |
//! | [`ActionType`](action::ActionType) | the name of an operation with its input schema, limits and retry policy |
//! | [`Action`](action::Action) | one performance of an action type for one user |
//! | [`ActionHandler`](ports::ActionHandler) | the port through which an in-process Rust handler performs an action type |
//! | [`Lease`](action::Lease) | the right to perform one action until a time; carries a fencing token that changes with every grant |
//! | [`Event`](action::Event) | one entry of an action's append-only log |
//! | [`Sequence`](action::Sequence) | the position of an event in its action's log: 1, 2, 3 … dense |
//!
//! Use cases ([`service`]) are small structs of `Arc<dyn Port>`. They run without HTTP and without PostgreSQL: swap in
//! an adapter of your own, or the mockall fakes of the feature `mocks`.

#![forbid(unsafe_code)]

pub mod action;
pub mod api_key;
pub mod audit;
pub mod caller;
pub mod email;
pub mod error;
pub mod id;
pub mod idempotency;
pub mod key_limits;
pub mod page;
pub mod password;
pub mod ports;
pub mod scope;
pub mod secret;
pub mod service;
pub mod store_time;
pub mod text;
pub mod ticket;
pub mod trace;
pub mod user;

pub use error::{Error, StoreError, Violation};
