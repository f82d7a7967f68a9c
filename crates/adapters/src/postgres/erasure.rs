//! Removing what deleted users have left behind.

use async_trait::async_trait;
use chrono::TimeDelta;
use deed_domain::action::{NewEvent, Outcome};
use deed_domain::error::StoreError;
use deed_domain::id::UserId;
use deed_domain::ports::{Belongings, Erased, Erasure};
use diesel::QueryableByName;
use diesel::sql_types::{Array, Int4, Int8, Interval, Text, Uuid as SqlUuid};
use uuid::Uuid;

use super::pool::{Access, Database};
use super::statement::Statement;

/// How many actions a step removes.
const ACTIONS: i32 = 200;
/// How many events a step removes.
const EVENTS: i32 = 5_000;
/// How many bytes of their data, the first one apart.
const BYTES: i64 = 16 * 1024 * 1024;
/// How long a request that was under way when its user was deleted may still bring something: far more than any
/// request lives, and than a key is remembered.
const GRACE: TimeDelta = TimeDelta::minutes(10);

/// What deleted users have left behind in PostgreSQL.
pub struct PgErasure {
    database: Database,
}

impl PgErasure {
    /// What deleted users have left behind in `database`.
    #[must_use]
    pub fn new(database: Database) -> Self {
        Self { database }
    }
}

#[derive(QueryableByName)]
struct BelongingsRow {
    #[diesel(sql_type = Int8)]
    api_keys: i64,
    #[diesel(sql_type = Int8)]
    actions: i64,
}

#[derive(QueryableByName)]
struct UserRow {
    #[diesel(sql_type = SqlUuid)]
    user_id: Uuid,
}

#[derive(QueryableByName)]
struct LookRow {
    #[diesel(sql_type = Array<SqlUuid>)]
    removing: Vec<Uuid>,
    #[diesel(sql_type = Array<SqlUuid>)]
    next: Vec<Uuid>,
}

#[derive(QueryableByName)]
struct CountRow {
    #[diesel(sql_type = Int8)]
    count: i64,
}

#[async_trait]
impl Erasure for PgErasure {
    async fn belongings(&self, user: UserId) -> Result<Belongings, StoreError> {
        let most = i64::try_from(Belongings::MOST).unwrap_or(i64::MAX);
        let statement = Statement::new(include_str!("sql/belongings.sql"))
            .bind::<SqlUuid, _>(user.as_uuid())
            .bind::<Int8, _>(most);
        let row: Option<BelongingsRow> = self.database.row(Access::Read, &statement).await?;
        Ok(row.map_or_else(Belongings::default, |row| Belongings {
            api_keys: count(row.api_keys),
            actions: count(row.actions),
        }))
    }

    async fn pending(
        &self,
        after: Option<UserId>,
        limit: usize,
    ) -> Result<Vec<UserId>, StoreError> {
        let statement = Statement::new(
            "SELECT user_id FROM user_deletions WHERE user_id > $1::uuid ORDER BY user_id LIMIT $2::int4",
        )
        .bind::<SqlUuid, _>(after.map_or(Uuid::nil(), UserId::as_uuid))
        .bind::<Int4, _>(i32::try_from(limit).unwrap_or(i32::MAX));
        let rows: Vec<UserRow> = self.database.rows(Access::Read, &statement).await?;
        Ok(rows
            .into_iter()
            .map(|row| UserId::from_uuid(row.user_id))
            .collect())
    }

    async fn erase(&self, user: UserId) -> Result<Erased, StoreError> {
        let look = Statement::new(include_str!("sql/erasure_look.sql"))
            .bind::<SqlUuid, _>(user.as_uuid())
            .bind::<Int4, _>(ACTIONS);
        let found: Option<LookRow> = self.database.row(Access::Read, &look).await?;
        let Some(LookRow { removing, next }) = found else {
            return Ok(Erased {
                actions: 0,
                is_over: true,
            });
        };
        // Who finds that another was faster has done nothing, and looks again at the next step.
        let mut actions = 0;
        if !removing.is_empty() {
            self.remove_events(user, removing).await?;
        } else if next.is_empty() {
            self.end(user).await?;
            return Ok(Erased {
                actions: 0,
                is_over: true,
            });
        } else {
            self.stop(&next).await?;
            actions = self.remove(user, next).await?;
        }
        Ok(Erased {
            actions,
            is_over: false,
        })
    }
}

impl PgErasure {
    /// Cancels those of `actions` that are not over.
    async fn stop(&self, actions: &[Uuid]) -> Result<(), StoreError> {
        let statement = Statement::new(include_str!("sql/erasure_stop.sql"))
            .bind::<Array<SqlUuid>, _>(actions)
            .bind::<Text, String>(NewEvent::done(&Outcome::Cancelled).data.as_str().to_owned());
        self.database.run(Access::Write, &statement).await?;
        Ok(())
    }

    /// Removes those of `actions` that are over, but for their events, and answers how many.
    async fn remove(&self, user: UserId, actions: Vec<Uuid>) -> Result<u64, StoreError> {
        let statement = Statement::new(include_str!("sql/erasure_remove.sql"))
            .bind::<SqlUuid, _>(user.as_uuid())
            .bind::<Array<SqlUuid>, _>(actions);
        let row: Option<CountRow> = self.database.row(Access::Write, &statement).await?;
        Ok(row.map_or(0, |row| count(row.count)))
    }

    async fn remove_events(&self, user: UserId, actions: Vec<Uuid>) -> Result<(), StoreError> {
        let statement = Statement::new(include_str!("sql/erasure_events.sql"))
            .bind::<SqlUuid, _>(user.as_uuid())
            .bind::<Array<SqlUuid>, _>(actions)
            .bind::<Int4, _>(EVENTS)
            .bind::<Int8, _>(BYTES);
        self.database.run(Access::Write, &statement).await?;
        Ok(())
    }

    /// Forgets the user when nothing can come any more.
    async fn end(&self, user: UserId) -> Result<(), StoreError> {
        let statement = Statement::new(include_str!("sql/erasure_end.sql"))
            .bind::<SqlUuid, _>(user.as_uuid())
            .bind::<Interval, _>(GRACE);
        self.database.run(Access::Write, &statement).await?;
        Ok(())
    }
}

fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
