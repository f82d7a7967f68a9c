use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Months, NaiveDate, TimeDelta, Utc};
use deed_domain::error::StoreError;
use diesel::QueryableByName;
use diesel::sql_types::{Bool, Text, Timestamptz};
use tokio::time::sleep;

use super::partitions::TABLES;
use super::term::Term;
use crate::postgres::error::DbError;
use crate::postgres::pool::{Access, Database};
use crate::postgres::statement::Statement;

/// How often a month is tried whose tables somebody holds.
const TRIES: u32 = 5;
/// The pause between two tries: each makes everybody else wait for up to 200 ms.
const PAUSE: Duration = Duration::from_secs(1);

/// Drops the partitions of the months that lie wholly before the last `retention`, by the database's clock, and hold
/// no unfinished action: actions, results and events of a month together, or none of them. What is left of a month,
/// for whatever reason, is dropped too. Answers the names of the partitions that are gone. Without the `term` nothing
/// is dropped.
///
/// # Errors
/// When PostgreSQL is away, or somebody holds the tables again and again; what was dropped is gone, and the rest is
/// found the next time.
pub async fn drop_expired(
    database: &Database,
    term: &Term,
    retention: Duration,
) -> Result<Vec<String>, StoreError> {
    let retention = TimeDelta::from_std(retention).unwrap_or(TimeDelta::MAX);
    let before = partitions(database).await?;
    for month in expired(&before, retention) {
        if is_unfinished(database, month).await? {
            log::debug!(
                "the month from {} is kept: it has an unfinished action",
                month.from
            );
            continue;
        }
        drop_month(database, term, month).await?;
    }
    let after = partitions(database).await?;
    let gone: Vec<String> = before
        .into_iter()
        .map(|partition| partition.name)
        .filter(|name| !after.iter().any(|left| left.name == *name))
        .collect();
    if let (Some(first), Some(last)) = (gone.first(), gone.last()) {
        log::info!(count = gone.len(); "dropped {} partitions, {first} to {last}", gone.len());
    }
    Ok(gone)
}

/// A partition, and when it was seen by the database's clock.
#[derive(Debug, QueryableByName)]
struct PartitionRow {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Timestamptz)]
    now: DateTime<Utc>,
}

#[derive(QueryableByName)]
struct UnfinishedRow {
    #[diesel(sql_type = Bool)]
    is_unfinished: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Month {
    from: NaiveDate,
    to: NaiveDate,
}

impl Month {
    /// That of a partition of ours; one that somebody else has made is none.
    fn of(partition: &str) -> Option<Self> {
        let digits = TABLES
            .iter()
            .find_map(|table| partition.strip_prefix(table)?.strip_prefix('_'))
            .filter(|digits| digits.len() == 6)?;
        let from = NaiveDate::parse_from_str(&format!("{digits}01"), "%Y%m%d").ok()?;
        let to = from.checked_add_months(Months::new(1))?;
        Some(Self { from, to })
    }

    fn bounds(self) -> (DateTime<Utc>, DateTime<Utc>) {
        let start = |date: NaiveDate| date.and_time(chrono::NaiveTime::MIN).and_utc();
        (start(self.from), start(self.to))
    }

    /// One transaction. It has the tables to itself before it looks, so what it has seen is still so when it drops;
    /// and it gives up soon where somebody else has them.
    fn drop_script(self, term: &Term) -> String {
        let Self { from, to } = self;
        let [actions, results, events] =
            TABLES.map(|table| format!("{table}_{}", from.format("%Y%m")));
        let holder = term.holder();
        format!(
            "DO $$ BEGIN
               PERFORM set_config('lock_timeout', '200ms', true);
               LOCK TABLE ONLY actions, ONLY action_results, ONLY action_events IN ACCESS EXCLUSIVE MODE;
               IF EXISTS (SELECT FROM housekeeping WHERE holder = '{holder}' AND term_ends_at > clock_timestamp())
                 AND NOT EXISTS (SELECT FROM action_queue WHERE action_id >= uuid_floor('{from} 00:00Z') AND action_id < uuid_floor('{to} 00:00Z'))
                 AND NOT EXISTS (SELECT FROM action_leases WHERE action_id >= uuid_floor('{from} 00:00Z') AND action_id < uuid_floor('{to} 00:00Z'))
               THEN
                 DROP TABLE IF EXISTS {actions}, {results}, {events};
               END IF;
             END $$"
        )
    }
}

async fn partitions(database: &Database) -> Result<Vec<PartitionRow>, DbError> {
    let statement = Statement::new(include_str!("../sql/partitions_aged.sql"));
    database.rows(Access::Read, &statement).await
}

/// Months that lie wholly before the last `retention`, the oldest first.
fn expired(partitions: &[PartitionRow], retention: TimeDelta) -> Vec<Month> {
    let months: BTreeMap<Month, DateTime<Utc>> = partitions
        .iter()
        .filter_map(|partition| Some((Month::of(&partition.name)?, partition.now)))
        .collect();
    months
        .into_iter()
        .filter(|(month, now)| {
            now.checked_sub_signed(retention)
                .is_some_and(|kept_from| month.bounds().1 <= kept_from)
        })
        .map(|(month, _)| month)
        .collect()
}

async fn is_unfinished(database: &Database, month: Month) -> Result<bool, DbError> {
    let (from, to) = month.bounds();
    let statement = Statement::new(include_str!("../sql/unfinished.sql"))
        .bind::<Timestamptz, _>(from)
        .bind::<Timestamptz, _>(to);
    let row: Option<UnfinishedRow> = database.row(Access::Read, &statement).await?;
    Ok(row.is_none_or(|row| row.is_unfinished))
}

async fn drop_month(database: &Database, term: &Term, month: Month) -> Result<(), DbError> {
    let script = month.drop_script(term);
    for _ in 1..TRIES {
        match database.batch(&script).await {
            Err(DbError::Locked(_)) => sleep(PAUSE).await,
            dropped_or_failed => return dropped_or_failed,
        }
    }
    database.batch(&script).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(now: &str, names: &[&str], days: i64) -> Vec<String> {
        let rows: Vec<PartitionRow> = names
            .iter()
            .map(|name| PartitionRow {
                name: (*name).to_owned(),
                now: now.parse().unwrap(),
            })
            .collect();
        expired(&rows, TimeDelta::days(days))
            .into_iter()
            .map(|month| month.from.to_string())
            .collect()
    }

    #[test]
    fn a_month_expires_when_its_last_moment_does() {
        let names = ["actions_202609", "actions_202610", "actions_202611"];
        assert_eq!(at("2026-11-30T23:59:59Z", &names, 30), ["2026-09-01"]);
        assert_eq!(
            at("2026-12-01T00:00:00Z", &names, 30),
            ["2026-09-01", "2026-10-01"]
        );
        assert_eq!(at("2026-11-01T23:59:59Z", &names, 1), ["2026-09-01"]);
        assert_eq!(
            at("2026-11-02T00:00:00Z", &names, 1),
            ["2026-09-01", "2026-10-01"]
        );
        let none: [&str; 0] = [];
        assert_eq!(at("2026-12-01T00:00:00Z", &names, 3650), none);
    }

    #[test]
    fn a_month_counts_once_and_also_when_only_a_part_of_it_is_left() {
        let names = [
            "action_events_202608",
            "action_results_202608",
            "action_events_202607",
        ];
        assert_eq!(
            at("2026-12-01T00:00:00Z", &names, 30),
            ["2026-07-01", "2026-08-01"]
        );
    }

    #[test]
    fn what_somebody_else_has_made_is_left_alone() {
        let names = [
            "actions_archive",
            "actions_2026081",
            "actions_202613",
            "others_202608",
        ];
        let none: [&str; 0] = [];
        assert_eq!(at("2030-01-01T00:00:00Z", &names, 1), none);
    }
}
