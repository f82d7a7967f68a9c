//! Waiting on a fact, with a deadline.

use std::fmt::Debug;
use std::future::Future;
use std::time::{Duration, Instant};

/// How long anything may take that should happen at once: generous, because test machines are slow and shared.
pub const SOON: Duration = Duration::from_secs(20);

/// Asks until the answer is `Ok`, and returns what is in it. Fails the test when it stays `Err` for too long.
pub async fn until<T, E: Debug>(limit: Duration, mut ask: impl AsyncFnMut() -> Result<T, E>) -> T {
    let start = Instant::now();
    loop {
        match ask().await {
            Ok(fact) => return fact,
            Err(error) if start.elapsed() > limit => {
                panic!("not so after {limit:?}: {error:?}")
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Waits for `future`, but not for ever.
pub async fn within<T>(limit: Duration, what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(limit, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} took longer than {limit:?}"),
    }
}
