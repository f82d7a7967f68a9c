//! Asking for leases.

use std::time::Duration;

use super::Perform;
use crate::action::{ActionTypeName, LeaseRequest, LeaseRequestId};
use crate::caller::Caller;
use crate::error::Error;
use crate::ports::{DispatchError, Granted, Wish};
use crate::scope::{Permission, Scope};

/// After how long it is worth a try again where as many wait as may.
const WAITING_PAUSE: Duration = Duration::from_secs(5);

/// What a worker asks for, and may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed(Wish);

impl Perform {
    /// Whether the caller may have what it wishes. A request with an `id` is known again by it, and by the key that
    /// makes it.
    ///
    /// # Errors
    /// [`Error::InsufficientScope`] without `actions:work` for each of the types.
    pub fn allow(
        &self,
        caller: &Caller,
        wish: Wish,
        id: Option<&LeaseRequestId>,
    ) -> Result<Allowed, Error> {
        caller.require(Permission::ActionsWork)?;
        let reach = caller.reach(Permission::ActionsWork).types;
        if let Some(beyond) = wish.types.iter().find(|name| !reach.includes(name)) {
            return Err(Error::InsufficientScope(narrowed(beyond)));
        }
        Ok(Allowed(Wish {
            request: id.map(|id| LeaseRequest::of(caller, id)),
            ..wish
        }))
    }

    /// Grants leases on actions that wait, of every user, as soon as there are some; none once the time to wait is
    /// over. Dropping the future ends the wish.
    ///
    /// # Errors
    /// [`Error::Overloaded`] where as many wait as may, and [`Error::Store`].
    pub async fn lease(&self, wish: Allowed) -> Result<Granted, Error> {
        self.dispatch
            .lease(wish.0)
            .await
            .map_err(|error| match error {
                DispatchError::TooMany => Error::Overloaded {
                    retry_after: WAITING_PAUSE,
                },
                DispatchError::Store(error) => Error::Store(error),
            })
    }
}

fn narrowed(name: &ActionTypeName) -> Scope {
    let text = format!("{}:{name}", Permission::ActionsWork);
    text.parse().unwrap_or(Scope::all(Permission::ActionsWork))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::{MockDispatch, MockIds, MockLeases};
    use crate::service::Work;
    use crate::service::testing::{key_of, user};
    use std::sync::Arc;

    fn perform(dispatch: MockDispatch) -> Perform {
        let leases = Arc::new(MockLeases::new());
        let work = Work::new(leases.clone(), Arc::new(MockIds::new()));
        Perform::new(Arc::new(dispatch), leases, work)
    }

    fn wish(types: &[&str]) -> Wish {
        Wish {
            types: types
                .iter()
                .map(|name| ActionTypeName::parse(name).unwrap())
                .collect(),
            max: 1,
            worker: "w".to_owned(),
            lease: None,
            wait: Duration::from_secs(7),
            request: None,
        }
    }

    #[test]
    fn a_key_leases_the_types_of_its_scope_only() {
        let perform = perform(MockDispatch::new());
        let narrow = key_of(user(1), &["actions:work:report.*"]);
        let allowed = perform.allow(&narrow, wish(&["report.a"]), None);
        assert_eq!(allowed, Ok(Allowed(wish(&["report.a"]))));
        let Err(Error::InsufficientScope(scope)) =
            perform.allow(&narrow, wish(&["report.a", "echo"]), None)
        else {
            panic!("it was allowed");
        };
        assert_eq!(scope.to_string(), "actions:work:echo");
        let reader = key_of(user(1), &["actions:read"]);
        let refused = perform.allow(&reader, wish(&["echo"]), None);
        assert!(matches!(refused, Err(Error::InsufficientScope(_))));
    }

    #[tokio::test]
    async fn a_request_is_known_by_its_key_and_id() {
        let worker = key_of(user(1), &["actions:work"]);
        let id = LeaseRequestId::parse("a").unwrap();
        let request = LeaseRequest::of(&worker, &id);
        let mut dispatch = MockDispatch::new();
        dispatch
            .expect_lease()
            .withf(move |wish| wish.request == Some(request))
            .times(1)
            .returning(|_| Ok(Granted::nothing()));
        let perform = perform(dispatch);
        let allowed = perform.allow(&worker, wish(&["echo"]), Some(&id)).unwrap();
        assert_eq!(perform.lease(allowed).await.unwrap().take(), []);
    }

    #[tokio::test]
    async fn where_too_many_wait_it_is_told_when_to_come_again() {
        let mut dispatch = MockDispatch::new();
        dispatch
            .expect_lease()
            .returning(|_| Err(DispatchError::TooMany));
        let refused = perform(dispatch).lease(Allowed(wish(&["echo"]))).await;
        assert!(matches!(refused, Err(Error::Overloaded { .. })));
    }
}
