use futures_util::stream::BoxStream;

use crate::action::Sequence;
use crate::id::ActionId;

/// Tells that something may have changed. A hint: the query decides.
///
/// Whatever is committed by this replica wakes its watchers at once, what others commit within milliseconds; with
/// every hint lost, watchers are woken within 1.2 s all the same. Streams never end and never fail; dropping one
/// ends the watch. Hints that nobody has taken yet are merged into one.
#[cfg_attr(any(test, feature = "mocks"), mockall::automock)]
pub trait Wakeups: Send + Sync {
    /// The highest known position in the log of `action`, whenever it has grown. Watch first, then read: what is
    /// written after this call returns is never missed.
    fn watch_log(&self, action: ActionId) -> BoxStream<'static, Sequence>;

    /// Whenever an action may have become ready to be claimed.
    fn watch_queue(&self) -> BoxStream<'static, ()>;

    /// Whenever a performer may have been asked to cancel: the actions.
    fn watch_cancels(&self) -> BoxStream<'static, ActionId>;

    /// Whenever a key or a user may have lost its validity: within 1 s of the commit, 5 s with hints lost.
    fn watch_identities(&self) -> BoxStream<'static, ()>;
}
