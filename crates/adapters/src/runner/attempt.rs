//! One attempt, from its grant to its end.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use deed_domain::action::{ActionType, Cancel, Grant, Payload, Status};
use deed_domain::error::StoreError;
use deed_domain::ports::{ActionHandler, Context, Failure, Performance, Span, SpanRecord, Task};
use deed_domain::service::{Attempt, Ended, Settled};
use futures_util::FutureExt as _;
use tokio::time::Instant;

use super::Shared;
use super::performing::{Performing, Stop};
use crate::metrics::RunnerMetrics;

/// How long a handler may go on after it was told to stop.
const GRACE: Duration = Duration::from_secs(5);
/// The pause after the end could not be recorded: doubled each time from the first to the last.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

pub(super) async fn run(
    shared: Arc<Shared>,
    mut grant: Grant,
    span: Option<Box<dyn Span>>,
    action_type: ActionType,
    handler: Arc<dyn ActionHandler>,
    performing: Arc<Performing>,
) {
    let began = Instant::now();
    if let Some(span) = &span {
        grant.traceparent = Some(span.traceparent());
    }
    let ended = match messages_before(&shared, &grant, &performing).await {
        Some(before) => {
            let handler = handler.as_ref();
            let metrics = &shared.metrics;
            perform(&grant, before, &action_type, handler, &performing, metrics).await
        }
        None => stopped(&performing, None),
    };
    let outcome = match ended {
        Some(ended) => settle(&shared, &grant, &action_type, &performing, ended).await,
        None => Told::Lost,
    };
    tell(&shared, &grant, began.elapsed(), outcome);
    if let Some(span) = span {
        span.end(record(&grant, &shared.worker, outcome));
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

/// How many chunks earlier attempts have left. Asks until there is an answer; `None` when the attempt is stopped before.
async fn messages_before(shared: &Shared, grant: &Grant, performing: &Performing) -> Option<u32> {
    // A log in which nothing but `created` and the first `started` can stand.
    if grant.lease.next_seq.get() <= 3 {
        return Some(0);
    }
    let id = grant.lease.id.action_id;
    let mut pause = PAUSE.0;
    loop {
        let asked = tokio::select! {
            asked = shared.leases.messages(id, grant.lease.next_seq) => asked,
            _ = performing.stopped_beyond(Stop::No) => return None,
        };
        match asked {
            Ok(messages) => return Some(messages),
            Err(error) => {
                log::debug!(action_id:% = id, error:err = error; "{id} waits for the store")
            }
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = performing.stopped_beyond(Stop::No) => return None,
        }
        pause = (pause * 2).min(PAUSE.1);
    }
}

/// Runs the handler; `None` when the lease was lost.
async fn perform(
    grant: &Grant,
    messages_before: u32,
    action_type: &ActionType,
    handler: &dyn ActionHandler,
    performing: &Arc<Performing>,
    metrics: &RunnerMetrics,
) -> Option<Ended> {
    let task = Task {
        action_id: grant.lease.id.action_id,
        user_id: grant.user_id,
        action_type: grant.action_type.clone(),
        input: grant.input.clone(),
        attempt: grant.attempt,
        max_attempts: grant.max_attempts,
        messages_before,
        checkpoint: grant.checkpoint.clone(),
        traceparent: grant.traceparent,
    };
    let performance: Arc<dyn Performance> = performing.clone();
    let context = Context::new(performance);
    let work = AssertUnwindSafe(handler.perform(&task, &context)).catch_unwind();
    let (limit, at_limit) = limit(grant, action_type);
    let answer = tokio::select! {
        biased;
        answer = work => Some(answer),
        () = tokio::time::sleep(limit) => None,
        () = overstayed(performing) => return stopped(performing, None),
    };
    match answer {
        None => match performing.stopped() {
            Stop::Lost => None,
            Stop::No | Stop::Cancelled | Stop::Draining => Some(at_limit),
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
            log::error!(action_id:% = task.action_id, action_type:% = task.action_type, attempt = task.attempt; "the handler of {} panicked", task.action_id);
            metrics.panicked();
            Some(Ended::Failed(Failure::retryable(
                "handler_panicked",
                "The handler panicked.",
            )))
        }
    }
}

/// How long the attempt may take, and what it comes to then.
fn limit(grant: &Grant, action_type: &ActionType) -> (Duration, Ended) {
    match grant.time_left {
        Some(left) if left <= action_type.attempt_timeout => (left, Ended::OutOfTime),
        _ => (action_type.attempt_timeout, Ended::TimedOut),
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

/// Records the end and answers what became of the attempt. Tries until there is an answer, for the same end again
/// writes nothing twice.
async fn settle(
    shared: &Shared,
    grant: &Grant,
    action_type: &ActionType,
    performing: &Performing,
    ended: Ended,
) -> Told {
    let (next_seq, unsent, checkpoint) = performing.close().await;
    if performing.stopped() == Stop::Lost {
        return Told::Lost;
    }
    let cancel = match performing.stopped() {
        Stop::Cancelled => Cancel::Asked,
        Stop::No | Stop::Draining | Stop::Lost => Cancel::NotAsked,
    };
    let attempt = Attempt {
        cancel,
        next_seq,
        unsent,
        checkpoint,
        ..Attempt::of(grant, action_type.retry, ended)
    };
    let id = grant.lease.id.action_id;
    let mut pause = PAUSE.0;
    loop {
        match shared.work.settle(&attempt).await {
            Ok(Settled::Over(status)) => return Told::Over(status),
            Ok(Settled::Again) => return Told::Again,
            Ok(Settled::Lost) => return Told::Lost,
            Err(error @ (StoreError::Bug(_) | StoreError::BadRow { .. })) => {
                // Again would go wrong again: its lease expires, and the action is tried anew.
                log::error!(action_id:% = id, error:err = error; "the end of {id} could not be recorded");
                return Told::Unrecorded;
            }
            Err(error) => {
                log::debug!(action_id:% = id, error:err = error; "the end of {id} waits for the store")
            }
        }
        if performing.stopped() == Stop::Lost {
            return Told::Lost;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE.1);
    }
}

/// What is told of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// Its action is over, so.
    Over(Status),
    /// Another attempt will follow.
    Again,
    /// Its lease was lost: whatever it did counts for nothing.
    Lost,
    /// The store refused to take its end.
    Unrecorded,
}

impl Told {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Over(status) => status.as_str(),
            Self::Again => "retry",
            Self::Lost => "lease_lost",
            Self::Unrecorded => "unrecorded",
        }
    }
}

/// One line an attempt.
fn tell(shared: &Shared, grant: &Grant, took: Duration, told: Told) {
    let id = grant.lease.id.action_id;
    let (kind, attempt, worker) = (&grant.action_type, grant.attempt, shared.worker.as_str());
    let milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    let outcome = told.as_str();
    let trace_id = grant.traceparent.map(|parent| parent.trace_id.to_string());
    let level = match told {
        Told::Over(_) | Told::Again => log::Level::Info,
        Told::Lost | Told::Unrecorded => log::Level::Warn,
    };
    log::log!(
        level,
        action_id:% = id, action_type:% = kind, attempt, worker, duration_ms = milliseconds, outcome,
        trace_id = trace_id.as_deref();
        "attempt {attempt} of {id} ({kind}): {outcome} after {milliseconds} ms"
    );
}

fn record(grant: &Grant, worker: &str, told: Told) -> SpanRecord {
    let outcome = told.as_str();
    SpanRecord {
        name: format!("perform {}", grant.action_type),
        attributes: vec![
            (
                "deed.action.id",
                grant.lease.id.action_id.to_string().into(),
            ),
            ("deed.action.type", grant.action_type.as_str().into()),
            ("deed.attempt", grant.attempt.into()),
            ("deed.worker", worker.into()),
            ("deed.outcome", outcome.into()),
        ],
        error: match told {
            Told::Over(Status::Succeeded | Status::Cancelled) => None,
            Told::Over(_) | Told::Again | Told::Lost | Told::Unrecorded => Some(outcome.into()),
        },
    }
}
