use std::fmt;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use deed_domain::error::StoreError;
use diesel::QueryableByName;
use diesel::sql_types::{Nullable, Text, Timestamptz, Uuid as SqlUuid};
use uuid::Uuid;

use super::calendar::{Cadence, Span, gaps, time_of};
use crate::postgres::error::DbError;
use crate::postgres::pool::{Access, Database};
use crate::postgres::statement::Statement;

/// The partitioned tables.
pub(super) const TABLES: [&str; 3] = ["actions", "action_results", "action_events"];
/// How often partitions are tried whose tables somebody holds.
const TRIES: u32 = 10;
/// How many times are made at the most before somebody else's doing is taken for a fault.
const ROUNDS: u32 = 60;
/// How far ahead writes have to find room: a replica that can't be sure of it is not ready.
const ROOM: TimeDelta = TimeDelta::days(14);

/// Makes the partitions that are missing: of the month of `now` and of the three that follow, or, where `retention` is
/// below 14 days, of this week and of the five that follow. What is there stays, whatever time it holds: new ones begin
/// where it ends. Answers the names of those made. Safe when several replicas do it at once, also with different
/// retentions.
///
/// # Errors
/// When PostgreSQL is away, or somebody holds a table for longer than two seconds; what was made stays.
pub async fn make_partitions(
    database: &Database,
    now: DateTime<Utc>,
    retention: Duration,
) -> Result<Vec<String>, StoreError> {
    let cadence = Cadence::of(retention);
    let mut made = Vec::new();
    for _ in 0..ROUNDS {
        let present = partitions(database).await?;
        // One at a time, and then a look again: another replica may have made others meanwhile.
        let Some((span, tables)) = first_lacking(&present, cadence, now) else {
            break;
        };
        make(database, span, &tables).await?;
        for table in tables {
            let name = format!("{table}_{}", span.name());
            log::debug!(partition = name; "made partition {name}");
            made.push(name);
        }
    }
    if let (Some(first), Some(last)) = (made.first(), made.last()) {
        log::info!(count = made.len(); "made {} partitions, {first} to {last}", made.len());
    }
    Ok(made)
}

/// The first time for which there is no partition, and the tables that lack it.
fn first_lacking(
    present: &[PartitionRow],
    cadence: Cadence,
    now: DateTime<Utc>,
) -> Option<(Span, Vec<&'static str>)> {
    let firsts = TABLES.map(|table| {
        let lacking = cadence.lacking(&spans(present, table), now);
        (table, lacking.first().copied())
    });
    let first = firsts.iter().filter_map(|(_, span)| *span).min()?;
    let tables = firsts.iter().filter(|(_, span)| *span == Some(first));
    Some((first, tables.map(|(table, _)| *table).collect()))
}

/// Tries again while somebody holds a table for a moment: a vacuum, or another replica at the same work.
async fn make(database: &Database, span: Span, tables: &[&'static str]) -> Result<(), DbError> {
    let script = script(span, tables);
    for _ in 1..TRIES {
        match database.batch(&script).await {
            Err(DbError::Locked(_)) => {}
            made_or_failed => return made_or_failed,
        }
    }
    database.batch(&script).await
}

/// One statement, and so one transaction: the tables' partitions of one time are there together. Attaching locks the
/// parent against neither reads nor writes, and gives up soon if somebody else holds it. The advisory lock puts
/// replicas in a row; who comes second finds the time taken, and leaves it.
fn script(span: Span, tables: &[&'static str]) -> String {
    let Span { from, to } = span;
    let (present, name) = (include_str!("../sql/partitions.sql"), span.name());
    let tables: String = tables
        .iter()
        .map(|table| {
            format!(
                "IF NOT EXISTS (SELECT FROM ({present}) p WHERE p.parent = '{table}' AND p.from_id < '{to}' AND p.to_id > '{from}') THEN
                   CREATE TABLE IF NOT EXISTS {table}_{name} (LIKE {table} INCLUDING ALL);
                   ALTER TABLE {table} ATTACH PARTITION {table}_{name} FOR VALUES FROM ('{from}') TO ('{to}');
                 END IF;\n"
            )
        })
        .collect();
    format!(
        "DO $$ BEGIN
           PERFORM set_config('lock_timeout', '200ms', true);
           PERFORM pg_advisory_xact_lock(hashtextextended('deed partitions in ' || current_schema(), 0));
           {tables}
         END $$"
    )
}

/// A time for which a table has no partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    table: &'static str,
    span: Span,
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { table, span } = self;
        let (from, to) = (time_of(span.from), time_of(span.to));
        let form = "%Y-%m-%d %H:%MZ";
        write!(
            f,
            "{table} from {} to {}",
            from.format(form),
            to.format(form)
        )
    }
}

/// The times of the coming 14 days for which there should be a partition and is none: writes fail then.
///
/// # Errors
/// When PostgreSQL is away.
pub async fn missing_partitions(
    database: &Database,
    now: DateTime<Utc>,
) -> Result<Vec<Gap>, StoreError> {
    let present = partitions(database).await?;
    let gaps = TABLES.into_iter().flat_map(|table| {
        let gaps = gaps(&spans(&present, table), now, now + ROOM);
        gaps.into_iter().map(move |span| Gap { table, span })
    });
    Ok(gaps.collect())
}

/// A partition, and when it was seen by the database's clock.
#[derive(Debug, QueryableByName)]
pub(super) struct PartitionRow {
    #[diesel(sql_type = Text)]
    parent: String,
    #[diesel(sql_type = Text)]
    pub(super) name: String,
    #[diesel(sql_type = Timestamptz)]
    pub(super) now: DateTime<Utc>,
    #[diesel(sql_type = Nullable<SqlUuid>)]
    from_id: Option<Uuid>,
    #[diesel(sql_type = Nullable<SqlUuid>)]
    to_id: Option<Uuid>,
}

impl PartitionRow {
    /// The ids that it holds, where it has bounds.
    pub(super) fn span(&self) -> Option<Span> {
        Some(Span {
            from: self.from_id?,
            to: self.to_id?,
        })
    }

    /// Whether it is named as this program names its own.
    pub(super) fn is_ours(&self) -> bool {
        let digits = self
            .name
            .strip_prefix(&self.parent)
            .and_then(|rest| rest.strip_prefix('_'))
            .unwrap_or_default();
        [6, 8].contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
    }
}

/// Every partition, by name.
pub(super) async fn partitions(database: &Database) -> Result<Vec<PartitionRow>, DbError> {
    let statement = Statement::new(include_str!("../sql/partitions.sql"));
    database.rows(Access::Read, &statement).await
}

fn spans(present: &[PartitionRow], table: &str) -> Vec<Span> {
    let of_table = present.iter().filter(|row| row.parent == table);
    of_table.filter_map(PartitionRow::span).collect()
}

#[cfg(test)]
pub(super) mod testing {
    use super::*;
    use crate::postgres::housekeeping::calendar::floor;

    /// A partition of the time from the one day to the other, seen at `now`.
    pub(crate) fn row(parent: &str, name: &str, from: &str, to: &str, now: &str) -> PartitionRow {
        let day = |text: &str| floor(format!("{text}T00:00:00Z").parse().unwrap());
        PartitionRow {
            parent: parent.to_owned(),
            name: name.to_owned(),
            now: now.parse().unwrap(),
            from_id: Some(day(from)),
            to_id: Some(day(to)),
        }
    }
}
