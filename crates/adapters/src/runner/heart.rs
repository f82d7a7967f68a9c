//! Heartbeats, and what they tell.

use std::sync::Arc;
use std::time::Duration;

use deed_domain::id::ActionId;
use deed_domain::ports::{Beat, HeartbeatVerdict};
use deed_domain::scope::TypeReach;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::Shared;
use super::performing::{Performing, Stop};

/// Three chances within one lease.
const INTERVAL: Duration = Duration::from_secs(3);
/// Renews all leases together, for as long as it is polled.
pub(super) async fn renew(shared: Arc<Shared>) {
    // By the clock: that an answer takes a while must not cost a chance.
    let mut ticks = interval_at(Instant::now() + INTERVAL, INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let performing: Vec<Arc<Performing>> =
            shared.performing().values().map(Arc::clone).collect();
        beat(&shared, &performing).await;
    }
}

async fn beat(shared: &Shared, performing: &[Arc<Performing>]) {
    let beats: Vec<Beat> = performing
        .iter()
        .map(|one| Beat {
            lease: one.lease,
            reach: TypeReach::All,
        })
        .collect();
    match shared.leases.heartbeat(&beats).await {
        Ok(verdicts) => {
            for (performing, verdict) in performing.iter().zip(verdicts) {
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
                    HeartbeatVerdict::Finished | HeartbeatVerdict::Lost => {
                        performing.stop(Stop::Lost);
                    }
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
