//! Users.

use deed_api::user::{CreateUser, MeBody, PatchUser, UserBody, UserQuery};
use reqwest::header::IF_MATCH;
use uuid::Uuid;

use crate::builder::Client;
use crate::error::Error;
use crate::keyed::Keyed;
use crate::list::List;
use crate::operation;
use crate::request::Tagged;

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

    /// One user, with the tag of this very version.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn get_user_tagged(&self, id: Uuid) -> Result<Tagged<UserBody>, Error> {
        let request = self.request(operation::GET_USER, &[&id.to_string()]);
        self.send(&request).await?.tagged()
    }

    /// Changes what the patch holds if the user is still of the version that `etag` names, and answers the user as it is
    /// then. Refused as `precondition_failed` when it is of another one. Not repeated after a lost connection.
    ///
    /// ```no_run
    /// # async fn example(client: deed_client::Client, id: uuid::Uuid) -> Result<(), deed_client::Error> {
    /// use deed_client::api::user::PatchUser;
    ///
    /// let ada = client.get_user_tagged(id).await?;
    /// let name = Some(format!("{} King", ada.value.name));
    /// let patch = PatchUser { name, ..PatchUser::default() };
    /// client.update_user_if(id, &ada.etag, &patch).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error`].
    pub async fn update_user_if(
        &self,
        id: Uuid,
        etag: &str,
        patch: &PatchUser,
    ) -> Result<Tagged<UserBody>, Error> {
        let request = self
            .request(operation::UPDATE_USER, &[&id.to_string()])
            .header(IF_MATCH, etag)?
            .json(patch)?;
        self.send(&request).await?.tagged()
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
