//! What is between a server and a person: the example page and Swagger UI in Chromium, and streams behind proxies. All of
//! it stays on this machine. `cargo xtask browser` installs what it takes and runs it.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "a test may panic"
)]

mod docs;
mod page;
mod proxies;

use std::io::Write as _;

use tokio::sync::{Semaphore, SemaphorePermit};

const DEED: &str = env!("CARGO_BIN_EXE_deed-under-test");
const ACTIONS: [&str; 2] = ["actions:read", "actions:write"];

/// How many browsers run side by side.
const PLACES: usize = 2;
static MACHINE: Semaphore = Semaphore::const_new(PLACES);

/// The whole machine, for what is measured in milliseconds: browsers wait.
async fn alone() -> SemaphorePermit<'static> {
    let places = u32::try_from(PLACES).unwrap();
    MACHINE.acquire_many(places).await.unwrap()
}

/// A browser's part of the machine.
async fn beside() -> SemaphorePermit<'static> {
    MACHINE.acquire().await.unwrap()
}

/// Writes what was measured to standard error, past what keeps the output of tests that pass.
fn note(measured: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "measured: {measured}");
}
