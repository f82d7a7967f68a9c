//! Faults, and what they look like from outside: the table of `docs/reliability.md`, row by row.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may panic"
)]

mod aborted;
mod commits;
mod cut;
mod failing;
mod frozen;
mod late;
mod network;
mod outage;
mod refused;
mod rolling;

use std::io::Write as _;

use deed_e2e::client::Answer;
use tokio::sync::{Semaphore, SemaphorePermit};

const DEED: &str = env!("CARGO_BIN_EXE_deed-under-test");
const ACTIONS: [&str; 2] = ["actions:read", "actions:write"];

/// How many tests run side by side.
const PLACES: usize = 4;
static MACHINE: Semaphore = Semaphore::const_new(PLACES);

/// The whole machine, for what is promised in seconds: other tests wait.
async fn alone() -> SemaphorePermit<'static> {
    let places = u32::try_from(PLACES).unwrap();
    MACHINE.acquire_many(places).await.unwrap()
}

/// Half of the machine, for what is promised in seconds and does little.
async fn nearly_alone() -> SemaphorePermit<'static> {
    let places = u32::try_from(PLACES / 2).unwrap();
    MACHINE.acquire_many(places).await.unwrap()
}

/// A part of the machine.
async fn beside() -> SemaphorePermit<'static> {
    MACHINE.acquire().await.unwrap()
}

/// Writes what was measured to standard error, past what keeps the output of tests that pass.
fn note(fault: &str, measured: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "measured: {fault}: {measured}");
}

/// An answer is right, or it says when to come again. It is never a 500.
#[track_caller]
fn check_honest(answer: &Answer, success: &[u16]) {
    if success.contains(&answer.status) {
        return;
    }
    answer.problem(503, "unavailable");
    assert!(!answer.header("retry-after").is_empty());
}
