//! One attempt, from its grant to its end.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use deed_domain::action::{ActionType, Cancel, Grant, Payload};
use deed_domain::error::StoreError;
use deed_domain::ports::{ActionHandler, Context, Failure, Performance, Task};
use deed_domain::service::{Attempt, Ended, Settled};
use futures_util::FutureExt as _;

use super::Shared;
use super::performing::{Performing, Stop};

/// How long a handler may go on after it was told to stop.
const GRACE: Duration = Duration::from_secs(5);
/// The pause after the end could not be recorded: doubled each time from the first to the last.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

pub(super) async fn run(
    shared: Arc<Shared>,
    grant: Grant,
    action_type: ActionType,
    handler: Arc<dyn ActionHandler>,
    performing: Arc<Performing>,
) {
    let ended = perform(&grant, &action_type, handler.as_ref(), &performing).await;
    if let Some(ended) = ended {
        settle(&shared, &grant, &action_type, &performing, ended).await;
    }
    let mut present = shared.performing();
    // The same action may be performed anew already, by the next attempt.
    if present
        .get(&grant.lease.id.action_id)
        .is_some_and(|one| Arc::ptr_eq(one, &performing))
    {
        present.remove(&grant.lease.id.action_id);
    }
}

/// Runs the handler; `None` when the lease was lost.
async fn perform(
    grant: &Grant,
    action_type: &ActionType,
    handler: &dyn ActionHandler,
    performing: &Arc<Performing>,
) -> Option<Ended> {
    let task = Task {
        action_id: grant.lease.id.action_id,
        user_id: grant.user_id,
        action_type: grant.action_type.clone(),
        input: grant.input.clone(),
        attempt: grant.attempt,
        max_attempts: grant.max_attempts,
    };
    let performance: Arc<dyn Performance> = performing.clone();
    let context = Context::new(performance);
    let work = AssertUnwindSafe(handler.perform(&task, &context)).catch_unwind();
    let answer = tokio::select! {
        biased;
        answer = work => Some(answer),
        () = tokio::time::sleep(action_type.attempt_timeout) => None,
        () = overstayed(performing) => return stopped(performing, None),
    };
    match answer {
        None => match performing.stopped() {
            Stop::Lost => None,
            Stop::No | Stop::Cancelled | Stop::Draining => Some(Ended::TimedOut),
        },
        Some(Ok(Ok(output))) if output.as_str().len() <= Payload::MAX_BYTES => {
            Some(Ended::Completed(output))
        }
        Some(Ok(Ok(_))) => Some(Ended::Failed(Failure::permanent(
            "output_too_large",
            "The output is larger than 1 MiB.",
        ))),
        Some(Ok(Err(failure))) => stopped(performing, Some(failure)),
        Some(Err(_)) => {
            log::error!(action_id:% = task.action_id, action_type:% = task.action_type; "a handler panicked");
            Some(Ended::Failed(Failure::retryable(
                "handler_panicked",
                "The handler panicked.",
            )))
        }
    }
}

/// Returns when the handler has gone on for too long after it was told to stop.
async fn overstayed(performing: &Performing) {
    let reason = performing.stopped_beyond(Stop::No).await;
    if reason < Stop::Draining {
        tokio::select! {
            () = tokio::time::sleep(GRACE) => {}
            _ = performing.stopped_beyond(Stop::Cancelled) => {}
        }
    }
}

/// How an attempt ended that was stopped, or that failed by itself.
fn stopped(performing: &Performing, failure: Option<Failure>) -> Option<Ended> {
    match (performing.stopped(), performing.fault().or(failure)) {
        (Stop::Lost, _) => None,
        (Stop::Draining, _) => Some(Ended::Abandoned),
        (Stop::Cancelled, _) | (Stop::No, None) => Some(Ended::Cancelled),
        (Stop::No, Some(failure)) => Some(Ended::Failed(failure)),
    }
}

/// Records the end. Tries until there is an answer, for the same end again writes nothing twice.
async fn settle(
    shared: &Shared,
    grant: &Grant,
    action_type: &ActionType,
    performing: &Performing,
    ended: Ended,
) {
    let (next_seq, unsent) = performing.close().await;
    if performing.stopped() == Stop::Lost {
        return;
    }
    let cancel = match performing.stopped() {
        Stop::Cancelled => Cancel::Asked,
        Stop::No | Stop::Draining | Stop::Lost => Cancel::NotAsked,
    };
    let attempt = Attempt {
        cancel,
        next_seq,
        unsent,
        ..Attempt::of(grant, action_type.retry, ended)
    };
    let id = grant.lease.id.action_id;
    let mut pause = PAUSE.0;
    loop {
        match shared.work.settle(&attempt).await {
            Ok(Settled::Over(status)) => {
                log::info!(action_id:% = id, action_type:% = grant.action_type, attempt = grant.attempt; "{id} ended: {status}");
                return;
            }
            Ok(Settled::Again) => {
                log::info!(action_id:% = id, action_type:% = grant.action_type, attempt = grant.attempt; "{id} will be tried again");
                return;
            }
            Ok(Settled::Lost) => {
                log::warn!(action_id:% = id; "the lease on {id} was lost before its end was recorded");
                return;
            }
            Err(error @ (StoreError::Bug(_) | StoreError::BadRow { .. })) => {
                // Again would go wrong again: its lease expires, and the action is tried anew.
                log::error!(action_id:% = id, error:err = error; "the end of {id} could not be recorded");
                return;
            }
            Err(error) => {
                log::debug!(action_id:% = id, error:err = error; "the end of {id} waits for the store")
            }
        }
        if performing.stopped() == Stop::Lost {
            return;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE.1);
    }
}
