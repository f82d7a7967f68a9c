//! One lease, as far as this worker knows.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// How a lease stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Well,
    /// Somebody has asked to cancel the action.
    CancelRequested,
    /// Somebody else may perform the action.
    Lost,
}

/// A lease that is held, or was.
pub(super) struct Held {
    pub(super) lease_id: String,
    length: Duration,
    /// When the call began that renewed it last: the server's own time of that is no earlier.
    renewed_at: Mutex<Instant>,
    standing: watch::Sender<Standing>,
}

impl Held {
    pub(super) fn new(lease_id: &str, length: Duration) -> Self {
        Self {
            lease_id: lease_id.to_owned(),
            length,
            renewed_at: Mutex::new(Instant::now()),
            standing: watch::Sender::new(Standing::Well),
        }
    }

    /// A call that began at `began` has renewed it.
    pub(super) fn renewed(&self, began: Instant, cancel_requested: bool) {
        let mut renewed_at = self
            .renewed_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *renewed_at = began.max(*renewed_at);
        drop(renewed_at);
        if cancel_requested {
            self.becomes(Standing::CancelRequested);
        }
    }

    pub(super) fn is_lost(&self) {
        self.becomes(Standing::Lost);
    }

    /// When it runs out, unless it is renewed.
    fn expires_at(&self) -> Instant {
        let renewed_at = self
            .renewed_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *renewed_at + self.length
    }

    /// Whether nothing has renewed it for so long.
    pub(super) fn is_due(&self, age: Duration) -> bool {
        self.expires_at().saturating_duration_since(Instant::now()) + age <= self.length
    }

    pub(super) fn standing(&self) -> Standing {
        *self.standing.borrow()
    }

    /// Waits until somebody has asked to cancel the action, or the lease is lost.
    pub(super) async fn stopped(&self) {
        let mut standing = self.standing.subscribe();
        // The sender lives as long as this.
        drop(
            standing
                .wait_for(|standing| *standing != Standing::Well)
                .await,
        );
    }

    /// Waits until the lease is lost: the server says so, or it has run out as far as this worker can tell.
    pub(super) async fn lost(&self) {
        let mut standing = self.standing.subscribe();
        let told = standing.wait_for(|standing| *standing == Standing::Lost);
        let ran_out = async {
            loop {
                let expires_at = self.expires_at();
                sleep_until(expires_at).await;
                if self.expires_at() == expires_at {
                    self.is_lost();
                    return;
                }
            }
        };
        tokio::select! {
            told = told => drop(told),
            () = ran_out => {}
        }
    }

    /// A lost lease is never found again.
    fn becomes(&self, new: Standing) {
        self.standing.send_if_modified(|standing| {
            let changes = *standing != Standing::Lost && *standing != new;
            if changes {
                *standing = new;
            }
            changes
        });
    }
}
