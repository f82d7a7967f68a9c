//! What PostgreSQL's refusals mean: the only place that knows SQLSTATEs and messages.

use std::sync::Arc;

use deed_domain::error::StoreError;
use diesel::result::{DatabaseErrorKind, Error as DieselError};

use super::pool::Access;

/// A statement that did not do its work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DbError {
    /// A constraint refused a row; the adapter of the port knows what the name means.
    #[error("constraint {0} refused the row")]
    Constraint(String),
    /// Lost against a neighbour; the same statement may succeed when run again.
    #[error("lost against a neighbour: {0}")]
    Contention(String),
    /// A row stayed locked by somebody else.
    #[error("a row stayed locked: {0}")]
    Locked(String),
    /// PostgreSQL can't do anything just now. Nothing was changed.
    #[error("PostgreSQL is unavailable: {0}")]
    Unavailable(String),
    /// The statement was sent, or may have been, and no answer came.
    #[error("PostgreSQL did not answer: {0}")]
    NoAnswer(String),
    /// The same for a write: it may have been committed.
    #[error("the outcome is unknown: {0}")]
    OutcomeUnknown(String),
    /// A value that PostgreSQL can't keep: a validation is missing.
    #[error("PostgreSQL refused a value: {0}")]
    Value(String),
    /// A row that breaks the rules of the domain.
    #[error(transparent)]
    BadRow(#[from] BadRow),
    /// Anything else is a mistake of ours.
    #[error("PostgreSQL refused the statement: {0}")]
    Statement(#[source] DieselError),
}

/// A stored value that can't be understood, by the place where it stands.
#[derive(Debug, thiserror::Error)]
#[error("{table}.{column} of {id} is not valid: {problem}")]
pub(crate) struct BadRow {
    pub(crate) table: &'static str,
    pub(crate) column: &'static str,
    pub(crate) id: String,
    pub(crate) problem: String,
}

impl BadRow {
    pub(crate) fn new(
        table: &'static str,
        column: &'static str,
        id: impl ToString,
        problem: impl ToString,
    ) -> Self {
        Self {
            table,
            column,
            id: id.to_string(),
            problem: problem.to_string(),
        }
    }
}

/// Every [`DbError::kind`].
pub(crate) const ERROR_KINDS: [&str; 9] = [
    "constraint",
    "contention",
    "locked",
    "unavailable",
    "no_answer",
    "outcome_unknown",
    "value",
    "bad_row",
    "statement",
];

impl DbError {
    /// Its variant, as a word for metrics.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Constraint(_) => "constraint",
            Self::Contention(_) => "contention",
            Self::Locked(_) => "locked",
            Self::Unavailable(_) => "unavailable",
            Self::NoAnswer(_) => "no_answer",
            Self::OutcomeUnknown(_) => "outcome_unknown",
            Self::Value(_) => "value",
            Self::BadRow(_) => "bad_row",
            Self::Statement(_) => "statement",
        }
    }

    pub(crate) fn is_retryable(&self) -> bool {
        matches!(self, Self::Contention(_))
    }

    /// What it means for a statement of that kind: a read without an answer changed nothing.
    pub(crate) fn of(self, access: Access) -> Self {
        match (self, access) {
            (Self::NoAnswer(problem), Access::Read) => Self::Unavailable(problem),
            (Self::NoAnswer(problem), Access::Write) => Self::OutcomeUnknown(problem),
            (other, _) => other,
        }
    }

    /// Whether the constraint of that name refused the row.
    pub(crate) fn is_constraint(&self, name: &str) -> bool {
        matches!(self, Self::Constraint(constraint) if constraint == name)
    }
}

impl From<DieselError> for DbError {
    fn from(error: DieselError) -> Self {
        let DieselError::DatabaseError(kind, information) = &error else {
            return Self::Statement(error);
        };
        let message = information.message();
        match kind {
            DatabaseErrorKind::UniqueViolation
            | DatabaseErrorKind::ForeignKeyViolation
            | DatabaseErrorKind::RestrictViolation
            | DatabaseErrorKind::ExclusionViolation
            | DatabaseErrorKind::CheckViolation => match information.constraint_name() {
                Some(name) => Self::Constraint(name.to_owned()),
                None => Self::Statement(error),
            },
            DatabaseErrorKind::SerializationFailure => Self::Contention(message.to_owned()),
            DatabaseErrorKind::ReadOnlyTransaction => Self::Unavailable(message.to_owned()),
            DatabaseErrorKind::ClosedConnection | DatabaseErrorKind::UnableToSendCommand => {
                Self::NoAnswer(message.to_owned())
            }
            _ => match meaning(message) {
                Some(Meaning::Contention) => Self::Contention(message.to_owned()),
                Some(Meaning::Locked) => Self::Locked(message.to_owned()),
                Some(Meaning::Unavailable) => Self::Unavailable(message.to_owned()),
                Some(Meaning::Value) => {
                    // Each of these should have been refused at the edge.
                    log::warn!("PostgreSQL refused a value that validation let through");
                    Self::Value(message.to_owned())
                }
                None => Self::Statement(error),
            },
        }
    }
}

impl From<DbError> for StoreError {
    fn from(error: DbError) -> Self {
        match error {
            DbError::Contention(_)
            | DbError::Locked(_)
            | DbError::Unavailable(_)
            | DbError::NoAnswer(_) => Self::Unavailable(Arc::new(error)),
            DbError::OutcomeUnknown(_) => Self::OutcomeUnknown(Arc::new(error)),
            DbError::BadRow(BadRow {
                table,
                column,
                ref id,
                ..
            }) => {
                log::error!(error:err = error; "a stored row can't be understood");
                Self::BadRow {
                    table,
                    column,
                    id: id.clone(),
                }
            }
            DbError::Constraint(_) | DbError::Value(_) | DbError::Statement(_) => {
                Self::Bug(Arc::new(error))
            }
        }
    }
}

impl From<BadRow> for StoreError {
    fn from(bad: BadRow) -> Self {
        DbError::from(bad).into()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    Contention,
    Locked,
    Unavailable,
    Value,
}

/// diesel answers `Unknown` for these and keeps the SQLSTATE to itself, so the message has to tell;
/// the session asks for English ones.
const MESSAGES: &[(&str, &str, Meaning)] = &[
    ("40P01", "deadlock detected", Meaning::Contention),
    ("53100", "could not extend file", Meaning::Unavailable),
    ("53100", "could not write to file", Meaning::Unavailable),
    ("53100", "No space left on device", Meaning::Unavailable),
    ("53200", "out of memory", Meaning::Unavailable),
    ("53200", "out of shared memory", Meaning::Unavailable),
    (
        "53300",
        "sorry, too many clients already",
        Meaning::Unavailable,
    ),
    (
        "53300",
        "remaining connection slots are reserved",
        Meaning::Unavailable,
    ),
    ("53300", "too many connections for", Meaning::Unavailable),
    (
        "55P03",
        "canceling statement due to lock timeout",
        Meaning::Locked,
    ),
    ("57014", "canceling statement due to", Meaning::Unavailable),
    ("57P01", "terminating connection", Meaning::Unavailable),
    ("57P03", "the database system is", Meaning::Unavailable),
    (
        "25P03",
        "terminating connection due to idle-in-transaction timeout",
        Meaning::Unavailable,
    ),
    (
        "22021",
        "invalid byte sequence for encoding",
        Meaning::Value,
    ),
    ("22P02", "invalid input syntax for type", Meaning::Value),
    (
        "22P05",
        "unsupported Unicode escape sequence",
        Meaning::Value,
    ),
    ("22003", "out of range", Meaning::Value),
    ("54000", "index row size", Meaning::Value),
    ("54000", "index row requires", Meaning::Value),
];

fn meaning(message: &str) -> Option<Meaning> {
    MESSAGES
        .iter()
        .find(|(_, text, _)| message.contains(text))
        .map(|(_, _, meaning)| *meaning)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_that_diesel_calls_unknown_are_told_apart() {
        for (message, expected) in [
            ("deadlock detected", Some(Meaning::Contention)),
            (
                "canceling statement due to lock timeout",
                Some(Meaning::Locked),
            ),
            (
                "canceling statement due to statement timeout",
                Some(Meaning::Unavailable),
            ),
            (
                "terminating connection due to administrator command",
                Some(Meaning::Unavailable),
            ),
            (
                "the database system is starting up",
                Some(Meaning::Unavailable),
            ),
            (
                "FATAL: sorry, too many clients already",
                Some(Meaning::Unavailable),
            ),
            (
                "invalid byte sequence for encoding \"UTF8\": 0x00",
                Some(Meaning::Value),
            ),
            ("timestamp out of range", Some(Meaning::Value)),
            ("relation \"actions\" does not exist", None),
        ] {
            assert_eq!(meaning(message), expected, "{message}");
        }
    }

    #[test]
    fn every_kind_is_known_beforehand() {
        let text = || "x".to_owned();
        for error in [
            DbError::Constraint(text()),
            DbError::Contention(text()),
            DbError::Locked(text()),
            DbError::Unavailable(text()),
            DbError::NoAnswer(text()),
            DbError::OutcomeUnknown(text()),
            DbError::Value(text()),
            BadRow::new("t", "c", 1, "p").into(),
            DbError::Statement(DieselError::NotFound),
        ] {
            assert!(ERROR_KINDS.contains(&error.kind()), "{error:?}");
        }
    }

    #[test]
    fn a_bad_row_is_named() {
        let bad = BadRow::new("users", "status", 7, "unknown status");
        assert_eq!(
            bad.to_string(),
            "users.status of 7 is not valid: unknown status"
        );
    }
}
