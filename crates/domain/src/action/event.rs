//! Events: the append-only log of an action, which is also what a stream carries.

use std::fmt;

use chrono::{DateTime, Utc};

use super::Status;
use super::payload::{Payload, json_string};
use super::state::RetryReason;
use crate::id::ActionId;

/// The position of an event in its action's log: 1, 2, 3 … without gaps. 0 stands before the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Sequence(u32);

impl Sequence {
    /// Before the first event.
    pub const START: Self = Self(0);
    /// The first event.
    pub const FIRST: Self = Self(1);
    /// The last that can be kept (PostgreSQL's `int4`).
    pub const MAX: u32 = 2_147_483_647;

    /// Takes a position; `None` beyond [`Self::MAX`].
    #[must_use]
    pub fn new(position: u32) -> Option<Self> {
        (position <= Self::MAX).then_some(Self(position))
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The position `count` further on.
    #[must_use]
    pub fn plus(self, count: usize) -> Self {
        let count = u32::try_from(count).unwrap_or(Self::MAX);
        Self(self.0.saturating_add(count).min(Self::MAX))
    }

    /// The next position.
    #[must_use]
    pub fn next(self) -> Self {
        self.plus(1)
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What an event tells. The set is open: a newer replica may write names that this one doesn't know, and they
/// are passed on as they are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum EventName {
    /// The action was accepted.
    Created,
    /// An attempt began.
    Started,
    /// One chunk of output.
    Message,
    /// How far it is.
    Progress,
    /// The attempt ended, another one will follow.
    Retry,
    /// The end. Nothing follows it, ever.
    Done,
    /// A name that this version doesn't know.
    Other(String),
}

impl EventName {
    /// The names that this version knows.
    pub const KNOWN: [Self; 6] = [
        Self::Created,
        Self::Started,
        Self::Message,
        Self::Progress,
        Self::Retry,
        Self::Done,
    ];

    /// Its name on the wire and in the database.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Created => "created",
            Self::Started => "started",
            Self::Message => "message",
            Self::Progress => "progress",
            Self::Retry => "retry",
            Self::Done => "done",
            Self::Other(name) => name,
        }
    }

    /// The event of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        Self::KNOWN
            .into_iter()
            .find(|known| known.as_str() == name)
            .unwrap_or_else(|| Self::Other(name.to_owned()))
    }

    /// Whether it is the end of its log.
    #[must_use]
    pub const fn is_last(&self) -> bool {
        matches!(self, Self::Done)
    }
}

impl fmt::Display for EventName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One entry of an action's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its position.
    pub seq: Sequence,
    /// What it tells.
    pub name: EventName,
    /// When it was written.
    pub at: DateTime<Utc>,
    /// The particulars.
    pub data: Payload,
}

/// An event that is about to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    /// What it tells.
    pub name: EventName,
    /// The particulars.
    pub data: Payload,
}

impl NewEvent {
    /// The action was accepted.
    #[must_use]
    pub fn created(id: ActionId) -> Self {
        Self::of(EventName::Created, format!("{{\"action_id\":\"{id}\"}}"))
    }

    /// The attempt of that number began.
    #[must_use]
    pub fn started(attempt: u16) -> Self {
        Self::of(EventName::Started, format!("{{\"attempt\":{attempt}}}"))
    }

    /// One chunk of output.
    #[must_use]
    pub fn message(chunk: Payload) -> Self {
        Self {
            name: EventName::Message,
            data: chunk,
        }
    }

    /// How far it is.
    #[must_use]
    pub fn progress(progress: &Progress) -> Self {
        let mut members = Vec::new();
        if let Some(percent) = progress.percent {
            members.push(format!("\"percent\":{percent}"));
        }
        if let Some(note) = &progress.note {
            members.push(format!("\"note\":{}", json_string(note)));
        }
        Self::of(EventName::Progress, format!("{{{}}}", members.join(",")))
    }

    /// The attempt ended, another one will follow.
    #[must_use]
    pub fn retry(reason: RetryReason, error: Option<&ActionError>) -> Self {
        let error = error
            .map(|error| format!(",\"error\":{}", error.to_json()))
            .unwrap_or_default();
        Self::of(
            EventName::Retry,
            format!("{{\"reason\":\"{}\"{error}}}", reason.as_str()),
        )
    }

    /// The end.
    #[must_use]
    pub fn done(outcome: &Outcome) -> Self {
        let status = outcome.status();
        let rest = match outcome {
            Outcome::Succeeded(output) => format!(",\"output\":{output}"),
            Outcome::Failed(error) => format!(",\"error\":{}", error.to_json()),
            Outcome::Cancelled => String::new(),
        };
        Self::of(
            EventName::Done,
            format!("{{\"status\":\"{status}\"{rest}}}"),
        )
    }

    fn of(name: EventName, data: String) -> Self {
        Self {
            name,
            data: Payload::from_stored(data),
        }
    }
}

/// How far an action is, by its own word.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Progress {
    /// 0–100.
    pub percent: Option<u8>,
    /// A word for people.
    pub note: Option<String>,
}

/// How an action ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// With an output.
    Succeeded(Payload),
    /// With an error.
    Failed(ActionError),
    /// Because somebody asked for that.
    Cancelled,
}

impl Outcome {
    /// How the action stands then.
    #[must_use]
    pub const fn status(&self) -> Status {
        match self {
            Self::Succeeded(_) => Status::Succeeded,
            Self::Failed(_) => Status::Failed,
            Self::Cancelled => Status::Cancelled,
        }
    }
}

/// What went wrong in performing an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionError {
    /// A stable name of the fault, for programs.
    pub code: String,
    /// What happened, for people.
    pub message: String,
}

impl ActionError {
    /// The longest code that is kept, in characters.
    pub const CODE_MAX: usize = 100;
    /// The longest message that is kept, in characters.
    pub const MESSAGE_MAX: usize = 4_000;

    /// An error. What is too long is cut: an error must not be lost for its length.
    pub fn new(code: impl AsRef<str>, message: impl AsRef<str>) -> Self {
        Self {
            code: code.as_ref().chars().take(Self::CODE_MAX).collect(),
            message: message.as_ref().chars().take(Self::MESSAGE_MAX).collect(),
        }
    }

    /// The attempt took longer than its type allows.
    #[must_use]
    pub fn attempt_timeout() -> Self {
        Self::new(
            "attempt_timeout",
            "The attempt took longer than its type allows.",
        )
    }

    /// The action took longer, with all its attempts and pauses, than its type allows.
    #[must_use]
    pub fn time_limit() -> Self {
        Self::new(
            "time_limit",
            "The action took longer altogether than its type allows.",
        )
    }

    /// `{"code": …, "message": …}`.
    #[must_use]
    pub fn to_json(&self) -> String {
        format!(
            "{{\"code\":{},\"message\":{}}}",
            json_string(&self.code),
            json_string(&self.message)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(event: NewEvent, name: &str, data: &str) {
        assert_eq!((event.name.as_str(), event.data.as_str()), (name, data));
        assert!(Payload::parse(data).is_ok(), "{data}");
    }

    #[test]
    fn events_carry_the_documented_data() {
        let id = "01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap();
        check(
            NewEvent::created(id),
            "created",
            r#"{"action_id":"01890a5d-ac96-774b-bcce-b302099a8057"}"#,
        );
        check(NewEvent::started(2), "started", r#"{"attempt":2}"#);
        check(
            NewEvent::message(Payload::parse(r#"{"text":"a"}"#).unwrap()),
            "message",
            r#"{"text":"a"}"#,
        );
        check(NewEvent::progress(&Progress::default()), "progress", "{}");
        let half = Progress {
            percent: Some(50),
            note: Some("half \"way\"".to_owned()),
        };
        check(
            NewEvent::progress(&half),
            "progress",
            r#"{"percent":50,"note":"half \"way\""}"#,
        );
        check(
            NewEvent::retry(RetryReason::Released, None),
            "retry",
            r#"{"reason":"released"}"#,
        );
        let error = ActionError::new("boom", "It broke.\n");
        check(
            NewEvent::retry(RetryReason::Failed, Some(&error)),
            "retry",
            r#"{"reason":"failed","error":{"code":"boom","message":"It broke.\n"}}"#,
        );
        check(
            NewEvent::done(&Outcome::Cancelled),
            "done",
            r#"{"status":"cancelled"}"#,
        );
        check(
            NewEvent::done(&Outcome::Succeeded(Payload::parse("[1.0]").unwrap())),
            "done",
            r#"{"status":"succeeded","output":[1.0]}"#,
        );
        check(
            NewEvent::done(&Outcome::Failed(ActionError::new("c", "m"))),
            "done",
            r#"{"status":"failed","error":{"code":"c","message":"m"}}"#,
        );
    }

    #[test]
    fn unknown_names_are_passed_on() {
        assert_eq!(
            EventName::from_name("later"),
            EventName::Other("later".to_owned())
        );
        assert_eq!(EventName::from_name("later").as_str(), "later");
        for known in EventName::KNOWN {
            assert_eq!(EventName::from_name(known.as_str()), known);
        }
    }

    #[test]
    fn only_done_is_last() {
        let last: Vec<_> = EventName::KNOWN
            .into_iter()
            .filter(EventName::is_last)
            .collect();
        assert_eq!(last, [EventName::Done]);
    }

    #[test]
    fn an_error_is_cut_not_lost() {
        let error = ActionError::new("é".repeat(101), "ü".repeat(4_001));
        assert_eq!(
            (error.code.chars().count(), error.message.chars().count()),
            (100, 4_000)
        );
    }

    #[test]
    fn sequences_end_where_the_store_ends() {
        assert_eq!(Sequence::START.next(), Sequence::FIRST);
        assert_eq!(
            Sequence::new(Sequence::MAX).unwrap().next().get(),
            Sequence::MAX
        );
        assert_eq!(Sequence::new(Sequence::MAX + 1), None);
    }
}
