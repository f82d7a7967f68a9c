//! What goes wrong beside the handlers.

use std::fmt;
use std::time::Duration;

use uuid::Uuid;

use crate::error::Error;

/// Something that went wrong and is none of a handler's business.
#[derive(Debug)]
#[non_exhaustive]
pub enum Trouble<'a> {
    /// The server is away, or can't serve now; it is asked again.
    Server {
        /// What stands in the way.
        error: &'a Error,
        /// After which pause.
        pause: Duration,
    },
    /// The lease of an action is lost: another worker performs it, or it was ended. Its handler was stopped.
    LeaseLost {
        /// Which action.
        action_id: Uuid,
    },
    /// The end of an attempt could not be told; the action is performed again after its lease.
    Untold {
        /// Which action.
        action_id: Uuid,
        /// Why the server would not hear it.
        error: &'a Error,
    },
}

impl fmt::Display for Trouble<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server { error, pause } => write!(f, "{error}; trying again in {pause:?}"),
            Self::LeaseLost { action_id } => write!(f, "action {action_id}: its lease is lost"),
            Self::Untold { action_id, error } => {
                write!(
                    f,
                    "the end of action {action_id} could not be told: {error}"
                )
            }
        }
    }
}
