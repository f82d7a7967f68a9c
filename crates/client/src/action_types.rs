//! Action types.

use deed_api::action_type::{ActionTypeBody, ActionTypeQuery, PutActionType};

use crate::builder::Client;
use crate::error::Error;
use crate::list::List;
use crate::operation;

impl Client {
    /// Action types.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the query can't be sent.
    pub fn list_action_types(
        &self,
        query: &ActionTypeQuery,
    ) -> Result<List<ActionTypeBody>, Error> {
        let mut query = query.clone();
        let cursor = query.cursor.take();
        List::new(
            self,
            operation::LIST_ACTION_TYPES,
            Vec::new(),
            &query,
            cursor,
        )
    }

    /// One action type, with the schema of its input.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn get_action_type(&self, name: &str) -> Result<ActionTypeBody, Error> {
        let request = self.request(operation::GET_ACTION_TYPE, &[name]);
        self.send(&request).await?.json()
    }

    /// Defines a type that workers perform, in place of what was defined before.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn put_action_type(
        &self,
        name: &str,
        action_type: &PutActionType,
    ) -> Result<ActionTypeBody, Error> {
        let request = self
            .request(operation::PUT_ACTION_TYPE, &[name])
            .json(action_type)?;
        self.send(&request).await?.json()
    }

    /// Removes a type that workers perform, once none of its actions waits or runs.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn delete_action_type(&self, name: &str) -> Result<(), Error> {
        let request = self.request(operation::DELETE_ACTION_TYPE, &[name]);
        self.send(&request).await?;
        Ok(())
    }
}
