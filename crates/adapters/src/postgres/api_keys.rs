//! API keys.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use deed_domain::api_key::{ApiKey, KeyName, NewApiKey};
use deed_domain::caller::Attribution;
use deed_domain::error::StoreError;
use deed_domain::id::{ApiKeyId, UserId};
use deed_domain::page::{Page, PageRequest};
use deed_domain::ports::{ApiKeyRepository, Ids};
use deed_domain::scope::{Scope, ScopeSet};
use diesel::sql_types::{Array, Binary, Bool, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel::{
    ExpressionMethods as _, HasQuery, OptionalExtension as _, QueryDsl as _, QueryableByName,
};
use diesel_async::RunQueryDsl as _;
use futures_util::FutureExt as _;
use uuid::Uuid;

use super::error::BadRow;
use super::pool::{Access, Database};
use super::schema::api_keys;
use super::statement::Statement;
use super::users::one_more;
use super::wakeups::WakeupHub;

/// API keys in PostgreSQL.
pub struct PgApiKeys {
    database: Database,
    hub: WakeupHub,
    ids: Arc<dyn Ids>,
}

impl PgApiKeys {
    /// API keys of `database`.
    #[must_use]
    pub fn new(database: Database, hub: WakeupHub, ids: Arc<dyn Ids>) -> Self {
        Self { database, hub, ids }
    }
}

#[derive(HasQuery, QueryableByName)]
#[diesel(table_name = api_keys, check_for_backend(diesel::pg::Pg))]
struct KeyRow {
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
    #[diesel(sql_type = SqlUuid)]
    user_id: Uuid,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Array<Text>)]
    scopes: Vec<String>,
    #[diesel(sql_type = Timestamptz)]
    created_at: DateTime<Utc>,
    #[diesel(sql_type = Nullable<Timestamptz>)]
    expires_at: Option<DateTime<Utc>>,
    #[diesel(sql_type = Nullable<Timestamptz>)]
    revoked_at: Option<DateTime<Utc>>,
    #[diesel(sql_type = Nullable<Timestamptz>)]
    last_used_at: Option<DateTime<Utc>>,
}

impl TryFrom<KeyRow> for ApiKey {
    type Error = BadRow;

    fn try_from(row: KeyRow) -> Result<Self, BadRow> {
        let KeyRow {
            id,
            user_id,
            name,
            scopes,
            created_at,
            expires_at,
            revoked_at,
            last_used_at,
        } = row;
        Ok(Self {
            id: ApiKeyId::from_uuid(id),
            user_id: UserId::from_uuid(user_id),
            name: KeyName::parse(name)
                .map_err(|problem| BadRow::new("api_keys", "name", id, problem))?,
            scopes: scope_set(&scopes, id)?,
            created_at,
            expires_at,
            revoked_at,
            last_used_at,
        })
    }
}

/// The scopes of the key `id`. One that isn't known spoils the key: it must not come to permit less or more than
/// it says.
pub(crate) fn scope_set(texts: &[String], id: Uuid) -> Result<ScopeSet, BadRow> {
    let bad = |problem: &dyn std::fmt::Display| BadRow::new("api_keys", "scopes", id, problem);
    let scopes: Vec<Scope> = texts
        .iter()
        .map(|text| text.parse())
        .collect::<Result<_, _>>()
        .map_err(|problem| bad(&problem))?;
    ScopeSet::of(scopes).map_err(|problem| bad(&problem))
}

/// Whether there was anything to change.
#[derive(QueryableByName)]
pub(crate) struct ExistsRow {
    #[diesel(sql_type = Bool)]
    pub(crate) exists: bool,
}

#[async_trait]
impl ApiKeyRepository for PgApiKeys {
    async fn create(&self, key: NewApiKey, by: &Attribution) -> Result<Option<ApiKey>, StoreError> {
        let NewApiKey {
            id,
            user_id,
            name,
            scopes,
            expires_at,
            digest,
        } = &key;
        let statement = Statement::new(include_str!("sql/key_create.sql"))
            .bind::<SqlUuid, _>(id.as_uuid())
            .bind::<SqlUuid, _>(user_id.as_uuid())
            .bind::<Text, _>(name.as_str())
            .bind::<Array<Text>, Vec<String>>(scopes.iter().map(ToString::to_string).collect())
            .bind::<Nullable<Timestamptz>, _>(*expires_at)
            .bind::<Binary, _>(digest.as_bytes().to_vec())
            .bind::<SqlUuid, _>(self.ids.time_ordered())
            .bind_attribution(by);
        let row = self
            .database
            .row::<KeyRow>(Access::Write, &statement)
            .await?;
        Ok(row.map(ApiKey::try_from).transpose()?)
    }

    async fn find(
        &self,
        id: ApiKeyId,
        owner: Option<UserId>,
    ) -> Result<Option<ApiKey>, StoreError> {
        let mut query = KeyRow::query()
            .filter(api_keys::id.eq(id.as_uuid()))
            .into_boxed();
        if let Some(owner) = owner {
            query = query.filter(api_keys::user_id.eq(owner.as_uuid()));
        }
        let row = self
            .database
            .select(move |connection| {
                let found = query.first::<KeyRow>(connection);
                async move { found.await.optional() }.boxed()
            })
            .await?;
        Ok(row.map(ApiKey::try_from).transpose()?)
    }

    async fn list(
        &self,
        owner: Option<UserId>,
        page: PageRequest<ApiKeyId>,
    ) -> Result<Page<ApiKey, ApiKeyId>, StoreError> {
        let mut query = KeyRow::query()
            .order(api_keys::id.desc())
            .limit(one_more(page.limit))
            .into_boxed();
        if let Some(owner) = owner {
            query = query.filter(api_keys::user_id.eq(owner.as_uuid()));
        }
        if let Some(after) = page.after {
            query = query.filter(api_keys::id.lt(after.as_uuid()));
        }
        let rows = self
            .database
            .select(move |connection| query.load::<KeyRow>(connection).boxed())
            .await?;
        let keys = rows
            .into_iter()
            .map(ApiKey::try_from)
            .collect::<Result<_, _>>()?;
        Ok(Page::from_rows(keys, page.limit, |key: &ApiKey| key.id))
    }

    async fn revoke(
        &self,
        id: ApiKeyId,
        owner: Option<UserId>,
        by: &Attribution,
    ) -> Result<bool, StoreError> {
        let statement = Statement::new(include_str!("sql/key_revoke.sql"))
            .bind::<SqlUuid, _>(id.as_uuid())
            .bind::<Nullable<SqlUuid>, _>(owner.map(UserId::as_uuid))
            .bind::<SqlUuid, _>(self.ids.time_ordered())
            .bind_attribution(by);
        let exists = self
            .database
            .row::<ExistsRow>(Access::Write, &statement)
            .await?
            .is_some_and(|row| row.exists);
        if exists {
            self.hub.identities_changed();
        }
        Ok(exists)
    }
}
