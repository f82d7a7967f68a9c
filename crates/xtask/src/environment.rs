//! The few variables of the environment that the tasks obey.

use std::ffi::OsString;
use std::path::PathBuf;

/// Where PostgreSQL's programs are, should they not be found.
pub(crate) fn pg_bin() -> Option<PathBuf> {
    read("DEED_PG_BIN").map(PathBuf::from)
}

/// How many tests are to run at once, where somebody has said so.
pub(crate) fn test_threads() -> Option<usize> {
    read("RUST_TEST_THREADS")?.to_str()?.parse().ok()
}

/// The cargo that runs this task.
pub(crate) fn cargo() -> OsString {
    read("CARGO").unwrap_or_else(|| "cargo".into())
}

/// The directories of programs.
pub(crate) fn path() -> OsString {
    read("PATH").unwrap_or_default()
}

#[expect(
    clippy::disallowed_methods,
    reason = "a task is no part of the product, whose settings are read in one place"
)]
fn read(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}
