use async_trait::async_trait;

use crate::action::{ActionType, ActionTypeName};
use crate::error::StoreError;

/// Keeps the action types. What may be submitted is decided by them, not by a replica's handlers.
#[cfg_attr(any(test, feature = "mocks"), mockall::automock)]
#[async_trait]
pub trait ActionTypes: Send + Sync {
    /// Registers the types of this replica's handlers, over what was registered before. Idempotent, and safe on
    /// several replicas at once.
    async fn register_handlers(&self, types: &[ActionType]) -> Result<(), StoreError>;

    /// The type of that name.
    async fn find(&self, name: &ActionTypeName) -> Result<Option<ActionType>, StoreError>;

    /// All types, by name.
    async fn list(&self) -> Result<Vec<ActionType>, StoreError>;
}
