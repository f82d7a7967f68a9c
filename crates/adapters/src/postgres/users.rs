//! Users.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use deed_domain::caller::Attribution;
use deed_domain::email::Email;
use deed_domain::error::StoreError;
use deed_domain::id::UserId;
use deed_domain::idempotency::Idempotency;
use deed_domain::page::{Page, PageRequest};
use deed_domain::ports::{Ids, UserChanged, UserCreated, UserRepository};
use deed_domain::user::{
    DisplayName, ExternalId, NewUser, User, UserChange, UserCondition, UserFilter, UserStatus,
    UserVersions,
};
use diesel::sql_types::{Array, Binary, Bool, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel::{
    ExpressionMethods as _, HasQuery, OptionalExtension as _, QueryDsl as _, QueryableByName,
};
use diesel_async::RunQueryDsl as _;
use futures_util::FutureExt as _;
use uuid::Uuid;

use super::api_keys::ExistsRow;
use super::error::{BadRow, DbError};
use super::idempotency::{Before, look_up};
use super::pool::{Access, Database};
use super::schema::users;
use super::statement::Statement;
use super::wakeups::WakeupHub;

/// How often a statement is tried that met a neighbour: an idempotency key that was taken and then free again, a key
/// that was issued to a user who was about to go.
const TRIES: u32 = 5;

/// Users in PostgreSQL.
pub struct PgUsers {
    database: Database,
    hub: WakeupHub,
    ids: Arc<dyn Ids>,
}

impl PgUsers {
    /// Users of `database`.
    #[must_use]
    pub fn new(database: Database, hub: WakeupHub, ids: Arc<dyn Ids>) -> Self {
        Self { database, hub, ids }
    }
}

#[derive(HasQuery, QueryableByName)]
#[diesel(table_name = users, check_for_backend(diesel::pg::Pg))]
struct UserRow {
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
    #[diesel(sql_type = Text)]
    email: String,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Nullable<Text>)]
    external_id: Option<String>,
    #[diesel(sql_type = Text)]
    status: String,
    #[diesel(sql_type = Timestamptz)]
    created_at: DateTime<Utc>,
    #[diesel(sql_type = Timestamptz)]
    updated_at: DateTime<Utc>,
}

impl TryFrom<UserRow> for User {
    type Error = BadRow;

    fn try_from(row: UserRow) -> Result<Self, BadRow> {
        let UserRow {
            id,
            email,
            name,
            external_id,
            status,
            created_at,
            updated_at,
        } = row;
        let bad =
            |column, problem: &dyn std::fmt::Display| BadRow::new("users", column, id, problem);
        Ok(Self {
            id: UserId::from_uuid(id),
            email: Email::parse(&email).map_err(|problem| bad("email", &problem))?,
            name: DisplayName::parse(name).map_err(|problem| bad("name", &problem))?,
            status: UserStatus::from_name(&status).ok_or_else(|| bad("status", &"unknown"))?,
            external_id: external_id
                .map(ExternalId::parse)
                .transpose()
                .map_err(|problem| bad("external_id", &problem))?,
            created_at,
            updated_at,
        })
    }
}

/// What a change has left, and whether the user was as it had to be.
#[derive(QueryableByName)]
struct ChangedRow {
    #[diesel(embed)]
    user: UserRow,
    #[diesel(sql_type = Bool)]
    is_expected: bool,
}

#[async_trait]
impl UserRepository for PgUsers {
    async fn create(
        &self,
        user: NewUser,
        by: &Attribution,
        idempotency: Option<Idempotency>,
    ) -> Result<UserCreated, StoreError> {
        let statement = self.create_statement(&user, by, idempotency.as_ref());
        for _ in 0..TRIES {
            let refused = match self
                .database
                .row::<UserRow>(Access::Write, &statement)
                .await
            {
                Ok(Some(row)) => return Ok(UserCreated::New(row.try_into()?)),
                Ok(None) => None,
                Err(error) if error.is_constraint("users_email_key") => {
                    Some(UserCreated::EmailTaken)
                }
                Err(error) if error.is_constraint("users_external_id_key") => {
                    Some(UserCreated::ExternalIdTaken)
                }
                Err(DbError::Locked(_)) if idempotency.is_some() => {
                    return Ok(UserCreated::InFlight);
                }
                Err(error) => return Err(error.into()),
            };
            let Some(idempotency) = &idempotency else {
                return refused.ok_or_else(|| unexplained().into());
            };
            // The same request may have met its own user by the e-mail before it met its key.
            match (look_up(&self.database, idempotency).await?, refused) {
                (Before::Made { id, batch: _ }, _) => {
                    return Ok(match self.find(UserId::from_uuid(id)).await? {
                        Some(user) => UserCreated::Replayed(user),
                        None => UserCreated::ReplayedGone,
                    });
                }
                (Before::OtherRequest, _) => return Ok(UserCreated::KeyReused),
                (Before::Nothing, Some(refused)) => return Ok(refused),
                (Before::Nothing, None) => {}
            }
        }
        Ok(UserCreated::InFlight)
    }

    async fn find(&self, id: UserId) -> Result<Option<User>, StoreError> {
        let row = self
            .database
            .select(move |connection| {
                let found = UserRow::query()
                    .filter(users::id.eq(id.as_uuid()))
                    .filter(users::deleted_at.is_null())
                    .first::<UserRow>(connection);
                async move { found.await.optional() }.boxed()
            })
            .await?;
        Ok(row.map(User::try_from).transpose()?)
    }

    async fn list(
        &self,
        filter: &UserFilter,
        page: PageRequest<UserId>,
    ) -> Result<Page<User, UserId>, StoreError> {
        let UserFilter {
            email,
            external_id,
            status,
        } = filter;
        let mut query = UserRow::query()
            .filter(users::deleted_at.is_null())
            .order(users::id.desc())
            .limit(one_more(page.limit))
            .into_boxed();
        if let Some(email) = email {
            query = query.filter(users::email_key.eq(email.key().to_owned()));
        }
        if let Some(external_id) = external_id {
            query = query.filter(users::external_id.eq(external_id.as_str().to_owned()));
        }
        if let Some(status) = status {
            query = query.filter(users::status.eq(status.as_str()));
        }
        if let Some(after) = page.after {
            query = query.filter(users::id.lt(after.as_uuid()));
        }
        let rows = self
            .database
            .select(move |connection| query.load::<UserRow>(connection).boxed())
            .await?;
        let users = rows
            .into_iter()
            .map(User::try_from)
            .collect::<Result<_, _>>()?;
        Ok(Page::from_rows(users, page.limit, |user: &User| user.id))
    }

    async fn change(
        &self,
        id: UserId,
        change: &UserChange,
        condition: &UserCondition,
        by: &Attribution,
    ) -> Result<UserChanged, StoreError> {
        let UserChange {
            email,
            name,
            status,
            external_id,
        } = change;
        let UserCondition { one_of, none_of } = condition;
        let statement = Statement::new(include_str!("sql/user_change.sql"))
            .bind::<SqlUuid, _>(id.as_uuid())
            .bind::<Nullable<Text>, _>(email.as_ref().map(Email::as_str))
            .bind::<Nullable<Text>, _>(email.as_ref().map(Email::key))
            .bind::<Nullable<Text>, _>(name.as_ref().map(DisplayName::as_str))
            .bind::<Nullable<Text>, _>(status.map(UserStatus::as_str))
            .bind::<Bool, _>(external_id.is_some())
            .bind::<Nullable<Text>, _>(
                external_id
                    .as_ref()
                    .and_then(Option::as_ref)
                    .map(ExternalId::as_str),
            )
            .bind::<SqlUuid, _>(self.ids.time_ordered())
            .bind::<SqlUuid, _>(self.ids.time_ordered())
            .bind_attribution(by)
            .bind::<Nullable<Array<Timestamptz>>, _>(moments(one_of))
            .bind::<Nullable<Array<Timestamptz>>, _>(moments(none_of));
        match self
            .database
            .row::<ChangedRow>(Access::Write, &statement)
            .await
        {
            Ok(Some(row)) if !row.is_expected => Ok(UserChanged::ConditionFailed),
            Ok(Some(row)) => {
                if *status == Some(UserStatus::Disabled) {
                    self.hub.identities_changed();
                }
                Ok(UserChanged::Changed(row.user.try_into()?))
            }
            Ok(None) => Ok(UserChanged::NotFound),
            Err(error) if error.is_constraint("users_email_key") => Ok(UserChanged::EmailTaken),
            Err(error) if error.is_constraint("users_external_id_key") => {
                Ok(UserChanged::ExternalIdTaken)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn delete(&self, id: UserId, by: &Attribution) -> Result<bool, StoreError> {
        let statement = Statement::new(include_str!("sql/user_delete.sql"))
            .bind::<SqlUuid, _>(id.as_uuid())
            .bind::<SqlUuid, _>(self.ids.time_ordered())
            .bind_attribution(by);
        for _ in 1..TRIES {
            match self.delete_once(&statement).await {
                Err(error) if error.is_constraint("api_keys_user_fk") => {}
                outcome => return Ok(outcome?),
            }
        }
        Ok(self.delete_once(&statement).await?)
    }
}

impl PgUsers {
    /// Fails with the foreign key of a key that was issued under the statement.
    async fn delete_once(&self, statement: &Statement<'_>) -> Result<bool, DbError> {
        let row = self
            .database
            .row::<ExistsRow>(Access::Write, statement)
            .await?;
        let exists = row.is_some_and(|row| row.exists);
        if exists {
            self.hub.identities_changed();
        }
        Ok(exists)
    }

    fn create_statement<'a>(
        &self,
        user: &'a NewUser,
        by: &Attribution,
        idempotency: Option<&'a Idempotency>,
    ) -> Statement<'a> {
        let NewUser {
            id,
            email,
            name,
            password_hash,
            external_id,
        } = user;
        Statement::new(include_str!("sql/user_create.sql"))
            .bind::<SqlUuid, _>(id.as_uuid())
            .bind::<Text, _>(email.as_str())
            .bind::<Text, _>(email.key())
            .bind::<Text, _>(name.as_str())
            .bind::<Nullable<Text>, _>(external_id.as_ref().map(ExternalId::as_str))
            .bind::<Text, _>(password_hash.as_phc())
            .bind::<Nullable<Binary>, _>(idempotency.map(|asked| asked.scope.as_bytes().to_vec()))
            .bind::<Nullable<Text>, _>(idempotency.map(|asked| asked.key.as_str()))
            .bind::<Nullable<Binary>, _>(idempotency.map(|asked| asked.request_hash.to_vec()))
            .bind::<SqlUuid, _>(self.ids.time_ordered())
            .bind_attribution(by)
    }
}

/// One row more than the page holds tells whether there is another page.
pub(crate) fn one_more(limit: deed_domain::page::Limit) -> i64 {
    i64::try_from(limit.as_usize())
        .unwrap_or(i64::MAX)
        .saturating_add(1)
}

/// The moments of change that versions stand for; `None` for every one. A version that no moment can have is none of
/// a user's.
fn moments(versions: &UserVersions) -> Option<Vec<DateTime<Utc>>> {
    match versions {
        UserVersions::Every => None,
        UserVersions::These(versions) => Some(
            versions
                .iter()
                .filter_map(|version| DateTime::from_timestamp_micros(version.get()))
                .collect(),
        ),
    }
}

fn unexplained() -> DbError {
    DbError::Statement(diesel::result::Error::NotFound)
}
