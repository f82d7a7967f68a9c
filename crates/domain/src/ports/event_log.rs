use async_trait::async_trait;

use crate::action::{Event, Sequence};
use crate::caller::Reach;
use crate::error::StoreError;
use crate::id::ActionId;

/// Some entries of an action's log, read in one snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventPage {
    /// The entries, in order, without gaps.
    pub events: Vec<Event>,
    /// The position of the log's last entry.
    pub last: Sequence,
    /// Whether the log has ended: its last entry is `done`.
    pub is_over: bool,
}

/// Reads the logs of actions.
#[cfg_attr(any(test, feature = "mocks"), mockall::automock)]
#[async_trait]
pub trait EventLog: Send + Sync {
    /// The entries after `after`, at most `limit` (and fewer when they are large, but at least one if there is
    /// one); `None` when there is no such action within reach.
    async fn read(
        &self,
        action: ActionId,
        reach: &Reach,
        after: Sequence,
        limit: usize,
    ) -> Result<Option<EventPage>, StoreError>;
}
