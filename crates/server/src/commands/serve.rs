//! `deed serve`: serve a database of one's own.

use std::sync::Arc;

use anyhow::bail;
use clap::Args;
use deed_adapters::postgres::migrate;
use deed_domain::ports::ActionHandler;

use super::DatabaseArguments;
use crate::settings::Settings;
use crate::{serve, shutdown, wire};

#[derive(Debug, Args)]
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
    let url = arguments.database.database_url.reveal();
    arguments.settings.check()?;
    let starting = async {
        if arguments.migrate {
            let database = wire::connect(url, 1).await?;
            for name in migrate::up(&database).await? {
                log::info!(migration = name.as_str(); "applied migration {name}");
            }
        }
        serve::start(handlers, url, &arguments.settings).await
    };
    let running = tokio::select! {
        running = starting => running?,
        () = shutdown::requested(stop.clone()) => return Ok(()),
    };
    if arguments.settings.root_key()?.is_none() {
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
