use crate::action::Payload;
use crate::error::Violation;

/// A text that is no usable JSON Schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a usable JSON Schema: {0}")]
pub struct SchemaError(pub String);

/// Checks inputs against JSON Schemas (2020-12). No reference to another document is followed.
#[cfg_attr(any(test, feature = "mocks"), mockall::automock)]
pub trait InputSchemas: Send + Sync {
    /// Whether inputs can be checked against `schema`, at a cost that is bounded by the sizes of both.
    ///
    /// # Errors
    /// [`SchemaError`] says why not.
    fn admit(&self, schema: &Payload) -> Result<(), SchemaError>;

    /// The rules that `input` breaks, with pointers from the input's root; none when it is valid. CPU work that is
    /// bounded by the sizes of both.
    ///
    /// # Errors
    /// [`SchemaError`] when the schema itself can't be used.
    fn check(&self, schema: &Payload, input: &Payload) -> Result<Vec<Violation>, SchemaError>;
}
