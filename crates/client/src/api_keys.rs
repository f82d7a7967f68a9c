//! API keys.

use deed_api::api_key::{ApiKeyBody, ApiKeyQuery, CreateApiKey, IssuedApiKeyBody};
use uuid::Uuid;

use crate::builder::Client;
use crate::error::Error;
use crate::list::List;
use crate::operation;

impl Client {
    /// Issues a key, whose secret is shown this once. Not repeated after a lost connection, for a second key would be
    /// issued.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn create_api_key(&self, key: &CreateApiKey) -> Result<IssuedApiKeyBody, Error> {
        let request = self.request(operation::CREATE_API_KEY, &[]).json(key)?;
        self.send(&request).await?.json()
    }

    /// Keys, newest first.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the query can't be sent.
    pub fn list_api_keys(&self, query: &ApiKeyQuery) -> Result<List<ApiKeyBody>, Error> {
        let mut query = query.clone();
        let cursor = query.cursor.take();
        List::new(self, operation::LIST_API_KEYS, Vec::new(), &query, cursor)
    }

    /// The key that this client calls with.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn get_current_api_key(&self) -> Result<ApiKeyBody, Error> {
        let request = self.request(operation::GET_CURRENT_API_KEY, &[]);
        self.send(&request).await?.json()
    }

    /// One key.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn get_api_key(&self, id: Uuid) -> Result<ApiKeyBody, Error> {
        let request = self.request(operation::GET_API_KEY, &[&id.to_string()]);
        self.send(&request).await?.json()
    }

    /// Revokes a key: it is refused everywhere from now on. Revoking twice is no error.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn revoke_api_key(&self, id: Uuid) -> Result<(), Error> {
        let request = self.request(operation::REVOKE_API_KEY, &[&id.to_string()]);
        self.send(&request).await?;
        Ok(())
    }
}
