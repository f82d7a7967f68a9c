//! The server itself.

use deed_api::health::HealthBody;

use crate::builder::Client;
use crate::error::Error;
use crate::operation;

impl Client {
    /// Whether the process lives. Asked once, whatever comes.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn get_livez(&self) -> Result<HealthBody, Error> {
        let request = self.request(operation::GET_LIVEZ, &[]);
        self.send(&request).await?.json()
    }

    /// Whether this replica can serve. Asked once, whatever comes.
    ///
    /// # Errors
    /// [`Error`]; refused with 503 and the reason when it can't.
    pub async fn get_readyz(&self) -> Result<HealthBody, Error> {
        let request = self.request(operation::GET_READYZ, &[]);
        self.send(&request).await?.json()
    }

    /// The OpenAPI document, as JSON text.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn get_open_api(&self) -> Result<String, Error> {
        let request = self.request(operation::GET_OPEN_API, &[]);
        self.send(&request).await?.text()
    }

    /// The page of an error code, as HTML.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn get_problem_page(&self, code: &str) -> Result<String, Error> {
        let request = self.request(operation::GET_PROBLEM_PAGE, &[code]);
        self.send(&request).await?.text()
    }
}
