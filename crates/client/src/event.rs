//! Events of an action, as a stream brings them.

use deed_api::action::ActionErrorBody;
use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::error::Error;
use crate::operation::GET_ACTION_EVENTS;

/// One entry of an action's log.
#[derive(Debug, Clone)]
pub struct Event {
    /// Its position in the log: 1, 2, 3 … without a gap.
    pub seq: u32,
    /// Its name. There may come to be more names than [`EventKind`] knows.
    pub name: String,
    /// What it says, as the text that was stored.
    pub data: Box<RawValue>,
}

/// What an event says. Events that this client doesn't know are [`EventKind::Other`]: ignore them.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum EventKind {
    /// The action was accepted.
    Created {
        /// Which one.
        action_id: Uuid,
    },
    /// An attempt has begun.
    Started {
        /// Its number: 1, 2, …
        attempt: u16,
    },
    /// A chunk of output: any JSON.
    Message(Box<RawValue>),
    /// How far it is.
    Progress {
        /// 0 to 100.
        percent: Option<u8>,
        /// A word for people.
        note: Option<String>,
    },
    /// An attempt has ended, and another will follow.
    Retry {
        /// Why.
        reason: RetryReason,
        /// What went wrong, if something did.
        error: Option<ActionErrorBody>,
    },
    /// The action is over. Nothing follows.
    Done(Outcome),
    /// Something newer than this client.
    Other,
}

/// Why another attempt follows.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RetryReason {
    /// The attempt failed.
    Failed,
    /// Its performer was silent for too long.
    LeaseExpired,
    /// It took too long.
    AttemptTimeout,
    /// Its performer gave it back unharmed.
    Released,
    /// Something newer than this client.
    #[serde(other)]
    Other,
}

/// How an action has ended.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// With this output.
    Succeeded(Box<RawValue>),
    /// With this error.
    Failed(ActionErrorBody),
    /// It was cancelled.
    Cancelled,
}

impl Event {
    /// The name of the last event.
    pub(crate) const DONE: &'static str = "done";

    /// What it says.
    ///
    /// # Errors
    /// [`Error::Protocol`] when its data are not what its name promises.
    pub fn kind(&self) -> Result<EventKind, Error> {
        Ok(match self.name.as_str() {
            "created" => {
                let Created { action_id } = self.read()?;
                EventKind::Created { action_id }
            }
            "started" => {
                let Started { attempt } = self.read()?;
                EventKind::Started { attempt }
            }
            "message" => EventKind::Message(self.data.clone()),
            "progress" => {
                let Progress { percent, note } = self.read()?;
                EventKind::Progress { percent, note }
            }
            "retry" => {
                let Retry { reason, error } = self.read()?;
                EventKind::Retry { reason, error }
            }
            Self::DONE => EventKind::Done(self.outcome()?),
            _ => EventKind::Other,
        })
    }

    fn outcome(&self) -> Result<Outcome, Error> {
        let Done {
            status,
            output,
            error,
        } = self.read()?;
        match (status.as_str(), output, error) {
            ("succeeded", Some(output), _) => Ok(Outcome::Succeeded(output)),
            ("failed", _, Some(error)) => Ok(Outcome::Failed(error)),
            ("cancelled", _, _) => Ok(Outcome::Cancelled),
            _ => Err(self.wrong()),
        }
    }

    fn read<'a, T: Deserialize<'a>>(&'a self) -> Result<T, Error> {
        serde_json::from_str(self.data.get()).map_err(|_| self.wrong())
    }

    fn wrong(&self) -> Error {
        let Self { seq, name, data: _ } = self;
        let what = format!("the data of event {seq} are not those of `{name}`");
        Error::protocol(GET_ACTION_EVENTS.id, what)
    }
}

#[derive(Deserialize)]
struct Created {
    action_id: Uuid,
}

#[derive(Deserialize)]
struct Started {
    attempt: u16,
}

#[derive(Deserialize)]
struct Progress {
    percent: Option<u8>,
    note: Option<String>,
}

#[derive(Deserialize)]
struct Retry {
    reason: RetryReason,
    error: Option<ActionErrorBody>,
}

#[derive(Deserialize)]
struct Done {
    status: String,
    // An output of `null` is an output.
    #[serde(default, deserialize_with = "present")]
    output: Option<Box<RawValue>>,
    error: Option<ActionErrorBody>,
}

fn present<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str, data: &str) -> Event {
        Event {
            seq: 7,
            name: name.to_owned(),
            data: RawValue::from_string(data.to_owned()).unwrap(),
        }
    }

    fn check(name: &str, data: &str, expected: &str) {
        let kind = event(name, data).kind().unwrap();
        assert_eq!(format!("{kind:?}"), expected);
    }

    #[test]
    fn what_events_say() {
        check(
            "started",
            r#"{"attempt":2,"more":1}"#,
            "Started { attempt: 2 }",
        );
        check(
            "progress",
            r#"{"percent":40}"#,
            "Progress { percent: Some(40), note: None }",
        );
        check(
            "retry",
            r#"{"reason":"lease_expired"}"#,
            "Retry { reason: LeaseExpired, error: None }",
        );
        check(
            "retry",
            r#"{"reason":"new"}"#,
            "Retry { reason: Other, error: None }",
        );
        check("message", r#"[1, 2]"#, "Message(RawValue([1, 2]))");
        check("new", "1", "Other");
    }

    #[test]
    fn outcomes() {
        check(
            "done",
            r#"{"status":"succeeded","output":{"a": 1}}"#,
            r#"Done(Succeeded(RawValue({"a": 1})))"#,
        );
        check(
            "done",
            r#"{"status":"succeeded","output":null}"#,
            "Done(Succeeded(RawValue(null)))",
        );
        check("done", r#"{"status":"cancelled"}"#, "Done(Cancelled)");
        check(
            "done",
            r#"{"status":"failed","error":{"code":"a","message":"b"}}"#,
            r#"Done(Failed(ActionErrorBody { code: "a", message: "b" }))"#,
        );
    }

    #[test]
    fn data_that_do_not_fit_their_name_are_told() {
        for (name, data) in [
            ("started", "{}"),
            ("created", r#"{"action_id":"x"}"#),
            ("done", r#"{"status":"succeeded"}"#),
            ("done", r#"{"status":"new"}"#),
        ] {
            let error = event(name, data).kind().unwrap_err().to_string();
            assert!(error.contains("event 7"), "{error}");
        }
    }
}
