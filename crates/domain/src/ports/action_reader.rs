use async_trait::async_trait;

use crate::action::{Action, ActionFilter, ActionOverview};
use crate::caller::Reach;
use crate::error::StoreError;
use crate::id::ActionId;
use crate::page::{Page, PageRequest};

/// Reads actions as they are now.
#[cfg_attr(any(test, feature = "mocks"), mockall::automock)]
#[async_trait]
pub trait ActionReader: Send + Sync {
    /// The action of that id, if it is within reach.
    async fn find(&self, id: ActionId, reach: &Reach) -> Result<Option<Action>, StoreError>;

    /// The actions of those ids that are within reach, in no order, without input and output.
    async fn overviews(
        &self,
        ids: &[ActionId],
        reach: &Reach,
    ) -> Result<Vec<ActionOverview>, StoreError>;

    /// Actions within reach, newest first, without input and output.
    async fn list(
        &self,
        filter: &ActionFilter,
        reach: &Reach,
        page: PageRequest<ActionId>,
    ) -> Result<Page<ActionOverview, ActionId>, StoreError>;
}
