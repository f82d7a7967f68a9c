use std::sync::Arc;

use crate::caller::{Attribution, Caller};
use crate::error::Error;
use crate::id::UserId;
use crate::ports::{Belongings, Erasure, UserRepository};
use crate::scope::Permission;

/// Deletes users, and what they leave behind.
#[derive(Clone)]
pub struct DeleteUser {
    users: Arc<dyn UserRepository>,
    erasure: Arc<dyn Erasure>,
}

impl DeleteUser {
    /// The use case over these ports.
    #[must_use]
    pub fn new(users: Arc<dyn UserRepository>, erasure: Arc<dyn Erasure>) -> Self {
        Self { users, erasure }
    }

    /// Deletes a user for `caller`. Its actions are removed afterwards, by whoever erases in the background.
    ///
    /// # Errors
    /// [`Error::InsufficientScope`] without `users:write`, [`Error::UserNotFound`].
    pub async fn run(&self, caller: &Caller, id: UserId, by: &Attribution) -> Result<(), Error> {
        caller.require(Permission::UsersWrite)?;
        self.delete(id, by).await
    }

    /// Deletes any user: the operator's way.
    ///
    /// # Errors
    /// [`Error::UserNotFound`].
    pub async fn delete(&self, id: UserId, by: &Attribution) -> Result<(), Error> {
        if self.users.delete(id, by).await? {
            Ok(())
        } else {
            Err(Error::UserNotFound)
        }
    }

    /// What would go with a user.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn belongings(&self, id: UserId) -> Result<Belongings, Error> {
        Ok(self.erasure.belongings(id).await?)
    }

    /// Removes what a deleted user has left behind, to the end. `progress` hears after each step how many actions are
    /// gone; so does the caller at the end.
    ///
    /// # Errors
    /// [`Error::Store`]; what is gone stays gone, and the rest is removed in the background.
    pub async fn erase(
        &self,
        id: UserId,
        mut progress: impl FnMut(u64) + Send,
    ) -> Result<u64, Error> {
        let mut gone = 0_u64;
        loop {
            let step = self.erasure.erase(id).await?;
            gone = gone.saturating_add(step.actions);
            progress(gone);
            if step.is_over {
                return Ok(gone);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::StoreError;
    use crate::ports::{Erased, MockErasure, MockUserRepository};
    use crate::scope::Scope;
    use crate::service::testing::{key_of, user};

    fn use_case(users: MockUserRepository, erasure: MockErasure) -> DeleteUser {
        DeleteUser::new(Arc::new(users), Arc::new(erasure))
    }

    async fn run(scopes: &[&str], exists: bool) -> Result<(), Error> {
        let mut users = MockUserRepository::new();
        users.expect_delete().returning(move |_, _| Ok(exists));
        let caller = key_of(user(1), scopes);
        use_case(users, MockErasure::new())
            .run(&caller, user(2), &caller.attribution(None))
            .await
    }

    #[tokio::test]
    async fn deleting_takes_the_scope() {
        assert_eq!(run(&["users:write"], true).await, Ok(()));
        let refused = Error::InsufficientScope(Scope::all(Permission::UsersWrite));
        assert_eq!(run(&["users:read"], true).await, Err(refused));
    }

    #[tokio::test]
    async fn who_is_not_there_can_not_be_deleted() {
        let answer = run(&["users:write"], false).await;
        assert_eq!(answer, Err(Error::UserNotFound));
    }

    #[tokio::test]
    async fn erasing_goes_on_until_nothing_is_left() {
        let mut erasure = MockErasure::new();
        let mut steps = [(200, false), (0, false), (7, true)].into_iter();
        erasure.expect_erase().times(3).returning(move |_| {
            let (actions, is_over) = steps.next().unwrap();
            Ok(Erased { actions, is_over })
        });
        let mut heard = Vec::new();
        let gone = use_case(MockUserRepository::new(), erasure)
            .erase(user(1), |gone| heard.push(gone))
            .await;
        assert_eq!((gone, heard), (Ok(207), vec![200, 200, 207]));
    }

    #[tokio::test]
    async fn a_fault_ends_erasing() {
        let mut erasure = MockErasure::new();
        let away = StoreError::Unavailable(Arc::new(std::io::Error::other("away")));
        let answer = away.clone();
        erasure
            .expect_erase()
            .times(1)
            .returning(move |_| Err(answer.clone()));
        let erased = use_case(MockUserRepository::new(), erasure)
            .erase(user(1), |_| ())
            .await;
        assert_eq!(erased, Err(Error::Store(away)));
    }
}
