//! `deed serve`: serve a database of one's own.

use std::sync::Arc;

use anyhow::bail;
use clap::Args;
use deed_adapters::postgres::migrate;
use deed_domain::ports::ActionHandler;

use super::DatabaseArguments;
use super::migrate::told;
use crate::preflight::Need;
use crate::settings::Settings;
use crate::{serve, shutdown, wire};

const EXAMPLES: &str = "\
Examples:
  DATABASE_URL=postgres://… deed serve          on 127.0.0.1:8080
  deed serve --migrate                          bring the schema up to date first
  DEED_ROOT_KEY_FILE=/run/secrets/root deed serve --listen 0.0.0.0:8080";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    database: DatabaseArguments,
    /// Run the migrations that the database lacks before serving
    #[arg(long)]
    migrate: bool,
    #[command(flatten)]
    settings: Settings,
}

pub(crate) async fn run(
    arguments: Arguments,
    handlers: Vec<Arc<dyn ActionHandler>>,
) -> anyhow::Result<()> {
    let stop = shutdown::listen()?;
    arguments.settings.check()?;
    let root_key = arguments.settings.root_key()?;
    let url = arguments.database.url()?;
    let url = url.reveal();
    let starting = async {
        if arguments.migrate {
            let database = wire::connect(url, 1, Need::Durable).await?;
            let done = migrate::up(&database).await;
            for name in done.map_err(|error| told(error, "up"))? {
                log::info!(migration = name.as_str(); "applied migration {name}");
            }
        }
        serve::start(handlers, url, &arguments.settings).await
    };
    let running = tokio::select! {
        running = starting => running?,
        () = shutdown::requested(stop.clone()) => return Ok(()),
    };
    if root_key.is_none() {
        log::info!(
            "no root key is set: users and keys are made by `deed users create` and `deed keys create`"
        );
    }
    tokio::select! {
        () = shutdown::requested(stop) => {}
        () = running.failed() => bail!("the HTTP server has stopped by itself"),
    }
    running.drain().await;
    Ok(())
}
