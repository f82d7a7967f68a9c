use std::collections::BTreeMap;
use std::time::Duration;

use chrono::TimeDelta;
use deed_domain::error::StoreError;
use diesel::QueryableByName;
use diesel::sql_types::{Bool, Uuid as SqlUuid};
use tokio::time::sleep;

use super::calendar::{Span, time_of};
use super::partitions::{PartitionRow, partitions};
use super::term::Term;
use crate::postgres::error::DbError;
use crate::postgres::pool::{Access, Database};
use crate::postgres::statement::Statement;

/// How often partitions are tried whose tables somebody holds.
const TRIES: u32 = 5;
/// The pause between two tries: each makes everybody else wait for up to 200 ms.
const PAUSE: Duration = Duration::from_secs(1);

/// Drops the partitions of the months and weeks that lie wholly before the last `retention`, by the database's clock,
/// and hold no unfinished action: actions, results and events of one time together, or none of them. What is left of
/// one, for whatever reason, is dropped too. Answers the names of the partitions that are gone. Without the `term`
/// nothing is dropped.
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
    for (span, names) in expired(&before, retention) {
        if is_unfinished(database, span).await? {
            log::debug!(
                "the time from {} is kept: it has an unfinished action",
                time_of(span.from)
            );
            continue;
        }
        drop_span(database, &drop_script(span, &names, term)).await?;
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

#[derive(QueryableByName)]
struct UnfinishedRow {
    #[diesel(sql_type = Bool)]
    is_unfinished: bool,
}

/// One transaction. It has the tables to itself before it looks, so what it has seen is still so when it drops; and it
/// gives up soon where somebody else has them.
fn drop_script(span: Span, names: &[&str], term: &Term) -> String {
    let Span { from, to } = span;
    let (names, holder) = (names.join(", "), term.holder());
    format!(
        "DO $$ BEGIN
           PERFORM set_config('lock_timeout', '200ms', true);
           LOCK TABLE ONLY actions, ONLY action_results, ONLY action_events IN ACCESS EXCLUSIVE MODE;
           IF EXISTS (SELECT FROM housekeeping WHERE holder = '{holder}' AND term_ends_at > clock_timestamp())
             AND NOT EXISTS (SELECT FROM action_queue WHERE action_id >= '{from}' AND action_id < '{to}')
             AND NOT EXISTS (SELECT FROM action_leases WHERE action_id >= '{from}' AND action_id < '{to}')
           THEN
             DROP TABLE IF EXISTS {names};
           END IF;
         END $$"
    )
}

/// The times that lie wholly before the last `retention`, the oldest first, with the names of their partitions. What
/// somebody else has made and attached is left alone.
fn expired(partitions: &[PartitionRow], retention: TimeDelta) -> BTreeMap<Span, Vec<&str>> {
    let mut expired: BTreeMap<Span, Vec<&str>> = BTreeMap::new();
    for partition in partitions.iter().filter(|partition| partition.is_ours()) {
        if let Some(span) = partition.span()
            && span.is_older_than(retention, partition.now)
        {
            expired.entry(span).or_default().push(&partition.name);
        }
    }
    expired
}

async fn is_unfinished(database: &Database, span: Span) -> Result<bool, DbError> {
    let statement = Statement::new(include_str!("../sql/unfinished.sql"))
        .bind::<SqlUuid, _>(span.from)
        .bind::<SqlUuid, _>(span.to);
    let row: Option<UnfinishedRow> = database.row(Access::Read, &statement).await?;
    Ok(row.is_none_or(|row| row.is_unfinished))
}

async fn drop_span(database: &Database, script: &str) -> Result<(), DbError> {
    for _ in 1..TRIES {
        match database.batch(script).await {
            Err(DbError::Locked(_)) => sleep(PAUSE).await,
            dropped_or_failed => return dropped_or_failed,
        }
    }
    database.batch(script).await
}

#[cfg(test)]
mod tests {
    use super::super::partitions::testing::row;
    use super::*;

    /// First days of what has expired at `now`.
    fn at(now: &str, partitions: &[(&str, &str, &str, &str)], days: i64) -> Vec<String> {
        let rows: Vec<PartitionRow> = partitions
            .iter()
            .map(|(parent, name, from, to)| row(parent, name, from, to, now))
            .collect();
        expired(&rows, TimeDelta::days(days))
            .into_keys()
            .map(|span| time_of(span.from).date_naive().to_string())
            .collect()
    }

    #[test]
    fn months_and_weeks_expire_when_their_last_moment_does() {
        let present = [
            ("actions", "actions_202609", "2026-09-01", "2026-10-01"),
            ("actions", "actions_202610", "2026-10-01", "2026-11-01"),
            ("actions", "actions_20261101", "2026-11-01", "2026-11-02"),
            ("actions", "actions_20261102", "2026-11-02", "2026-11-09"),
        ];
        let (september, october) = ("2026-09-01", "2026-10-01");
        assert_eq!(at("2026-11-30T23:59:59.999Z", &present, 30), [september]);
        let later = at("2026-12-01T00:00:00Z", &present, 30);
        assert_eq!(later, [september, october]);
        let days = at("2026-11-08T23:59:59.999Z", &present, 7);
        assert_eq!(days, [september, october]);
        let days = at("2026-11-16T00:00:00Z", &present, 7);
        assert_eq!(days, [september, october, "2026-11-01", "2026-11-02"]);
        let none: [&str; 0] = [];
        assert_eq!(at("2026-12-01T00:00:00Z", &present, 3650), none);
    }

    #[test]
    fn a_month_counts_once_and_also_when_only_a_part_of_it_is_left() {
        let present = [
            (
                "action_events",
                "action_events_202608",
                "2026-08-01",
                "2026-09-01",
            ),
            (
                "action_results",
                "action_results_202608",
                "2026-08-01",
                "2026-09-01",
            ),
            (
                "action_events",
                "action_events_202607",
                "2026-07-01",
                "2026-08-01",
            ),
        ];
        assert_eq!(
            at("2026-12-01T00:00:00Z", &present, 30),
            ["2026-07-01", "2026-08-01"]
        );
    }

    #[test]
    fn what_somebody_else_has_made_is_left_alone() {
        let present = [
            "actions_archive",
            "actions_2026081",
            "actions_2026w1",
            "others_202608",
        ]
        .map(|name| ("actions", name, "2026-08-01", "2026-09-01"));
        let none: [&str; 0] = [];
        assert_eq!(at("2030-01-01T00:00:00Z", &present, 1), none);
    }
}
