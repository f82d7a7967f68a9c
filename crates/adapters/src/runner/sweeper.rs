//! Takes actions from performers that fell silent, ends those whose time is up, queues those whose time has come, and lets
//! in what limits hold. Runs on every replica; they don't get into each other's way.

use std::sync::Arc;
use std::time::Duration;

use deed_domain::error::StoreError;
use deed_domain::ports::{Leases, RescueVerdict};
use tokio::time::Instant;

/// How often it looks.
const INTERVAL: Duration = Duration::from_secs(1);
/// The least pause between two looks.
const LEAST: Duration = Duration::from_millis(20);
/// How many a look takes.
const BATCH: usize = 200;

/// Sweeps once a second, and sooner if something is due sooner, for as long as it is polled.
pub async fn sweep(leases: Arc<dyn Leases>) {
    let mut admitted_at: Option<Instant> = None;
    loop {
        let is_due = admitted_at.is_none_or(|at| at.elapsed() >= INTERVAL * 9 / 10);
        if is_due {
            admitted_at = Some(Instant::now());
        }
        let pause = match look(leases.as_ref(), is_due).await {
            Ok(next_due_in) => next_due_in.map_or(INTERVAL, |due| due.clamp(LEAST, INTERVAL)),
            Err(error) => {
                log::debug!(error:err = error; "nothing was swept");
                INTERVAL
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// Looks at everything; at what limits hold only if that `is_due`.
async fn look(leases: &dyn Leases, is_due: bool) -> Result<Option<Duration>, StoreError> {
    loop {
        let rescued = leases.rescue(BATCH).await?;
        for one in &rescued {
            let outcome = match one.verdict {
                RescueVerdict::Requeued => "retry",
                RescueVerdict::Failed => "failed",
                RescueVerdict::Cancelled => "cancelled",
            };
            log::warn!(
                action_id:% = one.action_id, action_type:% = one.action_type, outcome;
                "{} was taken from its performer, which was silent or too slow: {outcome}", one.action_id
            );
        }
        if rescued.len() < BATCH {
            break;
        }
    }
    loop {
        let given_up = leases.give_up(BATCH).await?;
        for one in &given_up {
            log::warn!(
                action_id:% = one.action_id, action_type:% = one.action_type;
                "{} was given up while it waited: its time limit has passed", one.action_id
            );
        }
        if given_up.len() < BATCH {
            break;
        }
    }
    let next_due_in = loop {
        let promoted = leases.promote(BATCH).await?;
        if promoted.count < BATCH {
            break promoted.next_due_in;
        }
    };
    // Last: it waits for whoever has locked a type, and what is due does not.
    if is_due {
        leases.admit().await?;
    }
    Ok(next_due_in)
}
