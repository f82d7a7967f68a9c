//! `deed migrate`: the database's schema.

use clap::{Args, Subcommand};
use deed_adapters::postgres::migrate;

use super::DatabaseArguments;
use crate::preflight::Need;
use crate::terminal::say;
use crate::wire;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    step: Step,
    #[command(flatten)]
    database: DatabaseArguments,
}

#[derive(Debug, Subcommand)]
enum Step {
    /// Run the migrations that the database lacks
    Up,
    /// Take back the newest migration, with the data that only it has room for
    Down,
    /// Say which migrations the database has
    Status,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let database = wire::connect(arguments.database.url()?.reveal(), 1, Need::Write).await?;
    match arguments.step {
        Step::Up => {
            let done = migrate::up(&database).await?;
            for name in &done {
                say(format!("applied {name}"));
            }
            if done.is_empty() {
                say("nothing to do: the schema is up to date");
            }
        }
        Step::Down => match migrate::down(&database).await? {
            Some(name) => say(format!("took back {name}")),
            None => say("nothing to do: no migration is applied"),
        },
        Step::Status => {
            for migration in migrate::status(&database).await? {
                let state = if migration.is_applied {
                    "applied"
                } else {
                    "pending"
                };
                say(format!("{state:<8} {}", migration.name));
            }
        }
    }
    Ok(())
}
