//! What a handler knows of the action that it performs, and how it tells of it.

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use deed_api::lease::{LeaseBody, LeasedActionBody, WorkerEvent, WorkerEventName};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::Failure;
use super::held::{Held, Standing};

/// An event that is to be written, what the next attempt is to know once it is, or both.
pub(super) struct Entry {
    pub(super) event: Option<WorkerEvent>,
    pub(super) checkpoint: Option<Box<RawValue>>,
}

/// The action that a handler performs. Clones are the same one.
#[derive(Clone)]
pub struct Job {
    pub(super) lease: Arc<LeaseBody>,
    pub(super) held: Arc<Held>,
    pub(super) entries: mpsc::Sender<Entry>,
}

#[derive(Serialize)]
struct Progress<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    percent: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'a str>,
}

impl Job {
    /// Which action it is. The same in every attempt: a good key for effects that must not happen twice.
    #[must_use]
    pub fn id(&self) -> Uuid {
        self.lease.action.id
    }

    /// Which attempt this is: 1, 2, …
    #[must_use]
    pub fn attempt(&self) -> u16 {
        self.lease.action.attempt
    }

    /// The action.
    #[must_use]
    pub fn action(&self) -> &LeasedActionBody {
        &self.lease.action
    }

    /// When the attempt ends, however alive its worker is, by the server's clock.
    #[must_use]
    pub fn deadline_at(&self) -> DateTime<Utc> {
        self.lease.deadline_at
    }

    /// What an earlier attempt has kept last; `None` where none has kept anything.
    ///
    /// # Errors
    /// [`Failure`], permanent, when it can't be read as `T`.
    pub fn checkpoint<T: DeserializeOwned>(&self) -> Result<Option<T>, Failure> {
        let Some(kept) = &self.lease.checkpoint else {
            return Ok(None);
        };
        serde_json::from_str(kept.get()).map(Some).map_err(|error| {
            let what = format!("The checkpoint can't be read: {error}.");
            Failure::permanent("invalid_checkpoint", what)
        })
    }

    /// Writes a chunk of output: readers see it at once, and it is kept. Chunks that come faster than they can be sent
    /// go together. Waits only while the buffer is full, never for a reader.
    ///
    /// # Errors
    /// [`Failure`] when the chunk has no form in JSON, or the attempt is over.
    pub async fn emit(&self, chunk: &(impl Serialize + ?Sized)) -> Result<(), Failure> {
        self.write(Some(event(WorkerEventName::Message, chunk)?), None)
            .await
    }

    /// The same, and keeps `state` for the next attempt: both are stored, or neither is. A handler that goes on after
    /// its checkpoint says everything once, however often it is interrupted.
    ///
    /// # Errors
    /// [`Failure`] when one has no form in JSON, or the attempt is over.
    pub async fn emit_with_checkpoint(
        &self,
        chunk: &(impl Serialize + ?Sized),
        state: &(impl Serialize + ?Sized),
    ) -> Result<(), Failure> {
        let event = event(WorkerEventName::Message, chunk)?;
        let state = to_raw_value(state).map_err(Failure::no_json)?;
        self.write(Some(event), Some(state)).await
    }

    /// Keeps `state` for the next attempt, after all that was said before: any JSON but null of at most 64 KiB.
    ///
    /// # Errors
    /// [`Failure`] when it has no form in JSON, or the attempt is over.
    pub async fn set_checkpoint(&self, state: &(impl Serialize + ?Sized)) -> Result<(), Failure> {
        let state = to_raw_value(state).map_err(Failure::no_json)?;
        self.write(None, Some(state)).await
    }

    /// Tells how far it is: `percent` of 0 to 100, and a word for people.
    ///
    /// # Errors
    /// [`Failure`] when the attempt is over.
    pub async fn progress(&self, percent: Option<u8>, note: Option<&str>) -> Result<(), Failure> {
        let percent = percent.map(|percent| percent.min(100));
        let event = event(WorkerEventName::Progress, &Progress { percent, note })?;
        self.write(Some(event), None).await
    }

    /// Whether the handler is to stop: somebody has asked to cancel the action.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.held.standing() != Standing::Well
    }

    /// Returns when the handler is to stop. It then has 5 s to return with any [`Failure`], which ends the action as
    /// cancelled; if it returns its output nevertheless, the action has succeeded.
    pub async fn cancelled(&self) {
        self.held.stopped().await;
    }

    async fn write(
        &self,
        event: Option<WorkerEvent>,
        checkpoint: Option<Box<RawValue>>,
    ) -> Result<(), Failure> {
        let entry = Entry { event, checkpoint };
        self.entries
            .send(entry)
            .await
            .map_err(|_| Failure::stopped())
    }
}

fn event(event: WorkerEventName, data: &(impl Serialize + ?Sized)) -> Result<WorkerEvent, Failure> {
    let data = to_raw_value(data).map_err(Failure::no_json)?;
    Ok(WorkerEvent { event, data })
}

/// Nothing of its input, for that may be anything.
impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job")
            .field("id", &self.id())
            .field("attempt", &self.attempt())
            .finish_non_exhaustive()
    }
}
