//! The domain's exceptions: what can be wrong with a request, in terms that its sender can act on.

use std::sync::Arc;
use std::time::Duration;

use crate::action::Sequence;
use crate::scope::Scope;

/// Why a use case refused or failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The secret is missing, malformed, unknown, expired, revoked, or its user's account can't be used.
    #[error("the API key is not valid")]
    InvalidApiKey,
    /// The key does not have the scope that the operation needs.
    #[error("the key lacks the scope {0}")]
    InsufficientScope(Scope),
    /// Another user was named without the scope `users:act_as`.
    #[error("the key may not act for another user")]
    ActAsNotAllowed,
    /// The operation needs a user, and the root key has none of its own.
    #[error("the operation needs a user to act for")]
    UserRequired,
    /// No such user, or not within reach.
    #[error("no such user")]
    UserNotFound,
    /// The user that was named is disabled.
    #[error("the user is disabled")]
    UserDisabled,
    /// The e-mail address is a registered user's.
    #[error("a user with this e-mail address already exists")]
    UserAlreadyExists,
    /// The external id is another user's.
    #[error("the external id is taken")]
    ExternalIdTaken,
    /// What was to be changed is not as the request expects it.
    #[error("the object is not as the request expects it")]
    PreconditionFailed,
    /// No such key, or not within reach.
    #[error("no such API key")]
    ApiKeyNotFound,
    /// No such action, or not within reach.
    #[error("no such action")]
    ActionNotFound,
    /// No such action, and one of this id would be older than what is kept.
    #[error("the action is older than what is kept")]
    ActionGone,
    /// The action type exists nowhere.
    #[error("no such action type")]
    ActionTypeNotFound,
    /// An action was asked for whose type is not registered.
    #[error("the action type is not registered")]
    UnknownActionType,
    /// Actions of a batch were asked for whose types are not registered: in these places.
    #[error("action types are not registered")]
    UnknownActionTypes(Vec<Violation>),
    /// The action type is performed by a handler within the server.
    #[error("the action type has a handler")]
    TypeHasHandler,
    /// Actions of the type are not over yet.
    #[error("the action type has unfinished actions")]
    TypeHasActions,
    /// The lease is over: its time ran out, or its action is.
    #[error("the lease is lost")]
    LeaseLost,
    /// Events were sent for another position than the log's end.
    #[error("the log goes on at {next_seq}")]
    SequenceConflict {
        /// The position of the next event.
        next_seq: Sequence,
    },
    /// The action can't be tried again.
    #[error("the action can't be retried")]
    ActionNotRetryable(#[from] NotRetryable),
    /// Fields of the request break rules that the domain checks.
    #[error("the request is not valid")]
    Invalid(Vec<Violation>),
    /// The position to go on from lies beyond the log's end.
    #[error("the cursor lies beyond the end of the log")]
    CursorBeyondEnd,
    /// The idempotency key was used for another request.
    #[error("the idempotency key was used for another request")]
    IdempotencyKeyReused,
    /// The first request with this idempotency key has not ended yet.
    #[error("the first request with this idempotency key is still in flight")]
    IdempotencyInFlight,
    /// As many tickets for the streams of one user as there may be are good at the moment.
    #[error("too many tickets are good at a time")]
    TooManyTickets,
    /// As many actions of the key wait as may.
    #[error("too many actions of the key wait")]
    TooManyQueued,
    /// Too much is going on; later it will work.
    #[error("too busy")]
    Overloaded {
        /// After how long to try again.
        retry_after: Duration,
    },
    /// What is kept can't be reached or changed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why an action can't be tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotRetryable {
    /// It may still succeed.
    #[error("it is not over yet")]
    NotOver,
    /// There is nothing to try again.
    #[error("it has succeeded")]
    Succeeded,
    /// Its type is not registered any more.
    #[error("its type is not registered any more")]
    TypeGone,
    /// Its type takes other inputs now.
    #[error("its input does not fit the type's present schema")]
    InputOutdated,
}

/// One rule that one field breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Where: a JSON Pointer into the body, without the leading `#`.
    pub pointer: String,
    /// What is wrong, for the person who sent it.
    pub message: String,
}

impl Violation {
    /// A violation at `pointer`.
    pub fn new(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            pointer: pointer.into(),
            message: message.into(),
        }
    }
}

/// A cause that is logged, never answered.
pub type Cause = Arc<dyn std::error::Error + Send + Sync>;

/// Why a repository could not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// It can't be reached, or has no capacity. Nothing was changed; later it may work.
    #[error("the store is unavailable")]
    Unavailable(#[source] Cause),
    /// The connection was lost while a change was being committed: it is either wholly in or wholly out.
    #[error("the outcome of a commit is unknown")]
    OutcomeUnknown(#[source] Cause),
    /// A row holds what can't be: somebody changed the database by hand, or there is a bug.
    #[error("bad row in {table}, column {column}, id {id}")]
    BadRow {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// Which row.
        id: String,
    },
    /// It refused a statement: a bug.
    #[error("the store refused a statement")]
    Bug(#[source] Cause),
}

/// Two errors are equal when they say the same; causes are not compared.
impl PartialEq for StoreError {
    fn eq(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
            && self.to_string() == other.to_string()
    }
}

impl PartialEq for Error {
    fn eq(&self, other: &Self) -> bool {
        if std::mem::discriminant(self) != std::mem::discriminant(other) {
            return false;
        }
        match (self, other) {
            (Self::InsufficientScope(a), Self::InsufficientScope(b)) => a == b,
            (Self::ActionNotRetryable(a), Self::ActionNotRetryable(b)) => a == b,
            (Self::SequenceConflict { next_seq: a }, Self::SequenceConflict { next_seq: b }) => {
                a == b
            }
            (Self::Invalid(a), Self::Invalid(b))
            | (Self::UnknownActionTypes(a), Self::UnknownActionTypes(b)) => a == b,
            (Self::Overloaded { retry_after: a }, Self::Overloaded { retry_after: b }) => a == b,
            (Self::Store(a), Self::Store(b)) => a == b,
            _ => true,
        }
    }
}

impl Error {
    /// A single violation.
    pub fn invalid(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Invalid(vec![Violation::new(pointer, message)])
    }
}
