//! Actions: named operations with JSON input, performed for a user, exactly recorded.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::id::{ActionId, ApiKeyId, UserId};
use crate::text::TextError;
use crate::trace::TraceParent;

pub mod concurrency;
pub mod event;
pub mod lease;
pub mod lease_request;
pub mod payload;
pub mod retry;
pub mod state;

pub use concurrency::Concurrency;
pub use event::{ActionError, Event, EventName, NewEvent, Outcome, Sequence};
pub use lease::{Grant, Lease, LeaseRef};
pub use lease_request::{LeaseRequest, LeaseRequestId};
pub use payload::{Payload, PayloadError};
pub use retry::RetryPolicy;
pub use state::{Attempts, Cancel, Command, Refused, RetryReason, State, Transition};

/// The name of an operation: 1–100 characters of `a`–`z`, `0`–`9`, `_`, `-` and dots between them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ActionTypeName(String);

impl ActionTypeName {
    /// The longest name, in characters.
    pub const MAX: usize = 100;
    /// The form of a name as a regular expression, for documents.
    pub const PATTERN: &'static str = "^[a-z0-9_-]+(\\.[a-z0-9_-]+)*$";

    /// Takes a name.
    ///
    /// # Errors
    /// [`TextError`] when it is empty, too long, or not of the form.
    pub fn parse(text: &str) -> Result<Self, TextError> {
        if text.is_empty() {
            return Err(TextError::TooShort(1));
        }
        if text.chars().count() > Self::MAX {
            return Err(TextError::TooLong(Self::MAX));
        }
        let is_part = |part: &str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-')
        };
        if text.split('.').all(is_part) {
            Ok(Self(text.to_owned()))
        } else {
            Err(TextError::Form(
                "must be lower-case letters, digits, _ and -, in parts joined by dots",
            ))
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ActionTypeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which waiting action goes first: 0 before 1 … before 9.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority(u8);

impl Priority {
    /// The last in line.
    pub const MAX: u8 = 9;
    /// What holds where nothing is asked for.
    pub const DEFAULT: u8 = 5;

    /// Takes a priority; `None` outside 0–9.
    #[must_use]
    pub fn new(priority: u8) -> Option<Self> {
        (priority <= Self::MAX).then_some(Self(priority))
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl Default for Priority {
    fn default() -> Self {
        Self(Self::DEFAULT)
    }
}

/// Who performs the actions of a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PerformedBy {
    /// A Rust handler inside the server.
    Handler,
    /// External workers.
    Workers,
}

impl PerformedBy {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Handler, Self::Workers];

    /// Its name on the wire and in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Handler => "handler",
            Self::Workers => "workers",
        }
    }

    /// The one of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|by| by.as_str() == name)
    }
}

/// An operation that can be asked for: its name, the form of its input, its limits.
#[derive(Debug, Clone, PartialEq)]
pub struct ActionType {
    /// What it is called.
    pub name: ActionTypeName,
    /// Who performs it.
    pub performed_by: PerformedBy,
    /// The JSON Schema (2020-12) of its input; `None` takes any JSON.
    pub input_schema: Option<Payload>,
    /// How often an action of it is tried at the most, 1–100.
    pub max_attempts: u16,
    /// How long one attempt may take. Whole seconds.
    pub attempt_timeout: Duration,
    /// How long a worker may stay silent. Whole seconds, 1–3600.
    pub lease: Duration,
    /// How long to wait between attempts.
    pub retry: RetryPolicy,
    /// How long an action may take altogether, all attempts and pauses, from when it could first begin: when it was
    /// accepted, or the time that it was scheduled for. `None` is as long as its attempts take. Whole seconds.
    pub time_limit: Option<Duration>,
    /// How many of its actions are performed at a time.
    pub concurrency: Concurrency,
}

impl ActionType {
    /// The most attempts that a type can allow.
    pub const MAX_ATTEMPTS_LIMIT: u16 = 100;
    /// The longest input schema that can be sent, in bytes.
    pub const INPUT_SCHEMA_MAX_BYTES: usize = 64 * 1024;
    /// The longest attempt that a type can allow: a day.
    pub const ATTEMPT_TIMEOUT_LIMIT: Duration = Duration::from_secs(86_400);
    /// The shortest time that a type can allow an action altogether.
    pub const TIME_LIMIT_MIN: Duration = Duration::from_secs(1);
    /// The longest time that a type can allow an action altogether: 30 days.
    pub const TIME_LIMIT_LIMIT: Duration = Duration::from_secs(30 * 86_400);
    /// The shortest lease that a type can allow.
    pub const LEASE_MIN: Duration = Duration::from_secs(1);
    /// The longest lease that a type can allow.
    pub const LEASE_LIMIT: Duration = Duration::from_secs(3_600);

    /// A type of that name with the defaults: any input, 3 attempts of 300 s, leases of 30 s, no limit altogether.
    #[must_use]
    pub fn new(name: ActionTypeName, performed_by: PerformedBy) -> Self {
        Self {
            name,
            performed_by,
            input_schema: None,
            max_attempts: 3,
            attempt_timeout: Duration::from_secs(300),
            lease: Duration::from_secs(30),
            retry: RetryPolicy::default(),
            time_limit: None,
            concurrency: Concurrency::default(),
        }
    }
}

/// What stands of an action in every place where it is shown; its input and output apart.
#[derive(Debug, Clone, PartialEq)]
pub struct ActionOverview {
    /// Its id.
    pub id: ActionId,
    /// For whom it is performed.
    pub user_id: UserId,
    /// Which key asked for it; `None` is the root key.
    pub api_key_id: Option<ApiKeyId>,
    /// What is performed.
    pub action_type: ActionTypeName,
    /// How it stands.
    pub status: Status,
    /// What went wrong at last, for a failed one.
    pub error: Option<ActionError>,
    /// How many attempts were begun.
    pub attempt: u16,
    /// How many there may be.
    pub max_attempts: u16,
    /// Which waiting action goes first.
    pub priority: Priority,
    /// The action that this one tries again.
    pub retry_of: Option<ActionId>,
    /// When it is to begin at the earliest: what was asked for, or the end of a back-off.
    pub run_at: Option<DateTime<Utc>>,
    /// When it was accepted.
    pub created_at: DateTime<Utc>,
    /// When the attempt began that runs, or that ended it; `None` while it waits, and where it ended so.
    pub started_at: Option<DateTime<Utc>>,
    /// When it was over.
    pub finished_at: Option<DateTime<Utc>>,
}

/// One performance of an action type for one user.
#[derive(Debug, Clone, PartialEq)]
pub struct Action {
    /// All but input and output.
    pub overview: ActionOverview,
    /// What it was asked with.
    pub input: Payload,
    /// What it gave, for a succeeded one.
    pub output: Option<Payload>,
    /// In which trace it was asked for.
    pub traceparent: Option<TraceParent>,
}

/// An action that is about to be accepted.
#[derive(Debug, Clone, PartialEq)]
pub struct NewAction {
    /// Its id, made now: its time decides where the action is kept.
    pub id: ActionId,
    /// For whom it will be performed.
    pub user_id: UserId,
    /// Which key asks for it; `None` is the root key.
    pub api_key_id: Option<ApiKeyId>,
    /// What is to be performed.
    pub action_type: ActionTypeName,
    /// Which waiting action goes first.
    pub priority: Priority,
    /// How many attempts there may be.
    pub max_attempts: u16,
    /// When it is to begin at the earliest; `None` is at once.
    pub run_at: Option<DateTime<Utc>>,
    /// The action that this one tries again.
    pub retry_of: Option<ActionId>,
    /// What it is asked with.
    pub input: Payload,
    /// In which trace it is asked for.
    pub traceparent: Option<TraceParent>,
    /// How many actions of its key may wait once its request is accepted; `None` is without limit.
    pub max_queued: Option<NonZeroU32>,
}

/// How an action stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// Waits until a time: asked for, or backing off.
    Scheduled,
    /// Waits for somebody to perform it.
    Queued,
    /// Is being performed.
    Running,
    /// Is over, with an output.
    Succeeded,
    /// Is over, with an error.
    Failed,
    /// Is over, because somebody asked for that.
    Cancelled,
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 6] = [
        Self::Scheduled,
        Self::Queued,
        Self::Running,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
    ];

    /// Its name on the wire and in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// The status of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == name)
    }

    /// Whether nothing can follow.
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which actions to list. All filters must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ActionFilter {
    /// Actions that stand so.
    pub status: Option<Status>,
    /// Actions of this type.
    pub action_type: Option<ActionTypeName>,
    /// Actions accepted after this time.
    pub created_after: Option<DateTime<Utc>>,
    /// Actions accepted before this time.
    pub created_before: Option<DateTime<Utc>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_name(text: &str, ok: bool) {
        assert_eq!(ActionTypeName::parse(text).is_ok(), ok, "{text:?}");
    }

    #[test]
    fn type_names_are_lower_case_parts_joined_by_dots() {
        check_name("echo", true);
        check_name("report.render-pdf_2", true);
        check_name(&"a".repeat(100), true);
        check_name(&"a".repeat(101), false);
        for bad in ["", ".", "a.", ".a", "a..b", "A", "a b", "é", "a*", "a:b"] {
            check_name(bad, false);
        }
    }

    #[test]
    fn priorities_are_0_to_9() {
        assert_eq!(Priority::new(0).map(Priority::get), Some(0));
        assert_eq!(Priority::new(9).map(Priority::get), Some(9));
        assert_eq!(Priority::new(10), None);
        assert_eq!(Priority::default().get(), 5);
    }

    #[test]
    fn a_status_is_found_by_its_name() {
        for status in Status::ALL {
            assert_eq!(Status::from_name(status.as_str()), Some(status));
        }
        assert_eq!(Status::from_name("done"), None);
    }
}
