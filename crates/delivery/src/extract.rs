//! What handlers ask for in their signatures, read from the request.
//!
//! Nothing but the credentials is looked at before the caller is known: every other extractor waits at the [`gate`],
//! so that a stranger learns nothing about what a valid request looks like, and is always answered 401.

mod acceptable;
mod body;
pub(crate) mod caller;
mod fault;
mod follower;
mod gate;
mod headers;
mod path;
mod query;
mod report;

pub(crate) use crate::etag::Conditions;
pub(crate) use acceptable::{Acceptable, Produced};
pub(crate) use body::{ACCEPT_PATCH, JsonBody, Valid};
pub(crate) use caller::{Caller, Registrar};
pub(crate) use follower::{FollowQuery, Follower, TICKET};
pub(crate) use headers::{
    AcceptHeader, HeadRequest, Idempotent, LAST_EVENT_ID, LastEventId, Prefer,
};
pub(crate) use path::{PathId, PathLease, PathName};
pub(crate) use query::{NoQuery, Query};
pub(crate) use report::Report;
