//! The logs of actions.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use deed_domain::action::{Event, EventName, Payload, Sequence};
use deed_domain::caller::Reach;
use deed_domain::error::StoreError;
use deed_domain::id::{ActionId, UserId};
use deed_domain::ports::{EventLog, EventPage};
use diesel::QueryableByName;
use diesel::sql_types::{Array, Bool, Int4, Int8, Nullable, Text, Timestamptz, Uuid as SqlUuid};

use super::action_row::{int4, like_patterns, sequence};
use super::pool::{Access, Database};
use super::statement::Statement;

/// How many bytes of data a page holds at the most, its first entry apart.
const PAGE_BYTES: i64 = 1024 * 1024;

/// The logs in PostgreSQL.
pub struct PgEventLog {
    database: Database,
}

impl PgEventLog {
    /// The logs of `database`.
    #[must_use]
    pub fn new(database: Database) -> Self {
        Self { database }
    }
}

/// Where the log ends, and one of its entries if there is one to read.
#[derive(QueryableByName)]
struct EventRow {
    #[diesel(sql_type = Int4)]
    last_seq: i32,
    #[diesel(sql_type = Bool)]
    is_over: bool,
    #[diesel(sql_type = Nullable<Int4>)]
    seq: Option<i32>,
    #[diesel(sql_type = Nullable<Text>)]
    event: Option<String>,
    #[diesel(sql_type = Nullable<Timestamptz>)]
    at: Option<DateTime<Utc>>,
    #[diesel(sql_type = Nullable<Text>)]
    data: Option<String>,
}

#[async_trait]
impl EventLog for PgEventLog {
    async fn read(
        &self,
        action: ActionId,
        reach: &Reach,
        after: Sequence,
        limit: usize,
    ) -> Result<Option<EventPage>, StoreError> {
        let Reach { owner, types } = reach;
        let statement = Statement::new(include_str!("sql/events.sql"))
            .bind::<SqlUuid, _>(action.as_uuid())
            .bind::<Nullable<SqlUuid>, _>(owner.map(UserId::as_uuid))
            .bind::<Nullable<Array<Text>>, _>(like_patterns(types))
            .bind::<Int4, _>(int4(after))
            .bind::<Int4, _>(i32::try_from(limit).unwrap_or(i32::MAX))
            .bind::<Int8, _>(PAGE_BYTES);
        let rows: Vec<EventRow> = self.database.rows(Access::Read, &statement).await?;
        let mut page: Option<EventPage> = None;
        for EventRow {
            last_seq,
            is_over,
            seq,
            event,
            at,
            data,
        } in rows
        {
            let last = sequence(last_seq, "last_seq", action.as_uuid())?;
            let page = page.get_or_insert_with(|| EventPage {
                events: Vec::new(),
                last,
                is_over,
            });
            if let (Some(seq), Some(event), Some(at), Some(data)) = (seq, event, at, data) {
                page.events.push(Event {
                    seq: sequence(seq, "seq", action.as_uuid())?,
                    name: EventName::from_name(&event),
                    at,
                    data: Payload::from_stored(data),
                });
            }
        }
        Ok(page)
    }
}
