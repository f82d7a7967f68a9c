//! What somebody who waits beside an action is woken by.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, BoxStream, StreamExt as _};

use crate::action::Sequence;
use crate::caller::Caller;
use crate::id::ActionId;
use crate::ports::{Clock, Wakeups};

pub(super) enum Signal {
    /// The action's log reaches to this position.
    Grown(Sequence),
    /// The caller may have lost its validity.
    CheckCaller,
    /// The caller's key has expired.
    Expired,
}

/// Everything that a caller who waits beside `id` has to hear of, from now on. Never ends.
pub(super) fn signals(
    wakeups: &dyn Wakeups,
    clock: &Arc<dyn Clock>,
    caller: &Caller,
    id: ActionId,
) -> BoxStream<'static, Signal> {
    let growth = wakeups.watch_log(id).map(Signal::Grown);
    let identities = wakeups.watch_identities().map(|()| Signal::CheckCaller);
    let mut signals = stream::select(growth, identities).boxed();
    if let Some(at) = caller.identity().expires_at {
        let clock = Arc::clone(clock);
        let left = (at - clock.now()).to_std().unwrap_or(Duration::ZERO);
        let expiry = stream::once(async move {
            clock.sleep(left).await;
            Signal::Expired
        });
        // The others never end, so neither does the whole.
        signals = stream::select(signals, expiry).boxed();
    }
    signals
}
