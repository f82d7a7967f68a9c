//! What everybody was told, in the order in which it was written down.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A moment by the clock on the wall, in microseconds since 1970. The machine's processes and its PostgreSQL share that
/// clock.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Moment(pub i64);

impl Moment {
    /// Now.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "a black box has no clock that a test could set"
    )]
    pub fn now() -> Self {
        Self(Utc::now().timestamp_micros())
    }

    /// As text, to the millisecond.
    #[must_use]
    pub fn to_rfc3339(self) -> String {
        let at = DateTime::from_timestamp_micros(self.0).unwrap_or_default();
        at.to_rfc3339_opts(SecondsFormat::Millis, true)
    }

    /// How long after `earlier` it is; zero if it is before.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0 - earlier.0).unwrap_or(0))
    }

    /// So much later.
    #[must_use]
    pub fn after(self, time: Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(time.as_micros()).unwrap_or(i64::MAX)),
        )
    }
}

/// What a worker was told of something that it asked to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Told {
    /// 200: it is written.
    Written,
    /// 409 `lease_lost`: nothing is.
    Lost,
    /// 409 `sequence_conflict`: nothing is.
    Conflict,
    /// No answer, however often it was asked.
    Unknown,
}

/// How a worker ends an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// With an output.
    Complete,
    /// With an error.
    Fail,
    /// Not at all: it gives the action back.
    Release,
}

/// How a stream came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Closed {
    /// The server said that nothing is left: 204.
    AtEnd,
    /// The server ended it.
    Ended,
    /// The connection broke.
    Broken,
    /// The subscriber left.
    Left,
}

/// How somebody was struck.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Blow {
    /// SIGKILL.
    Kill,
    /// SIGTERM.
    Term,
    /// SIGSTOP, and SIGCONT later.
    Stop,
    /// A connection of PostgreSQL, ended from there.
    Backend,
    /// All connections that listen, ended again and again for a while.
    Listeners,
}

/// Something that was told or done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Record {
    /// A server has acknowledged an action.
    Acknowledged {
        /// Its id.
        action: String,
        /// What tells the request from all others; it is part of the input.
        tag: String,
        /// The Idempotency-Key, if it had one.
        key: Option<String>,
        /// Before when it must not start.
        run_at: Option<Moment>,
        /// How it was told to stand.
        status: Option<String>,
    },
    /// A server has answered a request to cancel.
    CancelAnswered {
        /// Which action.
        action: String,
        /// How it was told to stand.
        status: String,
    },
    /// A worker got a lease.
    Granted {
        /// Names the grant: no two have the same.
        by: String,
        /// Which action.
        action: String,
        /// Which attempt.
        attempt: u64,
    },
    /// A worker has asked to write events.
    Reported {
        /// Which grant.
        by: String,
        /// Which action.
        action: String,
        /// Where the first one goes.
        from_seq: u64,
        /// The data of the events.
        values: Vec<Value>,
        /// How often it asked.
        tries: u32,
        /// The last answer.
        told: Told,
    },
    /// A worker has asked to renew a lease.
    Renewed {
        /// Which grant.
        by: String,
        /// Which action.
        action: String,
        /// Whether it was.
        told: Told,
    },
    /// A worker has asked to end an attempt.
    Finished {
        /// Which grant.
        by: String,
        /// Which action.
        action: String,
        /// Which attempt.
        attempt: u64,
        /// How.
        way: Way,
        /// How often it asked.
        tries: u32,
        /// The last answer.
        told: Told,
    },
    /// A subscriber follows an action.
    Opened {
        /// Names the connection.
        stream: u64,
        /// Who follows.
        subscriber: String,
        /// Which action.
        action: String,
        /// After which position.
        after: u64,
        /// At which server.
        replica: usize,
    },
    /// A stream brought an event.
    Seen {
        /// Which one.
        stream: u64,
        /// The event's id.
        seq: u64,
        /// Its name.
        event: String,
        /// Its data.
        data: Value,
    },
    /// A stream came to its end.
    StreamClosed {
        /// Which one.
        stream: u64,
        /// How.
        how: Closed,
    },
    /// A server gave an answer that nobody may get.
    Unexpected {
        /// What was asked.
        request: String,
        /// The answer's status.
        status: u16,
        /// Its body.
        body: String,
    },
    /// Somebody is struck.
    Struck {
        /// Who.
        victim: String,
        /// How.
        blow: Blow,
    },
    /// Somebody goes on after a blow.
    Recovered {
        /// Who.
        victim: String,
        /// After which one.
        blow: Blow,
    },
    /// A server that was asked to stop has.
    Drained {
        /// Which one.
        victim: String,
        /// Its exit code; none where a signal ended it.
        code: Option<i32>,
    },
    /// Somebody ended who was not struck, or complained of a bug.
    Died {
        /// Who.
        victim: String,
        /// How, as far as it is known.
        how: String,
    },
}

/// A record with its moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// When it was written down, by whoever was told.
    pub at: Moment,
    /// What.
    #[serde(flatten)]
    pub record: Record,
}

/// Keeps the history: in memory for the oracle, and in a file for whoever looks into a failure.
pub struct Recorder(Mutex<(Vec<Entry>, BufWriter<File>)>);

impl Recorder {
    /// One that writes to `file`.
    ///
    /// # Errors
    /// When the file can't be made.
    pub fn new(file: &Path) -> std::io::Result<Self> {
        let file = BufWriter::new(File::create(file)?);
        Ok(Self(Mutex::new((Vec::new(), file))))
    }

    /// Writes down what happens now.
    pub fn record(&self, record: Record) {
        self.entry(Entry {
            at: Moment::now(),
            record,
        });
    }

    /// Writes down what somebody else has recorded.
    pub fn entry(&self, entry: Entry) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let line = serde_json::to_string(&entry).unwrap();
        writeln!(kept.1, "{line}").unwrap();
        kept.0.push(entry);
    }

    /// All of it, with the file complete.
    #[must_use]
    pub fn history(&self) -> Vec<Entry> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.1.flush().unwrap();
        kept.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_it_was_written() {
        let entry = Entry {
            at: Moment(7),
            record: Record::Reported {
                by: "w".to_owned(),
                action: "a".to_owned(),
                from_seq: 3,
                values: vec![serde_json::json!({"n": 1})],
                tries: 2,
                told: Told::Lost,
            },
        };
        let line = serde_json::to_string(&entry).unwrap();
        assert!(line.contains(r#""what":"reported""#), "{line}");
        assert_eq!(serde_json::from_str::<Entry>(&line).unwrap(), entry);
    }

    #[test]
    fn moments_are_told_apart_by_microseconds() {
        let later = Moment(5).after(Duration::from_micros(3));
        assert_eq!(later.since(Moment(5)), Duration::from_micros(3));
        assert_eq!(Moment(5).since(later), Duration::ZERO);
    }
}
