//! Migrations as SQL for somebody who runs it by hand.

use std::fmt::Write as _;

use super::embedded::Migration;
use super::{BOOKKEEPING, LOCK_KEY, TABLE_LOCK_TIMEOUT};

/// Which way a script goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// To a newer schema.
    Up,
    /// Back to an older one.
    Down,
}

/// SQL that does to the schema what Deed itself would do, notes included, so that Deed finds it done.
///
/// Each migration is a transaction of its own, which is refused where the one before it has failed.
pub(super) fn script(direction: Direction, migrations: &[&Migration]) -> String {
    let names: Vec<&str> = migrations.iter().map(|migration| migration.name).collect();
    let what = match direction {
        Direction::Up => "Runs",
        Direction::Down => "Takes back",
    };
    let mut out = format!(
        "-- {what} {}.\n\
         -- psql \"$DATABASE_URL\" --no-psqlrc --set ON_ERROR_STOP=1 --file THIS_FILE\n\
         -- Each migration is a transaction: it changes everything that it says, or nothing. Should one fail, print the\n\
         -- script anew: what is done stays done.\n\n\
         SET statement_timeout = 0;\n\
         SET lock_timeout = '{TABLE_LOCK_TIMEOUT}';\n\
         SELECT pg_advisory_lock({LOCK_KEY});\n\
         {BOOKKEEPING};\n",
        names.join(", "),
    );
    let mut before: Option<&Migration> = None;
    for migration in migrations {
        // Writing to a string can't fail.
        let _ = write!(
            out,
            "\n-- {}\nBEGIN;\n{}",
            migration.name,
            before
                .map(|before| guard(direction, before))
                .unwrap_or_default()
        );
        let version = migration.version();
        let (note, sql) = match direction {
            Direction::Up => (
                format!("INSERT INTO __diesel_schema_migrations (version) VALUES ('{version}');"),
                migration.up,
            ),
            Direction::Down => (
                format!("DELETE FROM __diesel_schema_migrations WHERE version = '{version}';"),
                migration.down,
            ),
        };
        let _ = write!(out, "{note}\n{}\nCOMMIT;\n", sql.trim_end());
        before = Some(migration);
    }
    let _ = writeln!(out, "\nSELECT pg_advisory_unlock({LOCK_KEY});");
    out
}

/// Fails where `before`, which comes earlier in the script, has not been done.
fn guard(direction: Direction, before: &Migration) -> String {
    let wrong = match direction {
        Direction::Up => "NOT EXISTS",
        Direction::Down => "EXISTS",
    };
    format!(
        "DO $$ BEGIN\n  \
           IF {wrong} (SELECT FROM __diesel_schema_migrations WHERE version = '{}') THEN\n    \
             RAISE EXCEPTION 'the step before, {}, has failed';\n  \
           END IF;\n\
         END $$;\n",
        before.version(),
        before.name
    )
}
