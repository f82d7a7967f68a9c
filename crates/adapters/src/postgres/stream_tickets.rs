//! Tickets for streams.

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use deed_domain::caller::{Actor, Caller, Identity, Reach};
use deed_domain::error::StoreError;
use deed_domain::id::{ActionId, ApiKeyId, UserId};
use deed_domain::key_limits::KeyLimits;
use deed_domain::ports::{StreamTickets, TicketKept};
use deed_domain::scope::ScopeSet;
use deed_domain::secret::SecretDigest;
use deed_domain::ticket::{LIFE, MOST_PER_USER, NewTicket};
use deed_domain::user::UserStatus;
use diesel::QueryableByName;
use diesel::sql_types::{
    Array, Binary, Int4, Interval, Nullable, Text, Timestamptz, Uuid as SqlUuid,
};
use uuid::Uuid;

use super::action_row::like_patterns;
use super::api_keys::scope_set;
use super::error::BadRow;
use super::pool::{Access, Database};
use super::statement::Statement;

/// Tickets for streams in PostgreSQL.
pub struct PgStreamTickets {
    database: Database,
    limits: KeyLimits,
}

impl PgStreamTickets {
    /// Tickets for the streams of `database`.
    #[must_use]
    pub fn new(database: Database) -> Self {
        Self {
            database,
            limits: KeyLimits::NONE,
        }
    }

    /// The same, where each key has these limits: a ticket's stream counts for the key that asked for it.
    #[must_use]
    pub fn limiting(self, limits: KeyLimits) -> Self {
        Self { limits, ..self }
    }
}

#[derive(QueryableByName)]
struct KeptRow {
    #[diesel(sql_type = Nullable<Timestamptz>)]
    expires_at: Option<DateTime<Utc>>,
}

#[derive(QueryableByName)]
struct TakenRow {
    #[diesel(sql_type = Nullable<SqlUuid>)]
    api_key_id: Option<Uuid>,
    #[diesel(sql_type = Nullable<SqlUuid>)]
    subject_id: Option<Uuid>,
    #[diesel(sql_type = Nullable<Timestamptz>)]
    caller_expires_at: Option<DateTime<Utc>>,
    #[diesel(sql_type = Nullable<SqlUuid>)]
    owner_id: Option<Uuid>,
    #[diesel(sql_type = Nullable<Array<Text>>)]
    scopes: Option<Vec<String>>,
}

impl TakenRow {
    /// Who asked for the ticket; a key has these limits.
    fn caller(self, limits: KeyLimits) -> Result<Caller, BadRow> {
        let Self {
            api_key_id,
            subject_id,
            caller_expires_at,
            owner_id,
            scopes,
        } = self;
        let identity = Identity {
            actor: api_key_id.map_or(Actor::Root, |id| Actor::Key(ApiKeyId::from_uuid(id))),
            owner: owner_id.map(UserId::from_uuid),
            scopes: match api_key_id {
                Some(id) => scope_set(&scopes.unwrap_or_default(), id)?,
                None => ScopeSet::everything(),
            },
            expires_at: caller_expires_at,
            limits: api_key_id.map_or(KeyLimits::NONE, |_| limits),
        };
        match subject_id {
            None => Ok(identity.for_itself()),
            // The statement lets no other through.
            Some(id) => identity
                .for_user(UserId::from_uuid(id), Some(UserStatus::Active))
                .map_err(|problem| BadRow::new("stream_tickets", "subject_id", id, problem)),
        }
    }
}

#[async_trait]
impl StreamTickets for PgStreamTickets {
    async fn keep(&self, ticket: NewTicket, reach: &Reach) -> Result<TicketKept, StoreError> {
        let NewTicket {
            digest,
            action,
            caller,
        } = &ticket;
        let Reach { owner, types } = reach;
        let life = TimeDelta::from_std(LIFE).unwrap_or(TimeDelta::zero());
        let statement = Statement::new(include_str!("sql/ticket_keep.sql"))
            .bind::<Binary, _>(digest.as_bytes().to_vec())
            .bind::<SqlUuid, _>(action.as_uuid())
            .bind::<Nullable<SqlUuid>, _>(owner.map(UserId::as_uuid))
            .bind::<Nullable<Array<Text>>, _>(like_patterns(types))
            .bind::<Nullable<SqlUuid>, _>(caller.actor().key_id().map(ApiKeyId::as_uuid))
            .bind::<Nullable<SqlUuid>, _>(caller.subject().map(UserId::as_uuid))
            .bind::<Nullable<Timestamptz>, _>(caller.identity().expires_at)
            .bind::<Interval, _>(life)
            .bind::<Int4, _>(i32::from(MOST_PER_USER));
        let row = self
            .database
            .row::<KeptRow>(Access::Write, &statement)
            .await?;
        Ok(match row.map(|row| row.expires_at) {
            None => TicketKept::NoAction,
            Some(None) => TicketKept::TooMany,
            Some(Some(expires_at)) => TicketKept::Until(expires_at),
        })
    }

    async fn take(
        &self,
        digest: &SecretDigest,
        action: ActionId,
    ) -> Result<Option<Caller>, StoreError> {
        let statement = Statement::new(include_str!("sql/ticket_take.sql"))
            .bind::<Binary, _>(digest.as_bytes().to_vec())
            .bind::<SqlUuid, _>(action.as_uuid());
        let row = self
            .database
            .row::<TakenRow>(Access::Write, &statement)
            .await?;
        Ok(row.map(|row| row.caller(self.limits)).transpose()?)
    }
}
