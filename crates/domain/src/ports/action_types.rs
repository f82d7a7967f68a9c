use async_trait::async_trait;

use crate::action::{ActionType, ActionTypeName};
use crate::error::StoreError;

/// What came of defining a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TypeDefined {
    /// There was none of this name.
    Created,
    /// It stands in place of what was defined before.
    Replaced,
    /// A handler performs the type of this name. Nothing was written.
    HasHandler,
}

/// What came of removing a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TypeRemoved {
    /// It is gone: no action of it will be accepted.
    Removed,
    /// There is none of this name.
    Unknown,
    /// A handler performs it. Nothing was written.
    HasHandler,
    /// Actions of it are not over yet. Nothing was written.
    HasActions,
}

/// Keeps the action types. What may be submitted is decided by them, not by a replica's handlers.
#[cfg_attr(any(test, feature = "mocks"), mockall::automock)]
#[async_trait]
pub trait ActionTypes: Send + Sync {
    /// Registers the types of this replica's handlers, over what was registered before. Idempotent, and safe on
    /// several replicas at once.
    async fn register_handlers(&self, types: &[ActionType]) -> Result<(), StoreError>;

    /// Defines a type that workers perform, in place of one that was defined so before.
    async fn define(&self, action_type: &ActionType) -> Result<TypeDefined, StoreError>;

    /// Removes a type that workers perform, unless an action of it waits or runs: none is accepted while that is
    /// decided. What is over keeps the name of its type.
    async fn remove(&self, name: &ActionTypeName) -> Result<TypeRemoved, StoreError>;

    /// The type of that name.
    async fn find(&self, name: &ActionTypeName) -> Result<Option<ActionType>, StoreError>;

    /// The types of those names, in no order; none for a name that is not registered.
    async fn find_all(&self, names: &[ActionTypeName]) -> Result<Vec<ActionType>, StoreError>;

    /// All types, by name.
    async fn list(&self) -> Result<Vec<ActionType>, StoreError>;
}
