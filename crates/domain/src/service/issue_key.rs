use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::api_key::{ApiKey, KeyName, NewApiKey};
use crate::caller::{Attribution, Caller};
use crate::error::Error;
use crate::id::{ApiKeyId, UserId};
use crate::ports::{ApiKeyRepository, Clock, Ids};
use crate::scope::{Permission, ScopeSet};
use crate::secret::{PlainSecret, SecretKind};

/// Issues API keys.
#[derive(Clone)]
pub struct IssueKey {
    keys: Arc<dyn ApiKeyRepository>,
    ids: Arc<dyn Ids>,
    clock: Arc<dyn Clock>,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRequest {
    /// What it is to be called.
    pub name: KeyName,
    /// What it is to permit.
    pub scopes: ScopeSet,
    /// From when on it is to be refused.
    pub expires_at: Option<DateTime<Utc>>,
}

/// A key with its secret, for this one time.
#[derive(Debug, Clone)]
pub struct IssuedKey {
    /// The key.
    pub key: ApiKey,
    /// Its secret.
    pub secret: PlainSecret,
}

impl IssueKey {
    /// The use case over these ports.
    #[must_use]
    pub fn new(keys: Arc<dyn ApiKeyRepository>, ids: Arc<dyn Ids>, clock: Arc<dyn Clock>) -> Self {
        Self { keys, ids, clock }
    }

    /// Issues a key for the caller's subject, with at most the caller's own scopes.
    ///
    /// # Errors
    /// [`Error::UserRequired`]; [`Error::InsufficientScope`] without `keys:write`, or naming the first scope that the
    /// caller itself lacks; [`Error::Invalid`] when it would have expired already.
    pub async fn run(
        &self,
        caller: &Caller,
        request: KeyRequest,
        by: &Attribution,
    ) -> Result<IssuedKey, Error> {
        caller.require(Permission::KeysWrite)?;
        let owner = caller.require_subject()?;
        if let Some(missing) = caller.scopes().first_missing(&request.scopes) {
            return Err(Error::InsufficientScope(missing.clone()));
        }
        self.issue(owner, request, by).await
    }

    /// Issues a key for any user, with any scopes: the operator's way.
    ///
    /// # Errors
    /// [`Error::UserNotFound`]; [`Error::Invalid`] when it would have expired already.
    pub async fn issue(
        &self,
        owner: UserId,
        request: KeyRequest,
        by: &Attribution,
    ) -> Result<IssuedKey, Error> {
        if request.expires_at.is_some_and(|at| at <= self.clock.now()) {
            return Err(Error::invalid("/expires_at", "must lie in the future"));
        }
        let secret = PlainSecret::generate(SecretKind::ApiKey, || self.ids.random_bytes());
        let key = NewApiKey {
            id: ApiKeyId::from_uuid(self.ids.time_ordered()),
            user_id: owner,
            name: request.name,
            scopes: request.scopes,
            expires_at: request.expires_at,
            digest: secret.digest(),
        };
        let key = self
            .keys
            .create(key, by)
            .await?
            .ok_or(Error::UserNotFound)?;
        Ok(IssuedKey { key, secret })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caller::{Actor, Identity};
    use crate::key_limits::KeyLimits;
    use crate::ports::{MockApiKeyRepository, MockClock, MockIds};
    use chrono::TimeDelta;
    use uuid::Uuid;

    const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;

    fn scopes(texts: &[&str]) -> ScopeSet {
        ScopeSet::of(texts.iter().map(|text| text.parse().unwrap())).unwrap()
    }

    async fn run(
        mine: &[&str],
        wanted: &[&str],
        expires_at: Option<DateTime<Utc>>,
    ) -> Result<IssuedKey, Error> {
        let mut keys = MockApiKeyRepository::new();
        keys.expect_create().returning(|key, _| {
            Ok(Some(ApiKey {
                id: key.id,
                user_id: key.user_id,
                name: key.name,
                scopes: key.scopes,
                created_at: NOW,
                expires_at: key.expires_at,
                revoked_at: None,
                last_used_at: None,
            }))
        });
        let mut ids = MockIds::new();
        ids.expect_time_ordered().returning(|| Uuid::from_u128(3));
        ids.expect_random_bytes().returning(|| [7; 64]);
        let mut clock = MockClock::new();
        clock.expect_now().return_const(NOW);
        let caller = Identity {
            actor: Actor::Key(ApiKeyId::from_uuid(Uuid::from_u128(9))),
            owner: Some(UserId::from_uuid(Uuid::from_u128(1))),
            scopes: scopes(mine),
            expires_at: None,
            limits: KeyLimits::NONE,
        }
        .for_itself();
        let request = KeyRequest {
            name: KeyName::parse("ci").unwrap(),
            scopes: scopes(wanted),
            expires_at,
        };
        IssueKey::new(Arc::new(keys), Arc::new(ids), Arc::new(clock))
            .run(&caller, request, &caller.attribution(None))
            .await
    }

    #[tokio::test]
    async fn a_key_can_only_issue_a_subset_of_itself() {
        let issued = run(
            &["keys:write", "actions:read"],
            &["actions:read:echo"],
            None,
        )
        .await
        .unwrap();
        assert_eq!(issued.key.user_id, UserId::from_uuid(Uuid::from_u128(1)));
        assert!(issued.secret.reveal().starts_with("deedk_"));
        let refused = run(
            &["keys:write", "actions:read"],
            &["actions:read", "users:write"],
            None,
        )
        .await;
        assert_eq!(
            refused.unwrap_err(),
            Error::InsufficientScope("users:write".parse().unwrap())
        );
    }

    #[tokio::test]
    async fn issuing_takes_the_scope() {
        let refused = run(&["keys:read"], &["keys:read"], None).await;
        assert_eq!(
            refused.unwrap_err(),
            Error::InsufficientScope("keys:write".parse().unwrap())
        );
    }

    #[tokio::test]
    async fn a_key_must_live_at_least_a_moment() {
        let at = |seconds| Some(NOW + TimeDelta::seconds(seconds));
        assert!(run(&["keys:write"], &["keys:write"], at(1)).await.is_ok());
        for past in [at(0), at(-1)] {
            let refused = run(&["keys:write"], &["keys:write"], past)
                .await
                .unwrap_err();
            assert_eq!(
                refused,
                Error::invalid("/expires_at", "must lie in the future")
            );
        }
    }
}
