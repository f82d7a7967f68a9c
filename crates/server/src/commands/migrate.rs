//! `deed migrate`: the database's schema.

mod sql;

use clap::{Args, Subcommand};
use deed_adapters::postgres::migrate::{self, MigrateError, Progress as Step};
use serde::Serialize;

use super::DatabaseArguments;
use crate::confirm::confirm;
use crate::fault::{Exit, Fault};
use crate::output::OutputArguments;
use crate::preflight::Need;
use crate::progress::Progress;
use crate::shutdown::unless_interrupted;
use crate::wire;

/// What Ctrl-C leaves.
const LEFT: &str =
    "each migration is done whole or not at all, and `deed migrate status` says which are";

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Run the migrations that the database lacks
    Up(Up),
    /// Take back the newest migration, with the data that only it has room for
    Down(Down),
    /// Say which migrations the database has
    Status(Look),
    /// Print migrations as SQL, for somebody who runs it by hand
    Sql(sql::Arguments),
    /// Say whether the database has every migration of this binary; exits with 3 if not
    Validate(Validate),
}

const UP_EXAMPLES: &str = "\
Examples:
  deed migrate up                               safe to run again, and from several places at once
  deed migrate up --dry-run                     what it would do
  deed migrate up --lock-wait 30s               give up if another process migrates for longer";

#[derive(Debug, Args)]
#[command(after_help = UP_EXAMPLES)]
struct Up {
    /// Only say what would be run
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    lock: Lock,
    #[command(flatten)]
    output: OutputArguments,
    #[command(flatten)]
    database: DatabaseArguments,
}

const DOWN_EXAMPLES: &str = "\
Examples:
  deed migrate down --dry-run                   what would be taken back
  deed migrate down --yes                       take the newest one back without being asked
  deed migrate down --steps 2                   the newest two, after a question";

#[derive(Debug, Args)]
#[command(after_help = DOWN_EXAMPLES)]
struct Down {
    /// Only say what would be taken back
    #[arg(long)]
    dry_run: bool,
    /// Don't ask: what the migrations made goes, with the data in it
    #[arg(long)]
    yes: bool,
    /// How many migrations to take back
    #[arg(long, default_value_t = 1, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..))]
    steps: u16,
    #[command(flatten)]
    lock: Lock,
    #[command(flatten)]
    output: OutputArguments,
    #[command(flatten)]
    database: DatabaseArguments,
}

/// How long to wait for one's turn.
#[derive(Debug, Args)]
struct Lock {
    /// How long to wait for another process that migrates the same database, and for whoever holds a table
    #[arg(long, default_value = "10m", value_name = "DURATION")]
    lock_wait: humantime::Duration,
}

const STATUS_EXAMPLES: &str = "\
Examples:
  deed migrate status                           a line for every migration
  deed migrate status --format json | jq -r '.migrations[] | select(.applied | not).name'";

#[derive(Debug, Args)]
#[command(after_help = STATUS_EXAMPLES)]
struct Look {
    #[command(flatten)]
    output: OutputArguments,
    #[command(flatten)]
    database: DatabaseArguments,
}

const VALIDATE_EXAMPLES: &str = "\
Examples:
  deed migrate validate && deed serve           serve only what is up to date
  deed migrate validate --format json           for a deployment's own check";

#[derive(Debug, Args)]
#[command(after_help = VALIDATE_EXAMPLES)]
struct Validate {
    #[command(flatten)]
    output: OutputArguments,
    #[command(flatten)]
    database: DatabaseArguments,
}

/// What was done, or would be.
#[derive(Debug, Serialize)]
struct Done {
    dry_run: bool,
    migrations: Vec<String>,
}

/// Where the database is.
#[derive(Debug, Serialize)]
struct Status {
    migrations: Vec<Known>,
    /// The numbers of those that this binary doesn't know, because a newer one has run them.
    unknown: Vec<String>,
    is_current: bool,
}

#[derive(Debug, Serialize)]
struct Known {
    name: String,
    applied: bool,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    match arguments.what {
        What::Up(arguments) => unless_interrupted(LEFT, up(arguments)).await,
        What::Down(arguments) => down(arguments).await,
        What::Status(arguments) => status(arguments).await,
        What::Sql(arguments) => sql::run(arguments).await,
        What::Validate(arguments) => validate(arguments).await,
    }
}

async fn up(arguments: Up) -> anyhow::Result<()> {
    let need = if arguments.dry_run {
        Need::Read
    } else {
        Need::Write
    };
    let database = wire::connect(arguments.database.url()?.reveal(), 1, need).await?;
    let migrations = if arguments.dry_run {
        migrate::lacking(&database).await?
    } else {
        let progress = Progress::new(0);
        let wait = arguments.lock.lock_wait.into();
        let done = migrate::up_within(&database, wait, &mut |step| show(&progress, step)).await;
        done.map_err(|error| told(error, "up"))?
    };
    let done = Done {
        dry_run: arguments.dry_run,
        migrations,
    };
    arguments.output.print(&done, |done| {
        let verb = if done.dry_run {
            "would apply"
        } else {
            "applied"
        };
        lines(
            verb,
            &done.migrations,
            "nothing to do: the schema is up to date",
        )
    })
}

async fn down(arguments: Down) -> anyhow::Result<()> {
    let need = if arguments.dry_run {
        Need::Read
    } else {
        Need::Write
    };
    let database = wire::connect(arguments.database.url()?.reveal(), 1, need).await?;
    let steps = usize::from(arguments.steps);
    let mut migrations = migrate::would_go_down(&database, steps)
        .await
        .map_err(|error| told(error, "down"))?;
    if !arguments.dry_run && !migrations.is_empty() {
        let names = migrations.join(", ");
        let line = match steps {
            1 => "deed migrate down --yes".to_owned(),
            _ => format!("deed migrate down --steps {steps} --yes"),
        };
        confirm(
            arguments.yes.into(),
            &format!("Taking back {names} drops what it made, with the data in it"),
            &line,
        )
        .await?;
        migrations = unless_interrupted(LEFT, async {
            let progress = Progress::new(0);
            let wait = arguments.lock.lock_wait.into();
            let mut watch = |step: Step<'_>| show(&progress, step);
            let done = migrate::down(&database, &migrations, wait, &mut watch).await;
            done.map_err(|error| told(error, "down"))
        })
        .await?;
    }
    let done = Done {
        dry_run: arguments.dry_run,
        migrations,
    };
    arguments.output.print(&done, |done| {
        let verb = if done.dry_run {
            "would take back"
        } else {
            "took back"
        };
        lines(
            verb,
            &done.migrations,
            "nothing to do: no migration is applied",
        )
    })
}

fn lines(verb: &str, names: &[String], nothing: &str) -> String {
    if names.is_empty() {
        return nothing.to_owned();
    }
    names
        .iter()
        .map(|name| format!("{verb} {name}\n"))
        .collect()
}

fn show(progress: &Progress, step: Step<'_>) {
    match step {
        Step::Waiting => progress.doing("waiting for another process that migrates".to_owned()),
        Step::Begun(count) => progress.set_length(u64::try_from(count).unwrap_or(u64::MAX)),
        Step::Running(name) => progress.doing(name.to_owned()),
        Step::Done(_) => progress.one_done(),
    }
}

async fn status(arguments: Look) -> anyhow::Result<()> {
    let status = look(&arguments.database).await?;
    arguments.output.print(&status, |status| {
        let known = status.migrations.iter().map(|migration| {
            let state = if migration.applied {
                "applied"
            } else {
                "pending"
            };
            format!("{state:<8} {}\n", migration.name)
        });
        let unknown = status
            .unknown
            .iter()
            .map(|version| format!("applied  {version}, which a newer deed brought\n"));
        known.chain(unknown).collect()
    })
}

async fn look(database: &DatabaseArguments) -> anyhow::Result<Status> {
    let database = wire::connect(database.url()?.reveal(), 1, Need::Read).await?;
    let migrations: Vec<Known> = migrate::status(&database)
        .await?
        .into_iter()
        .map(|migration| Known {
            name: migration.name,
            applied: migration.is_applied,
        })
        .collect();
    Ok(Status {
        is_current: migrations.iter().all(|migration| migration.applied),
        migrations,
        unknown: migrate::unknown(&database).await?,
    })
}

async fn validate(arguments: Validate) -> anyhow::Result<()> {
    let status = look(&arguments.database).await?;
    arguments.output.print(&status, |status| {
        let newest = migrate::newest();
        match (status.is_current, status.unknown.last()) {
            (false, _) => String::new(),
            (true, None) => format!("up to date: {newest}"),
            (true, Some(unknown)) => format!(
                "up to date: {newest}; a newer deed has gone on to {unknown}, which is no hindrance"
            ),
        }
    })?;
    let missing: Vec<&str> = status
        .migrations
        .iter()
        .filter(|migration| !migration.applied)
        .map(|migration| migration.name.as_str())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let count = match missing.len() {
        1 => "a migration".to_owned(),
        count => format!("{count} migrations"),
    };
    Err(Fault::new(
        Exit::Unwell,
        format!("The database lacks {count}: {}", missing.join(", ")),
        "Run `deed migrate up`, or hand the output of `deed migrate sql` to whoever may",
    )
    .into())
}

/// What went wrong, for the person who typed `deed migrate` and `way`.
pub(crate) fn told(error: MigrateError, way: &str) -> anyhow::Error {
    let fault = match &error {
        MigrateError::Busy(waited) => Fault::new(
            Exit::Conflict,
            format!(
                "Another process has been migrating this database for longer than {}",
                humantime::format_duration(*waited)
            ),
            "Wait until it has ended; SELECT pid, query FROM pg_stat_activity shows what it does",
        ),
        MigrateError::Blocked { name, waited } => Fault::new(
            Exit::Conflict,
            format!(
                "{name} has waited {} s for a table that somebody else holds; nothing of it was done",
                waited.as_secs()
            ),
            format!(
                "Run `deed migrate {way}` again when less is going on, or with a longer --lock-wait; \
                 SELECT pid, query FROM pg_stat_activity shows what is"
            ),
        ),
        MigrateError::Unknown(version) => Fault::new(
            Exit::Conflict,
            format!(
                "Migration {version} is not one of this binary, which knows {} at the most",
                migrate::newest()
            ),
            "Take it back with the binary that brought it",
        ),
        MigrateError::Overtaken(_) => Fault::new(
            Exit::Conflict,
            "Somebody else has migrated this database meanwhile, so nothing was taken back",
            "Look at `deed migrate status`, and run it again if there is still something to take back",
        ),
        MigrateError::Connect(_)
        | MigrateError::Prepare(_)
        | MigrateError::Run { .. }
        | MigrateError::Look(_) => return error.into(),
    };
    fault.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::{exit_of, words};
    use std::time::Duration;

    #[test]
    fn what_can_be_mended_outside_has_words_and_a_code() {
        for (error, parts) in [
            (
                MigrateError::Busy(Duration::from_secs(90)),
                ["1m 30s", "pg_stat_activity"],
            ),
            (
                MigrateError::Blocked {
                    name: "0003_x".to_owned(),
                    waited: Duration::from_secs(7),
                },
                ["0003_x has waited 7 s", "deed migrate up"],
            ),
            (
                MigrateError::Unknown("9999".to_owned()),
                ["9999", "the binary that brought it"],
            ),
        ] {
            let error = told(error, "up");
            assert_eq!(exit_of(&error), Exit::Conflict);
            for part in parts {
                assert!(words(&error).contains(part), "{}", words(&error));
            }
        }
    }
}
