//! Tells the server, for all leases at once, that the worker lives.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use deed_api::lease::{Heartbeat, LeaseBody};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::held::Held;
use super::{LEASES_MAX, Shared, Trouble};
use crate::error::Error;
use crate::operation::RENEW_LEASES;

/// The leases that are to be renewed.
pub(super) struct Heart {
    length: Duration,
    held: Mutex<HashMap<String, Arc<Held>>>,
}

impl Heart {
    pub(super) fn new(length: Duration) -> Self {
        Self {
            length,
            held: Mutex::default(),
        }
    }

    /// Keeps a lease alive from now on.
    pub(super) fn hold(&self, lease: &LeaseBody) -> Arc<Held> {
        let held = Arc::new(Held::new(&lease.lease_id, self.length));
        self.all().insert(lease.lease_id.clone(), Arc::clone(&held));
        held
    }

    pub(super) fn let_go(&self, held: &Held) {
        self.all().remove(&held.lease_id);
    }

    fn all(&self) -> MutexGuard<'_, HashMap<String, Arc<Held>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Renews what is held, three times in the length of a lease. What has just been renewed by a report is left out.
pub(super) async fn beat(shared: &Shared) -> Infallible {
    let period = shared.heart.length / 3;
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // A server may take a second to answer, which is long for a short lease: the next beat does not wait for that.
    let mut under_way = FuturesUnordered::new();
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                let due: Vec<Arc<Held>> = {
                    let all = shared.heart.all();
                    let due = all.values().filter(|held| held.is_due(period / 2));
                    due.cloned().collect()
                };
                for leases in due.chunks(LEASES_MAX.into()) {
                    under_way.push(renew_in_time(shared, leases.to_vec()));
                }
            }
            Some(()) = under_way.next() => {}
        }
    }
}

async fn renew_in_time(shared: &Shared, leases: Vec<Arc<Held>>) {
    let limit = shared.heart.length;
    let error = match timeout(limit, renew(shared, &leases)).await {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error,
        Err(_) => Error::Timeout {
            operation: RENEW_LEASES.id,
            limit,
        },
    };
    shared.tell(&Trouble::Server {
        error: &error,
        pause: limit / 3,
    });
}

async fn renew(shared: &Shared, leases: &[Arc<Held>]) -> Result<(), Error> {
    let asked = Heartbeat {
        lease_ids: leases.iter().map(|held| held.lease_id.clone()).collect(),
    };
    let began = Instant::now();
    let told = shared.client.renew_leases(&asked).await?;
    let verdicts: HashMap<&str, _> = told
        .leases
        .iter()
        .map(|verdict| (verdict.lease_id.as_str(), verdict))
        .collect();
    for held in leases {
        match verdicts.get(held.lease_id.as_str()) {
            Some(verdict) if verdict.ok => held.renewed(began, verdict.cancel_requested),
            Some(_) => held.is_lost(),
            None => {}
        }
    }
    Ok(())
}
