use std::collections::HashSet;

use chrono::{DateTime, Datelike as _, Months, NaiveDate, Utc};
use deed_domain::error::StoreError;
use diesel::QueryableByName;
use diesel::sql_types::Text;

use crate::postgres::error::DbError;
use crate::postgres::pool::{Access, Database};
use crate::postgres::statement::Statement;

/// The partitioned tables.
pub(super) const TABLES: [&str; 3] = ["actions", "action_results", "action_events"];
/// How many months after the present one have their partitions.
const AHEAD: u32 = 3;
/// How often a partition is tried whose table somebody holds.
const TRIES: u32 = 10;

/// Makes the partitions of the month of `now` and of the three that follow, where they are missing.
/// Answers the names of those made. Safe when several replicas do it at once.
///
/// # Errors
/// When PostgreSQL is away, or somebody holds a table for longer than two seconds; what was made stays.
pub async fn make_partitions(
    database: &Database,
    now: DateTime<Utc>,
) -> Result<Vec<String>, StoreError> {
    let mut made = Vec::new();
    for partition in missing(database, now, AHEAD).await? {
        make(database, &partition).await?;
        log::debug!(partition = partition.name; "made partition {}", partition.name);
        made.push(partition.name);
    }
    if let (Some(first), Some(last)) = (made.first(), made.last()) {
        log::info!(count = made.len(); "made {} partitions, {first} to {last}", made.len());
    }
    Ok(made)
}

/// Tries again while somebody holds a table for a moment: a vacuum, or another replica at the same work.
async fn make(database: &Database, partition: &Partition) -> Result<(), DbError> {
    let script = partition.script();
    for _ in 1..TRIES {
        match database.batch(&script).await {
            Err(DbError::Locked(_)) => {}
            made_or_failed => return made_or_failed,
        }
    }
    database.batch(&script).await
}

/// The partitions that should be there and are not: of the month of `now` and of the one that follows,
/// without which writes fail, now or soon.
///
/// # Errors
/// When PostgreSQL is away.
pub async fn missing_partitions(
    database: &Database,
    now: DateTime<Utc>,
) -> Result<Vec<String>, StoreError> {
    Ok(missing(database, now, 1)
        .await?
        .into_iter()
        .map(|partition| partition.name)
        .collect())
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Partition {
    table: &'static str,
    name: String,
    from: NaiveDate,
    to: NaiveDate,
}

impl Partition {
    /// One statement, and so one transaction. Attaching locks the parent against neither reads nor writes, and gives
    /// up soon if somebody else holds it. The advisory lock puts replicas in a row; who comes second finds it done.
    fn script(&self) -> String {
        let Self {
            table,
            name,
            from,
            to,
        } = self;
        format!(
            "DO $$ BEGIN
               PERFORM set_config('lock_timeout', '200ms', true);
               PERFORM pg_advisory_xact_lock(hashtextextended('deed partitions in ' || current_schema(), 0));
               IF NOT EXISTS (SELECT FROM pg_inherits WHERE inhparent = '{table}'::regclass AND inhrelid = to_regclass('{name}')) THEN
                 CREATE TABLE IF NOT EXISTS {name} (LIKE {table} INCLUDING ALL);
                 EXECUTE format('ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM (%L) TO (%L)',
                                uuid_floor('{from} 00:00Z'), uuid_floor('{to} 00:00Z'));
               END IF;
             END $$"
        )
    }
}

#[derive(QueryableByName)]
struct NameRow {
    #[diesel(sql_type = Text)]
    name: String,
}

async fn missing(
    database: &Database,
    now: DateTime<Utc>,
    ahead: u32,
) -> Result<Vec<Partition>, DbError> {
    let statement = Statement::new(include_str!("../sql/partitions.sql"));
    let present: HashSet<String> = database
        .rows::<NameRow>(Access::Read, &statement)
        .await?
        .into_iter()
        .map(|row| row.name)
        .collect();
    Ok(wanted(now, ahead)
        .into_iter()
        .filter(|partition| !present.contains(&partition.name))
        .collect())
}

fn wanted(now: DateTime<Utc>, ahead: u32) -> Vec<Partition> {
    let this_month = now
        .date_naive()
        .with_day(1)
        .unwrap_or_else(|| now.date_naive());
    (0..=ahead)
        .flat_map(|month| {
            let from = this_month + Months::new(month);
            let to = from + Months::new(1);
            TABLES.map(|table| Partition {
                table,
                name: format!("{table}_{}", from.format("%Y%m")),
                from,
                to,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_year_ends_in_december() {
        let now = "2026-11-22T10:00:00Z".parse().unwrap();
        let names: Vec<_> = wanted(now, 3)
            .into_iter()
            .filter(|p| p.table == "actions")
            .map(|p| (p.name, p.to.to_string()))
            .collect();
        assert_eq!(
            names,
            [
                ("202611", "2026-12-01"),
                ("202612", "2027-01-01"),
                ("202701", "2027-02-01"),
                ("202702", "2027-03-01")
            ]
            .map(|(name, to)| (format!("actions_{name}"), to.to_owned()))
        );
    }

    #[test]
    fn the_last_moment_of_a_month_is_of_that_month() {
        let now: DateTime<Utc> = "2027-01-31T23:59:59.999Z".parse().unwrap();
        let first = wanted(now, 0).into_iter().next().unwrap();
        assert_eq!(
            (first.from.to_string(), first.to.to_string()),
            ("2027-01-01".to_owned(), "2027-02-01".to_owned())
        );
        assert_eq!(first.name, "actions_202701");
    }
}
