//! `deed migrate sql`: migrations for somebody who runs them by hand.

use clap::Args;
use deed_adapters::postgres::migrate::{self, Direction};

use super::told;
use crate::commands::DatabaseArguments;
use crate::fault::{Exit, Fault};
use crate::preflight::Need;
use crate::terminal::{note, say};
use crate::wire;

const EXAMPLES: &str = "\
Examples:
  deed migrate sql > up.sql                     what this database lacks
  psql \"$DATABASE_URL\" --set ON_ERROR_STOP=1 --file up.sql
  deed migrate sql --from 0002_actions          what comes after it, without looking at a database
  deed migrate sql --all --down                 the way back from everything";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// Every migration of this binary; needs no database
    #[arg(long, conflicts_with = "from")]
    all: bool,
    /// The migrations that come after this one; needs no database
    #[arg(long, value_name = "NAME")]
    from: Option<String>,
    /// The way back instead; without --all and --from it is that from the newest migration of the database
    #[arg(long)]
    down: bool,
    #[command(flatten)]
    database: DatabaseArguments,
}

pub(super) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let direction = if arguments.down {
        Direction::Down
    } else {
        Direction::Up
    };
    let names = names(&arguments).await?;
    if names.is_empty() {
        note("There is nothing to do, and so no SQL.");
    } else {
        say(migrate::script(direction, &names).trim_end());
    }
    Ok(())
}

/// In the order in which they are to be run.
async fn names(arguments: &Arguments) -> anyhow::Result<Vec<String>> {
    let mut names: Vec<String> = if arguments.all {
        owned(migrate::names())
    } else if let Some(from) = &arguments.from {
        owned(migrate::names_after(from).ok_or_else(|| unknown(from))?)
    } else {
        let url = arguments.database.url()?;
        let database = wire::connect(url.reveal(), 1, Need::Read).await?;
        if arguments.down {
            let newest = migrate::would_go_down(&database, 1).await;
            return newest.map_err(|error| told(error, "sql"));
        }
        return Ok(migrate::lacking(&database).await?);
    };
    if arguments.down {
        names.reverse();
    }
    Ok(names)
}

fn owned(names: Vec<&str>) -> Vec<String> {
    names.into_iter().map(ToOwned::to_owned).collect()
}

fn unknown(name: &str) -> Fault {
    Fault::new(
        Exit::NotFound,
        format!("There is no migration {name}"),
        format!(
            "The newest is {}; `deed migrate status` names them all",
            migrate::newest()
        ),
    )
}
