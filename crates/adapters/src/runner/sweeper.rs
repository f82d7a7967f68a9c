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
/// How much longer than a look for silent performers the pause after it is: it reads every lease that ever was, as long as
/// a transaction is open that may still have to see them.
const SHARE: u32 = 20;
/// The longest pause of that kind. With it, and the wake-up after it, an action goes on well within 5 s of its lease.
const LONGEST: Duration = Duration::from_secs(3);
/// How many a look takes.
const BATCH: usize = 200;

/// Sweeps once a second, and sooner if something is due sooner, for as long as it is polled.
pub async fn sweep(leases: Arc<dyn Leases>) {
    let (mut rescue_at, mut admit_at) = (Instant::now(), Instant::now());
    let mut last_look = Duration::ZERO;
    loop {
        let began = Instant::now();
        if rescue_at <= began {
            noted(rescue(leases.as_ref()).await);
            // One that failed has cost as much. A single one that took long says nothing: the machine may have been busy.
            let look = began.elapsed();
            rescue_at = Instant::now() + pause_after(look.min(last_look));
            last_look = look;
        }
        let next_due_in = noted(queue(leases.as_ref()).await).flatten();
        // Last: it waits for whoever has locked a type, and what is due does not.
        if admit_at <= began {
            admit_at = began + INTERVAL * 9 / 10;
            noted(leases.admit().await);
        }
        let pause = next_due_in.map_or(INTERVAL, |due| due.clamp(LEAST, INTERVAL));
        let now = Instant::now();
        tokio::time::sleep(pause.min((rescue_at - now).max(LEAST))).await;
    }
}

fn noted<T>(swept: Result<T, StoreError>) -> Option<T> {
    match swept {
        Ok(swept) => Some(swept),
        Err(error) => {
            log::debug!(error:err = error; "nothing was swept");
            None
        }
    }
}

/// How long nobody looks for silent performers after a look that took so long.
fn pause_after(look: Duration) -> Duration {
    look.saturating_mul(SHARE).clamp(INTERVAL * 9 / 10, LONGEST)
}

/// Takes actions away from performers that are silent or too slow.
async fn rescue(leases: &dyn Leases) -> Result<(), StoreError> {
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
            return Ok(());
        }
    }
}

/// Ends what waits for too long, and queues what is due; answers when the next one is.
async fn queue(leases: &dyn Leases) -> Result<Option<Duration>, StoreError> {
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
    loop {
        let promoted = leases.promote(BATCH).await?;
        if promoted.count < BATCH {
            return Ok(promoted.next_due_in);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_a_look_takes_the_longer_nobody_looks_again() {
        for (took, pause) in [
            (0, 900),
            (10, 900),
            (60, 1_200),
            (200, 3_000),
            (90_000, 3_000),
        ] {
            let pause = Duration::from_millis(pause);
            assert_eq!(pause_after(Duration::from_millis(took)), pause);
        }
    }
}
