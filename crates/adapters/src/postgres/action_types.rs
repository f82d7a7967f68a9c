//! Action types.

use std::time::Duration;

use async_trait::async_trait;
use deed_domain::action::{
    ActionType, ActionTypeName, Concurrency, Payload, PerformedBy, RetryPolicy,
};
use deed_domain::error::StoreError;
use deed_domain::ports::{ActionTypes, TypeDefined, TypeRemoved};
use diesel::sql_types::{Array, Bool, Double, Int2, Int4, Int8, Nullable, Text};
use diesel::{
    ExpressionMethods as _, HasQuery, OptionalExtension as _, QueryDsl as _, QueryableByName,
};
use diesel_async::RunQueryDsl as _;
use futures_util::FutureExt as _;

use super::error::BadRow;
use super::pool::{Access, Database};
use super::schema::action_types;
use super::statement::Statement;

/// Action types in PostgreSQL.
pub struct PgActionTypes {
    database: Database,
}

impl PgActionTypes {
    /// Action types of `database`.
    #[must_use]
    pub fn new(database: Database) -> Self {
        Self { database }
    }
}

#[derive(HasQuery)]
#[diesel(table_name = action_types, check_for_backend(diesel::pg::Pg))]
struct TypeRow {
    name: String,
    performed_by: String,
    input_schema: Option<String>,
    max_attempts: i16,
    attempt_timeout_ms: i64,
    lease_ms: i64,
    retry_initial_ms: i64,
    retry_factor: f64,
    retry_max_ms: i64,
    time_limit_ms: Option<i64>,
    max_running: Option<i32>,
    max_running_per_user: Option<i32>,
    max_running_per_replica: Option<i32>,
}

impl TryFrom<TypeRow> for ActionType {
    type Error = BadRow;

    fn try_from(row: TypeRow) -> Result<Self, BadRow> {
        let TypeRow {
            name,
            performed_by,
            input_schema,
            max_attempts,
            attempt_timeout_ms,
            lease_ms,
            retry_initial_ms,
            retry_factor,
            retry_max_ms,
            time_limit_ms,
            max_running,
            max_running_per_user,
            max_running_per_replica,
        } = row;
        let bad = |column, problem: &dyn std::fmt::Display| {
            BadRow::new("action_types", column, &name, problem)
        };
        let duration = |column, milliseconds: i64| {
            u64::try_from(milliseconds)
                .map(Duration::from_millis)
                .map_err(|problem| bad(column, &problem))
        };
        let limit = |column, number: Option<i32>| {
            let limit = |number| u16::try_from(number).ok().and_then(Concurrency::limit);
            number
                .map(|number| limit(number).ok_or_else(|| bad(column, &"out of range")))
                .transpose()
        };
        Ok(Self {
            name: ActionTypeName::parse(&name).map_err(|problem| bad("name", &problem))?,
            performed_by: PerformedBy::from_name(&performed_by)
                .ok_or_else(|| bad("performed_by", &"unknown"))?,
            input_schema: input_schema.map(Payload::from_stored),
            max_attempts: u16::try_from(max_attempts)
                .map_err(|problem| bad("max_attempts", &problem))?,
            attempt_timeout: duration("attempt_timeout_ms", attempt_timeout_ms)?,
            lease: duration("lease_ms", lease_ms)?,
            retry: RetryPolicy::new(
                duration("retry_initial_ms", retry_initial_ms)?,
                retry_factor,
                duration("retry_max_ms", retry_max_ms)?,
            ),
            time_limit: time_limit_ms
                .map(|limit| duration("time_limit_ms", limit))
                .transpose()?,
            concurrency: Concurrency {
                total: limit("max_running", max_running)?,
                per_user: limit("max_running_per_user", max_running_per_user)?,
                per_replica: limit("max_running_per_replica", max_running_per_replica)?,
            },
        })
    }
}

#[derive(QueryableByName)]
struct DefinedRow {
    #[diesel(sql_type = Bool)]
    is_new: bool,
}

#[derive(QueryableByName)]
struct VerdictRow {
    #[diesel(sql_type = Text)]
    verdict: String,
}

#[async_trait]
impl ActionTypes for PgActionTypes {
    async fn register_handlers(&self, types: &[ActionType]) -> Result<(), StoreError> {
        let column = |value: fn(&ActionType) -> i64| types.iter().map(value).collect::<Vec<i64>>();
        let limits = |value: fn(&Concurrency) -> Option<u16>| -> Vec<Option<i32>> {
            let limits = types.iter().map(|one| value(&one.concurrency));
            limits.map(|limit| limit.map(i32::from)).collect()
        };
        let statement = Statement::new(include_str!("sql/types_register.sql"))
            .bind::<Array<Text>, Vec<&str>>(types.iter().map(|one| one.name.as_str()).collect())
            .bind::<Array<Text>, Vec<&str>>(
                types.iter().map(|one| one.performed_by.as_str()).collect(),
            )
            .bind::<Array<Nullable<Text>>, Vec<Option<&str>>>(
                types
                    .iter()
                    .map(|one| one.input_schema.as_ref().map(Payload::as_str))
                    .collect(),
            )
            .bind::<Array<Int2>, Vec<i16>>(
                types
                    .iter()
                    .map(|one| i16::try_from(one.max_attempts).unwrap_or(i16::MAX))
                    .collect(),
            )
            .bind::<Array<Int8>, _>(column(|one| milliseconds(one.attempt_timeout)))
            .bind::<Array<Int8>, _>(column(|one| milliseconds(one.lease)))
            .bind::<Array<Int8>, _>(column(|one| milliseconds(one.retry.initial())))
            .bind::<Array<Double>, Vec<f64>>(types.iter().map(|one| one.retry.factor()).collect())
            .bind::<Array<Int8>, _>(column(|one| milliseconds(one.retry.max())))
            .bind::<Array<Nullable<Int8>>, Vec<Option<i64>>>(
                types
                    .iter()
                    .map(|one| one.time_limit.map(milliseconds))
                    .collect(),
            )
            .bind::<Array<Nullable<Int4>>, _>(limits(|one| one.total))
            .bind::<Array<Nullable<Int4>>, _>(limits(|one| one.per_user))
            .bind::<Array<Nullable<Int4>>, _>(limits(|one| one.per_replica));
        self.database.run(Access::Write, &statement).await?;
        Ok(())
    }

    async fn define(&self, action_type: &ActionType) -> Result<TypeDefined, StoreError> {
        let ActionType {
            name,
            performed_by: _,
            input_schema,
            max_attempts,
            attempt_timeout,
            lease,
            retry,
            time_limit,
            concurrency,
        } = action_type;
        let statement = Statement::new(include_str!("sql/type_define.sql"))
            .bind::<Text, &str>(name.as_str())
            .bind::<Nullable<Text>, Option<&str>>(input_schema.as_ref().map(Payload::as_str))
            .bind::<Int2, _>(i16::try_from(*max_attempts).unwrap_or(i16::MAX))
            .bind::<Int8, _>(milliseconds(*attempt_timeout))
            .bind::<Int8, _>(milliseconds(*lease))
            .bind::<Int8, _>(milliseconds(retry.initial()))
            .bind::<Double, _>(retry.factor())
            .bind::<Int8, _>(milliseconds(retry.max()))
            .bind::<Nullable<Int8>, _>(time_limit.map(milliseconds))
            .bind::<Nullable<Int4>, _>(concurrency.total.map(i32::from))
            .bind::<Nullable<Int4>, _>(concurrency.per_user.map(i32::from))
            .bind::<Nullable<Int4>, _>(concurrency.per_replica.map(i32::from));
        let row: Option<DefinedRow> = self.database.row(Access::Write, &statement).await?;
        Ok(match row {
            Some(DefinedRow { is_new: true }) => TypeDefined::Created,
            Some(DefinedRow { is_new: false }) => TypeDefined::Replaced,
            None => TypeDefined::HasHandler,
        })
    }

    async fn remove(&self, name: &ActionTypeName) -> Result<TypeRemoved, StoreError> {
        let statement = Statement::new("SELECT remove_action_type($1) AS verdict")
            .bind::<Text, &str>(name.as_str());
        let row: Option<VerdictRow> = self.database.row(Access::Write, &statement).await?;
        let verdict = row.map(|row| row.verdict);
        Ok(match verdict.as_deref() {
            Some("removed") => TypeRemoved::Removed,
            Some("handler") => TypeRemoved::HasHandler,
            Some("used") => TypeRemoved::HasActions,
            _ => TypeRemoved::Unknown,
        })
    }

    async fn find(&self, name: &ActionTypeName) -> Result<Option<ActionType>, StoreError> {
        let query = TypeRow::query()
            .filter(action_types::name.eq(name.as_str().to_owned()))
            .filter(action_types::removed_at.is_null());
        let row = self
            .database
            .select(move |connection| {
                let found = query.first::<TypeRow>(connection);
                async move { found.await.optional() }.boxed()
            })
            .await?;
        Ok(row.map(ActionType::try_from).transpose()?)
    }

    async fn find_all(&self, names: &[ActionTypeName]) -> Result<Vec<ActionType>, StoreError> {
        let names: Vec<String> = names.iter().map(|name| name.as_str().to_owned()).collect();
        let query = TypeRow::query()
            .filter(action_types::name.eq_any(names))
            .filter(action_types::removed_at.is_null());
        let rows = self
            .database
            .select(move |connection| query.load::<TypeRow>(connection).boxed())
            .await?;
        let types = rows.into_iter().map(ActionType::try_from);
        Ok(types.collect::<Result<Vec<_>, _>>()?)
    }

    async fn list(&self) -> Result<Vec<ActionType>, StoreError> {
        let query = TypeRow::query()
            .filter(action_types::removed_at.is_null())
            .order(action_types::name.asc());
        let rows = self
            .database
            .select(move |connection| query.load::<TypeRow>(connection).boxed())
            .await?;
        let mut types = rows
            .into_iter()
            .map(ActionType::try_from)
            .collect::<Result<Vec<_>, _>>()?;
        // By bytes, whatever the database's collation.
        types.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(types)
    }
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
