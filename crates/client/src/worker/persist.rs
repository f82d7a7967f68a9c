//! Asking until there is an answer.

use std::time::Duration;

use tokio::time::sleep;

use super::{Shared, Trouble};
use crate::error::Error;
use crate::random;
use crate::retry::doubled;

/// The longest first pause, and the longest of all.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Calls again, after a growing random pause, for as long as the server is away or can't serve. Only for calls that act
/// once however often they are made. Fails with a refusal that doesn't pass.
pub(super) async fn persist<T, F: Future<Output = Result<T, Error>>>(
    shared: &Shared,
    mut call: impl FnMut() -> F,
) -> Result<T, Error> {
    let mut failures = 0u32;
    loop {
        let error = match call().await {
            Err(error) if may_pass(&error) => error,
            other => return other,
        };
        let asked = error.refusal().and_then(|refusal| refusal.retry_after);
        let pause = asked
            .unwrap_or_default()
            .min(PAUSE.1)
            .saturating_add(random::up_to(doubled(PAUSE.0, failures).min(PAUSE.1)));
        failures = failures.saturating_add(1);
        shared.tell(&Trouble::Server {
            error: &error,
            pause,
        });
        sleep(pause).await;
    }
}

/// Whether it may fare better later.
fn may_pass(error: &Error) -> bool {
    let passes = |status| status == 429 || status >= 500;
    error.is_unreachable()
        || error
            .refusal()
            .is_some_and(|refusal| passes(refusal.status))
}
