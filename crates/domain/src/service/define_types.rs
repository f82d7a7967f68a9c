use std::sync::Arc;

use crate::action::{ActionType, ActionTypeName};
use crate::caller::Caller;
use crate::error::Error;
use crate::ports::{ActionTypes, InputSchemas, TypeDefined, TypeRemoved};
use crate::scope::Permission;

/// Defines and removes the types that workers perform.
#[derive(Clone)]
pub struct DefineTypes {
    types: Arc<dyn ActionTypes>,
    schemas: Arc<dyn InputSchemas>,
}

impl DefineTypes {
    /// The use case over these ports.
    #[must_use]
    pub fn new(types: Arc<dyn ActionTypes>, schemas: Arc<dyn InputSchemas>) -> Self {
        Self { types, schemas }
    }

    /// Defines a type, in place of one that was defined before; answers whether it is new. Actions that were accepted
    /// before keep the number of attempts that they were promised.
    ///
    /// # Errors
    /// [`Error::InsufficientScope`] without `types:write`, [`Error::Invalid`] for a schema that can't be used,
    /// [`Error::TypeHasHandler`].
    pub async fn define(&self, caller: &Caller, action_type: &ActionType) -> Result<bool, Error> {
        caller.require(Permission::TypesWrite)?;
        if let Some(schema) = &action_type.input_schema {
            let max = ActionType::INPUT_SCHEMA_MAX_BYTES;
            if schema.as_str().len() > max {
                let message = format!("must have at most {max} bytes");
                return Err(Error::invalid("/input_schema", message));
            }
            self.schemas
                .admit(schema)
                .map_err(|error| Error::invalid("/input_schema", error.to_string()))?;
        }
        match self.types.define(action_type).await? {
            TypeDefined::Created => Ok(true),
            TypeDefined::Replaced => Ok(false),
            TypeDefined::HasHandler => Err(Error::TypeHasHandler),
        }
    }

    /// Removes a type that has no unfinished action.
    ///
    /// # Errors
    /// [`Error::InsufficientScope`] without `types:write`, [`Error::ActionTypeNotFound`], [`Error::TypeHasHandler`],
    /// [`Error::TypeHasActions`].
    pub async fn remove(&self, caller: &Caller, name: &ActionTypeName) -> Result<(), Error> {
        caller.require(Permission::TypesWrite)?;
        match self.types.remove(name).await? {
            TypeRemoved::Removed => Ok(()),
            TypeRemoved::Unknown => Err(Error::ActionTypeNotFound),
            TypeRemoved::HasHandler => Err(Error::TypeHasHandler),
            TypeRemoved::HasActions => Err(Error::TypeHasActions),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::{Payload, PerformedBy};
    use crate::ports::{MockActionTypes, MockInputSchemas, SchemaError};
    use crate::service::testing::{key_of, user};

    fn caller(scopes: &[&str]) -> Caller {
        key_of(user(1), scopes)
    }

    fn report(schema: Option<String>) -> ActionType {
        let name = ActionTypeName::parse("report").unwrap();
        ActionType {
            input_schema: schema.map(Payload::from_stored),
            ..ActionType::new(name, PerformedBy::Workers)
        }
    }

    async fn define(schema: Option<String>, answer: TypeDefined) -> Result<bool, Error> {
        let mut types = MockActionTypes::new();
        types.expect_define().returning(move |_| Ok(answer));
        let mut schemas = MockInputSchemas::new();
        schemas.expect_admit().returning(|schema| {
            if schema.as_str().contains("bad") {
                return Err(SchemaError("bad".to_owned()));
            }
            Ok(())
        });
        DefineTypes::new(Arc::new(types), Arc::new(schemas))
            .define(&caller(&["types:write"]), &report(schema))
            .await
    }

    #[tokio::test]
    async fn defining_tells_what_came_of_it() {
        assert_eq!(define(None, TypeDefined::Created).await, Ok(true));
        assert_eq!(define(None, TypeDefined::Replaced).await, Ok(false));
        let refused = define(None, TypeDefined::HasHandler).await;
        assert_eq!(refused, Err(Error::TypeHasHandler));
    }

    #[tokio::test]
    async fn a_schema_that_cannot_be_used_is_refused_before_anything_is_written() {
        let long = format!("\"{}\"", "a".repeat(ActionType::INPUT_SCHEMA_MAX_BYTES));
        for schema in ["bad".to_owned(), long] {
            let Err(Error::Invalid(violations)) = define(Some(schema), TypeDefined::Created).await
            else {
                panic!("it was taken");
            };
            assert_eq!(violations[0].pointer, "/input_schema");
        }
        let longest = format!("\"{}\"", "a".repeat(ActionType::INPUT_SCHEMA_MAX_BYTES - 2));
        assert_eq!(define(Some(longest), TypeDefined::Created).await, Ok(true));
    }

    #[tokio::test]
    async fn removing_tells_what_is_in_the_way() {
        for (answer, expected) in [
            (TypeRemoved::Removed, Ok(())),
            (TypeRemoved::Unknown, Err(Error::ActionTypeNotFound)),
            (TypeRemoved::HasHandler, Err(Error::TypeHasHandler)),
            (TypeRemoved::HasActions, Err(Error::TypeHasActions)),
        ] {
            let mut types = MockActionTypes::new();
            types.expect_remove().returning(move |_| Ok(answer));
            let define = DefineTypes::new(Arc::new(types), Arc::new(MockInputSchemas::new()));
            let name = ActionTypeName::parse("report").unwrap();
            assert_eq!(
                define.remove(&caller(&["types:write"]), &name).await,
                expected
            );
        }
    }

    #[tokio::test]
    async fn nothing_is_done_without_the_scope() {
        let define = DefineTypes::new(
            Arc::new(MockActionTypes::new()),
            Arc::new(MockInputSchemas::new()),
        );
        let reader = caller(&["actions:read"]);
        let refused = define.define(&reader, &report(None)).await;
        assert!(matches!(refused, Err(Error::InsufficientScope(_))));
        let refused = define.remove(&reader, &report(None).name).await;
        assert!(matches!(refused, Err(Error::InsufficientScope(_))));
    }
}
