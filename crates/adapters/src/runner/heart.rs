//! Heartbeats, and what they tell.

use std::sync::Arc;
use std::time::Duration;

use deed_domain::id::ActionId;
use deed_domain::ports::{Beat, HeartbeatVerdict};
use deed_domain::scope::TypeReach;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;

use super::Shared;
use super::performing::{Performing, Stop};

/// Three chances within one lease.
const INTERVAL: Duration = Duration::from_secs(3);
/// How many leases go into one statement.
const BATCH: usize = 500;

/// Renews all leases together, for as long as it is polled.
pub(super) async fn renew(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(INTERVAL).await;
        let mut performing: Vec<Arc<Performing>> =
            shared.performing().values().map(Arc::clone).collect();
        performing.sort_by_key(|one| one.lease);
        for batch in performing.chunks(BATCH) {
            beat(&shared, batch).await;
        }
    }
}

async fn beat(shared: &Shared, batch: &[Arc<Performing>]) {
    let beats: Vec<Beat> = batch
        .iter()
        .map(|one| Beat {
            lease: one.lease,
            reach: TypeReach::All,
        })
        .collect();
    match shared.leases.heartbeat(&beats).await {
        Ok(verdicts) => {
            for (performing, verdict) in batch.iter().zip(verdicts) {
                match verdict {
                    HeartbeatVerdict::Held {
                        cancel_requested: true,
                        ..
                    } => performing.stop(Stop::Cancelled),
                    HeartbeatVerdict::Held {
                        cancel_requested: false,
                        ..
                    } => {}
                    // One that has just ended was not lost; it hears nothing any more.
                    HeartbeatVerdict::Lost => performing.stop(Stop::Lost),
                }
            }
        }
        Err(error) => log::debug!(error:err = error; "leases could not be renewed"),
    }
}

/// Passes requests to cancel on, for as long as it is polled.
pub(super) async fn hear_cancels(shared: Arc<Shared>, mut cancels: BoxStream<'static, ActionId>) {
    while let Some(action) = cancels.next().await {
        let performing = shared.performing().get(&action).map(Arc::clone);
        if let Some(performing) = performing {
            performing.stop(Stop::Cancelled);
        }
    }
}
