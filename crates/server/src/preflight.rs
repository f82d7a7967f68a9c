//! What a database must be like before Deed touches it, and how to mend what isn't so.

use deed_adapters::postgres::examine::{self, ExamineError, Examined, OLDEST_MAJOR};

use crate::fault::{Exit, Fault};

/// What is wanted of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// To look into it.
    Read,
    /// To change it.
    Write,
    /// To keep what clients are told is kept.
    Durable,
}

/// Makes sure that the database can be reached and meets `need`.
///
/// # Errors
/// The first [`Fault`] that is found.
pub(crate) async fn check(url: &str, need: Need) -> Result<Examined, Fault> {
    let examined = examine::examine(url)
        .await
        .map_err(|error| out_of_reach(&error))?;
    match faults(&examined, need).into_iter().next() {
        Some(fault) => Err(fault),
        None => Ok(examined),
    }
}

/// Everything about a database that can be reached, and yet is not as `need` wants it.
pub(crate) fn faults(examined: &Examined, need: Need) -> Vec<Fault> {
    let Examined {
        is_standby,
        is_read_only,
        fsync,
        waits_for_commit,
        database,
        role,
        schema,
        may_create,
        ..
    } = examined;
    let database = quoted(database);
    let role = quoted(role);
    let mut faults = Vec::new();
    if need == Need::Read {
        return faults;
    }
    if *is_standby {
        faults.push(Fault::new(
            Exit::DatabaseReadOnly,
            "The database is a standby, which can't be written to",
            "Name the primary in DATABASE_URL, or promote this server with SELECT pg_promote()",
        ));
    } else if *is_read_only {
        faults.push(Fault::new(
            Exit::DatabaseReadOnly,
            "The database is set to read-only",
            format!("Run ALTER DATABASE {database} RESET default_transaction_read_only (or the same with ALTER ROLE {role}), and connect again"),
        ));
    }
    if schema.is_empty() {
        faults.push(Fault::new(
            Exit::DatabaseRefused,
            "The search path leads to no schema, so there is nowhere to make tables",
            format!("Run CREATE SCHEMA IF NOT EXISTS public, or ALTER ROLE {role} SET search_path = the schema of your choice"),
        ));
    } else if !may_create && !is_standby {
        faults.push(Fault::new(
            Exit::DatabaseRefused,
            format!(
                "The user {role} may not make tables in the schema {}",
                quoted(schema)
            ),
            format!(
                "Run, as its owner, GRANT CREATE, USAGE ON SCHEMA {} TO {role}",
                quoted(schema)
            ),
        ));
    }
    if need == Need::Durable {
        if !fsync {
            faults.push(Fault::new(
                Exit::NotDurable,
                "fsync is off: a power cut could destroy what Deed has accepted",
                "Run ALTER SYSTEM SET fsync = on, then SELECT pg_reload_conf()",
            ));
        }
        if !waits_for_commit {
            faults.push(Fault::new(
                Exit::NotDurable,
                "synchronous_commit is off: a crash could lose what Deed has accepted",
                format!("Run ALTER ROLE {role} IN DATABASE {database} SET synchronous_commit = on, and take it out of DATABASE_URL's options if it stands there"),
            ));
        }
    }
    faults
}

/// Why there is no talking to the database.
pub(crate) fn out_of_reach(error: &ExamineError) -> Fault {
    match error {
        ExamineError::Url(reason) => Fault::new(
            Exit::BadDatabaseUrl,
            format!("DATABASE_URL is not valid: {reason}"),
            "Write it as postgres://user:password@host:5432/name, with reserved characters of the password percent-encoded",
        ),
        ExamineError::Tls => Fault::new(
            Exit::BadDatabaseUrl,
            "DATABASE_URL asks for TLS with sslmode=require, which this version does not speak",
            "Reach PostgreSQL over loopback, a unix socket or a private network, and leave sslmode out",
        ),
        ExamineError::Unreachable(reason) => Fault::new(
            Exit::DatabaseUnreachable,
            format!("The database can't be reached: {reason}"),
            "Start PostgreSQL, or mend the host and port in DATABASE_URL",
        ),
        ExamineError::Refused(reason) => Fault::new(
            Exit::DatabaseRefused,
            format!("The database refuses the connection: {reason}"),
            "Mend the user, password and database's name in DATABASE_URL, or create them",
        ),
        ExamineError::Busy(reason) => Fault::new(
            Exit::DatabaseUnreachable,
            format!("The database takes no connection just now: {reason}"),
            "Wait until it has started, or give it more connections (max_connections)",
        ),
        ExamineError::TooOld(version) => Fault::new(
            Exit::DatabaseTooOld,
            format!(
                "PostgreSQL {version} is older than {OLDEST_MAJOR}, the oldest that Deed works with"
            ),
            "Upgrade it with pg_upgrade, or name a newer server in DATABASE_URL",
        ),
        ExamineError::Odd(reason) => Fault::new(
            Exit::DatabaseUnreachable,
            format!(
                "What answers at DATABASE_URL is no PostgreSQL that Deed can talk to: {reason}"
            ),
            "Name the server itself in DATABASE_URL, not what stands before it",
        ),
    }
}

/// A name as it stands in SQL.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn well() -> Examined {
        Examined {
            version: "15.18".to_owned(),
            is_standby: false,
            is_read_only: false,
            fsync: true,
            waits_for_commit: true,
            full_page_writes: true,
            max_connections: 100,
            reserved_connections: 3,
            connections: 1,
            clock: chrono::DateTime::UNIX_EPOCH,
            clock_uncertainty: Duration::ZERO,
            database: "deed".to_owned(),
            role: "deed".to_owned(),
            schema: "public".to_owned(),
            may_create: true,
            data_directory: None,
            is_local: true,
        }
    }

    fn check(change: impl FnOnce(&mut Examined), need: Need, expected: &[(Exit, &str)]) {
        let mut examined = well();
        change(&mut examined);
        let found = faults(&examined, need);
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (fault, (exit, mend)) in found.iter().zip(expected) {
            assert_eq!(fault.exit, *exit, "{fault}");
            assert!(fault.mend().contains(mend), "{fault}");
        }
    }

    #[test]
    fn a_sound_database_is_good_for_everything() {
        check(|_| {}, Need::Durable, &[]);
    }

    #[test]
    fn what_can_not_be_written_to_is_still_good_for_reading() {
        check(|it| it.is_read_only = true, Need::Read, &[]);
        check(
            |it| it.is_read_only = true,
            Need::Write,
            &[(Exit::DatabaseReadOnly, "ALTER DATABASE \"deed\" RESET")],
        );
        let standby = |it: &mut Examined| (it.is_standby, it.is_read_only) = (true, true);
        check(
            standby,
            Need::Write,
            &[(Exit::DatabaseReadOnly, "pg_promote")],
        );
    }

    #[test]
    fn a_database_that_may_lose_commits_is_refused_where_it_matters() {
        let careless = |it: &mut Examined| (it.fsync, it.waits_for_commit) = (false, false);
        check(careless, Need::Write, &[]);
        check(
            careless,
            Need::Durable,
            &[
                (Exit::NotDurable, "ALTER SYSTEM SET fsync = on"),
                (
                    Exit::NotDurable,
                    "ALTER ROLE \"deed\" IN DATABASE \"deed\" SET synchronous_commit = on",
                ),
            ],
        );
    }

    #[test]
    fn a_user_without_rights_is_told_which() {
        check(
            |it| (it.may_create, it.role) = (false, "o\"dd".to_owned()),
            Need::Write,
            &[(
                Exit::DatabaseRefused,
                "GRANT CREATE, USAGE ON SCHEMA \"public\" TO \"o\"\"dd\"",
            )],
        );
        check(
            |it| (it.may_create, it.schema) = (false, String::new()),
            Need::Write,
            &[(Exit::DatabaseRefused, "CREATE SCHEMA")],
        );
    }
}
