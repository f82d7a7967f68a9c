//! What those who take part share.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::history::{Record, Recorder};
use super::random::Random;
use super::service::{Answer, Service};

/// How far the run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Everything is asked for, and everybody may be struck.
    Chaos,
    /// Nothing new is asked for, nobody is struck, and what was asked for comes to its end.
    Rest,
    /// Whoever still follows something leaves.
    Over,
}

/// What they share.
pub struct World {
    /// The servers, with the key of a user who may ask and read.
    pub service: Service,
    /// The history.
    pub recorder: Arc<Recorder>,
    /// The actions that were acknowledged, for whoever looks for one to follow.
    acknowledged: Mutex<Vec<String>>,
    streams: AtomicU64,
    phase: watch::Sender<Phase>,
}

impl World {
    /// A world in which nothing has happened yet.
    #[must_use]
    pub fn new(service: Service, recorder: Arc<Recorder>) -> Self {
        Self {
            service,
            recorder,
            acknowledged: Mutex::default(),
            streams: AtomicU64::new(1),
            phase: watch::Sender::new(Phase::Chaos),
        }
    }

    /// How far it is.
    #[must_use]
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Goes on to `phase`.
    pub fn enter(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }

    /// Waits until it is as far as `phase`.
    pub async fn reached(&self, phase: Phase) {
        let mut watch = self.phase.subscribe();
        // The sender lives as long as this.
        drop(watch.wait_for(|now| *now >= phase).await);
    }

    /// A number for a connection that nobody else has.
    pub fn new_stream(&self) -> u64 {
        self.streams.fetch_add(1, Ordering::Relaxed)
    }

    /// An action was acknowledged.
    pub fn publish(&self, action: &str) {
        let mut acknowledged = self
            .acknowledged
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        acknowledged.push(action.to_owned());
    }

    /// How many were.
    #[must_use]
    pub fn published(&self) -> usize {
        let acknowledged = self
            .acknowledged
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        acknowledged.len()
    }

    /// Any action that was acknowledged, mostly one of the last.
    pub fn pick(&self, random: &mut Random) -> Option<String> {
        let acknowledged = self
            .acknowledged
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if acknowledged.is_empty() {
            return None;
        }
        let recent = acknowledged.len().min(8);
        let among = if random.chance(85) {
            recent
        } else {
            acknowledged.len()
        };
        let place = acknowledged.len() - 1 - random.place(among);
        Some(acknowledged[place].clone())
    }

    /// An answer came that nobody may get.
    pub fn unexpected(&self, request: &str, answer: &Answer) {
        if let Answer::Told { status, body, .. } = answer {
            self.recorder.record(Record::Unexpected {
                request: request.to_owned(),
                status: *status,
                body: body.to_string(),
            });
        }
    }
}
