//! Who bears a secret.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use deed_domain::caller::{Actor, Caller, Identity};
use deed_domain::error::StoreError;
use deed_domain::id::{ApiKeyId, UserId};
use deed_domain::key_limits::KeyLimits;
use deed_domain::ports::{Authenticator, Clock};
use deed_domain::scope::ScopeSet;
use deed_domain::secret::{PlainSecret, RootKey, SecretDigest, SecretKind};
use diesel::QueryableByName;
use diesel::sql_types::{Array, Binary, Bool, Int8, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use std::sync::Arc;
use tokio::time::Instant;
use uuid::Uuid;

use super::api_keys::scope_set;
use super::pool::{Access, Database};
use super::statement::Statement;
use super::wakeups::WakeupHub;
use crate::auth_cache::AuthCache;
use crate::metrics::{CacheLookUp, gauge_value};

/// How often it is written down when keys were last used.
const LAST_USED_INTERVAL: Duration = Duration::from_secs(10);
/// How many keys are remembered between two such moments.
const LAST_USED_MAX: usize = 10_000;

/// Keys in PostgreSQL, and the root key.
///
/// What is found is remembered for some seconds, and forgotten as soon as any key or user may have lost its
/// validity. While nobody tells of that, because [`WakeupHub::run`] doesn't run or PostgreSQL is away, every look
/// goes to the database.
pub struct PgAuthenticator {
    database: Database,
    hub: WakeupHub,
    clock: Arc<dyn Clock>,
    root: Option<RootKey>,
    limits: KeyLimits,
    cache: AuthCache,
    used: Mutex<HashMap<ApiKeyId, DateTime<Utc>>>,
}

impl PgAuthenticator {
    /// The keys of `database`, and `root` if there is one.
    #[must_use]
    pub fn new(
        database: Database,
        hub: WakeupHub,
        clock: Arc<dyn Clock>,
        root: Option<RootKey>,
    ) -> Self {
        Self {
            database,
            hub,
            clock,
            root,
            limits: KeyLimits::NONE,
            cache: AuthCache::new(),
            used: Mutex::default(),
        }
    }

    /// The same, where each key has these limits. The root key has none.
    #[must_use]
    pub fn limiting(self, limits: KeyLimits) -> Self {
        Self { limits, ..self }
    }

    /// Writes down when keys were last used, every 10 s for as long as it is polled.
    pub async fn keep_last_used(&self) {
        loop {
            tokio::time::sleep(LAST_USED_INTERVAL).await;
            if let Err(error) = self.flush_last_used().await {
                log::debug!(error:err = error; "it was not written down when keys were last used");
            }
        }
    }

    /// Writes down now when keys were last used.
    ///
    /// # Errors
    /// When PostgreSQL is away; then those uses are forgotten.
    pub async fn flush_last_used(&self) -> Result<(), StoreError> {
        let used = std::mem::take(&mut *self.used.lock().unwrap_or_else(PoisonError::into_inner));
        if used.is_empty() {
            return Ok(());
        }
        let (ids, times): (Vec<Uuid>, Vec<DateTime<Utc>>) =
            used.into_iter().map(|(id, at)| (id.as_uuid(), at)).unzip();
        let statement = Statement::new(include_str!("sql/keys_used.sql"))
            .bind::<Array<SqlUuid>, _>(ids)
            .bind::<Array<Timestamptz>, _>(times);
        self.database.run(Access::Write, &statement).await?;
        Ok(())
    }

    /// Notes how large the cache is just now.
    pub(crate) fn measure(&self) {
        let metrics = &self.database.metrics().identities;
        metrics.entries(gauge_value(self.cache.len()));
    }

    fn note_use(&self, identity: &Identity) {
        if let Some(key) = identity.actor.key_id() {
            let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
            if used.len() < LAST_USED_MAX || used.contains_key(&key) {
                used.insert(key, self.clock.now());
            }
        }
    }

    async fn look_up(
        &self,
        digest: &SecretDigest,
    ) -> Result<Option<(Identity, Option<Duration>)>, StoreError> {
        let statement = Statement::new(include_str!("sql/key_authenticate.sql"))
            .bind::<Binary, _>(digest.as_bytes().to_vec());
        let Some(row) = self
            .database
            .row::<KeyRow>(Access::Read, &statement)
            .await?
        else {
            return Ok(None);
        };
        let KeyRow {
            id,
            user_id,
            scopes,
            expires_at,
            valid_for_ms,
        } = row;
        let identity = Identity {
            actor: Actor::Key(ApiKeyId::from_uuid(id)),
            owner: Some(UserId::from_uuid(user_id)),
            scopes: scope_set(&scopes, id)?,
            expires_at,
            limits: self.limits,
        };
        let valid_for =
            valid_for_ms.map(|left| Duration::from_millis(u64::try_from(left).unwrap_or(0)));
        Ok(Some((identity, valid_for)))
    }
}

#[derive(QueryableByName)]
struct KeyRow {
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
    #[diesel(sql_type = SqlUuid)]
    user_id: Uuid,
    #[diesel(sql_type = Array<Text>)]
    scopes: Vec<String>,
    #[diesel(sql_type = Nullable<Timestamptz>)]
    expires_at: Option<DateTime<Utc>>,
    #[diesel(sql_type = Nullable<Int8>)]
    valid_for_ms: Option<i64>,
}

#[derive(QueryableByName)]
struct ValidRow {
    #[diesel(sql_type = Bool)]
    is_valid: bool,
}

#[async_trait]
impl Authenticator for PgAuthenticator {
    async fn authenticate(&self, secret: &str) -> Result<Option<Identity>, StoreError> {
        let digest = SecretDigest::of(secret);
        if self.root.as_ref().is_some_and(|root| root.matches(&digest)) {
            return Ok(Some(Identity {
                actor: Actor::Root,
                owner: None,
                scopes: ScopeSet::everything(),
                expires_at: None,
                limits: KeyLimits::NONE,
            }));
        }
        // The check sum keeps random guesses away from the database.
        match PlainSecret::parse(secret).map(|secret| secret.kind()) {
            Ok(SecretKind::ApiKey) => {}
            Ok(SecretKind::Session | SecretKind::Ticket) | Err(_) => return Ok(None),
        }
        let epoch = self.hub.identity_epoch();
        let now = Instant::now();
        let found = epoch.map(|epoch| self.cache.find(&digest, epoch, now));
        let metrics = &self.database.metrics().identities;
        metrics.looked_up(match &found {
            None => CacheLookUp::Bypassed,
            Some(None) => CacheLookUp::Miss,
            Some(Some(_)) => CacheLookUp::Hit,
        });
        let identity = match found.flatten() {
            Some(identity) => identity,
            None => {
                let Some((identity, valid_for)) = self.look_up(&digest).await? else {
                    return Ok(None);
                };
                // Stamped with what was known before the look: a change meanwhile makes it void.
                if let Some(epoch) = epoch {
                    self.cache
                        .keep(digest, identity.clone(), epoch, now, valid_for);
                }
                identity
            }
        };
        self.note_use(&identity);
        Ok(Some(identity))
    }

    async fn is_still_valid(&self, caller: &Caller) -> Result<bool, StoreError> {
        let key = caller.actor().key_id().map(ApiKeyId::as_uuid);
        let subject = caller.subject().map(UserId::as_uuid);
        if key.is_none() && subject.is_none() {
            return Ok(true);
        }
        let statement = Statement::new(include_str!("sql/identity_valid.sql"))
            .bind::<Nullable<SqlUuid>, _>(key)
            .bind::<Nullable<SqlUuid>, _>(subject);
        let row = self
            .database
            .row::<ValidRow>(Access::Read, &statement)
            .await?;
        Ok(row.is_some_and(|row| row.is_valid))
    }
}
