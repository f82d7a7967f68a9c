//! Users.

use deed_api::user::{CreateUser, MeBody, PatchUser, UserBody, UserQuery};
use uuid::Uuid;

use crate::builder::Client;
use crate::error::Error;
use crate::keyed::Keyed;
use crate::list::List;
use crate::operation;

impl Client {
    /// Registers a user; await what it answers. Sent again after a lost connection, it registers once.
    pub fn create_user(&self, user: &CreateUser) -> Keyed<UserBody> {
        let request = self.request(operation::CREATE_USER, &[]).json(user);
        Keyed::new(self, request)
    }

    /// Users, newest first.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the query can't be sent.
    pub fn list_users(&self, query: &UserQuery) -> Result<List<UserBody>, Error> {
        let mut query = query.clone();
        let cursor = query.cursor.take();
        List::new(self, operation::LIST_USERS, Vec::new(), &query, cursor)
    }

    /// The user that the client acts for, with the scopes of its key.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn get_me(&self) -> Result<MeBody, Error> {
        let request = self.request(operation::GET_ME, &[]);
        self.send(&request).await?.json()
    }

    /// One user.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn get_user(&self, id: Uuid) -> Result<UserBody, Error> {
        let request = self.request(operation::GET_USER, &[&id.to_string()]);
        self.send(&request).await?.json()
    }

    /// Changes what the patch holds, and answers the user as it is then. Not repeated after a lost connection: somebody
    /// else may have changed it in between.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn update_user(&self, id: Uuid, patch: &PatchUser) -> Result<UserBody, Error> {
        let request = self
            .request(operation::UPDATE_USER, &[&id.to_string()])
            .json(patch)?;
        self.send(&request).await?.json()
    }
}
