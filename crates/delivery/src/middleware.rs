//! What happens around every request: an id, a bound on its target, a problem for every refusal, headers, one log line.

mod access;
mod cors;
mod frame;
mod notices;
mod serving;
mod unread;

pub(crate) use access::Witness;
pub(crate) use cors::cors;
pub(crate) use frame::{HeadOnly, frame};
pub(crate) use notices::Notices;
