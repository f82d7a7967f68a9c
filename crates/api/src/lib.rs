//! The wire's types of Deed: requests, answers, problems.
//!
//! Each type is what one JSON body, or one query string, looks like. The server reads requests and writes answers;
//! a client does the reverse, so every type can do both. With the feature `openapi` the types carry their limits
//! (garde) and schemas (schemars); both say each limit from the domain's own constant.
#![forbid(unsafe_code)]

pub mod action;
pub mod action_type;
pub mod api_key;
pub mod event;
pub mod health;
pub mod lease;
pub mod page;
pub mod problem;
pub mod user;

#[cfg(feature = "openapi")]
pub mod limits;

mod number;
mod patch;
mod time;
