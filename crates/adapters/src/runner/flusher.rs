//! Stores what all performances emit, together.

use std::sync::Arc;
use std::time::Duration;

use deed_domain::error::StoreError;
use deed_domain::ports::{Append, Appended};
use deed_domain::scope::TypeReach;
use tokio::time::Instant;

use super::Shared;
use super::performing::{Performing, Stop};

/// How many performances go into one statement.
const BATCH: usize = 128;
/// The pause after the store has failed: doubled each time from the first to the last.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// Flushes for as long as it is polled. There is no delay by design: what is emitted while a statement is under way
/// goes with the next one.
pub(super) async fn run(shared: Arc<Shared>) {
    loop {
        shared.dirty.notified().await;
        loop {
            let batch = gather(&shared);
            if batch.is_empty() {
                break;
            }
            store(&shared, batch).await;
        }
    }
}

type Batch = Vec<(Arc<Performing>, Append)>;

fn gather(shared: &Shared) -> Batch {
    let performing = shared.performing();
    performing
        .values()
        .filter_map(|one| Some((Arc::clone(one), one.next_flush()?)))
        .take(BATCH)
        .collect()
}

/// Tries until there is an answer: the same positions again write nothing twice.
async fn store(shared: &Shared, batch: Batch) {
    let appends: Vec<Append> = batch.iter().map(|(_, append)| append.clone()).collect();
    let mut pause = PAUSE.0;
    let began = Instant::now();
    loop {
        match shared.leases.append(&appends, &TypeReach::All).await {
            Ok(verdicts) => {
                let events = appends.iter().map(|append| append.events.len()).sum();
                shared
                    .metrics
                    .flushed(appends.len(), events, began.elapsed());
                for ((performing, _), verdict) in batch.iter().zip(verdicts) {
                    performing.flushed(verdict);
                }
                return;
            }
            Err(StoreError::Bug(error)) => {
                log::error!(error:err = *error; "output could not be stored");
                return store_apart(shared, batch).await;
            }
            Err(error) => log::debug!(error:err = error; "output waits for the store"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE.1);
    }
}

/// One performance whose output can't be stored must not keep the others from theirs.
async fn store_apart(shared: &Shared, batch: Batch) {
    for (performing, append) in batch {
        let verdict = match shared
            .leases
            .append(std::slice::from_ref(&append), &TypeReach::All)
            .await
        {
            Ok(verdicts) => verdicts.first().copied().unwrap_or(Appended::Lost),
            // Its lease will expire, and the action is tried again.
            Err(_) => Appended::Lost,
        };
        if verdict == Appended::Lost {
            performing.stop(Stop::Lost);
        }
        performing.flushed(verdict);
    }
}
