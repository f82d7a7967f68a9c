//! One attempt, from its lease to its end.

use std::sync::Arc;
use std::time::Duration;

use deed_api::lease::{CompleteLease, LeaseBody};
use serde_json::value::RawValue;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::held::{Held, Standing};
use super::job::Job;
use super::{Failure, Handler, Shared, Trouble, journal, persist};
use crate::error::Error;

/// How long a handler may go on after it was told to stop.
const GRACE: Duration = Duration::from_secs(5);

/// How an attempt ends.
enum End {
    Completed(Box<RawValue>),
    Failed(Failure),
    Released,
    Lost,
}

pub(super) async fn run(
    shared: &Shared,
    lease: LeaseBody,
    held: &Arc<Held>,
    handler: Option<Handler>,
) {
    let action_id = lease.action.id;
    let end = match handler {
        Some(handler) => tokio::select! {
            end = perform(shared, lease, held, handler) => end,
            () = held.lost() => End::Lost,
            () = giving_back(shared) => End::Released,
            () = overstayed(held) => End::Failed(Failure::stopped()),
        },
        // Nobody has asked for such a one.
        None => End::Released,
    };
    match tell(shared, held, end).await {
        Ok(true) => {}
        Ok(false) => shared.tell(&Trouble::LeaseLost { action_id }),
        Err(error) => shared.tell(&Trouble::Untold {
            action_id,
            error: &error,
        }),
    }
}

/// Runs the handler on a task of its own, which ends when this future is dropped, and writes what it says.
async fn perform(shared: &Shared, lease: LeaseBody, held: &Arc<Held>, handler: Handler) -> End {
    let first_seq = lease.next_seq;
    let (sender, entries) = mpsc::channel(journal::BUFFER);
    let job = Job {
        lease: Arc::new(lease),
        held: Arc::clone(held),
        entries: sender,
    };
    let mut work = Aborting(tokio::spawn(async move { handler(job).await }));
    let (finish, finished) = oneshot::channel();
    let writing = journal::write(shared, held, first_seq, entries, finished);
    let mut writing = std::pin::pin!(writing);
    let (outcome, written) = tokio::select! {
        outcome = &mut work.0 => {
            // Where nobody listens any more, all is written already.
            let _ = finish.send(());
            (outcome, writing.await)
        }
        written = &mut writing => match written {
            // The handler goes on after all that could speak for it is gone.
            Ok(()) => ((&mut work.0).await, Ok(())),
            Err(error) => return refused(&error),
        },
    };
    match (written, outcome) {
        (Err(error), _) => refused(&error),
        (Ok(()), Ok(Ok(output))) => End::Completed(output),
        (Ok(()), Ok(Err(failure))) => End::Failed(failure),
        (Ok(()), Err(error)) if error.is_panic() => End::Failed(Failure::panicked()),
        // Its runtime is about to end.
        (Ok(()), Err(_)) => End::Released,
    }
}

fn refused(error: &Error) -> End {
    if is_lost(error) {
        End::Lost
    } else {
        End::Failed(Failure::refused(error))
    }
}

fn is_lost(error: &Error) -> bool {
    error.code() == Some("lease_lost")
}

/// Waits until what is still held is to be given back.
async fn giving_back(shared: &Shared) {
    let mut is_giving_back = shared.is_giving_back.clone();
    // A worker that is gone gives nothing back.
    drop(is_giving_back.wait_for(|is_so| *is_so).await);
}

async fn overstayed(held: &Held) {
    held.stopped().await;
    sleep(GRACE).await;
}

/// Tells the server how the attempt has ended; whether the lease was still good for that.
async fn tell(shared: &Shared, held: &Held, end: End) -> Result<bool, Error> {
    let told = match end {
        End::Lost => return Ok(false),
        End::Released => persist(shared, || shared.client.release_lease(&held.lease_id)).await,
        End::Failed(failure) => fail(shared, held, failure).await,
        End::Completed(output) => {
            let output = CompleteLease { output };
            let complete = || shared.client.complete_lease(&held.lease_id, &output);
            match persist(shared, complete).await {
                // It is too large, perhaps; the same again would be no better.
                Err(error) if error.refusal().is_some() && !is_lost(&error) => {
                    fail(shared, held, Failure::refused(&error)).await
                }
                other => other,
            }
        }
    };
    match told {
        Ok(()) => Ok(true),
        Err(error) if is_lost(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

async fn fail(shared: &Shared, held: &Held, failure: Failure) -> Result<(), Error> {
    let failure = match held.standing() {
        Standing::CancelRequested => failure.in_answer_to_cancel(),
        Standing::Well | Standing::Lost => failure,
    };
    let body = failure.into_body();
    persist(shared, || shared.client.fail_lease(&held.lease_id, &body)).await
}

/// A task that ends when this is dropped.
struct Aborting<T>(JoinHandle<T>);

impl<T> Drop for Aborting<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
