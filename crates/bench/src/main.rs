//! Load on a real server: the release binary, a PostgreSQL of its own, HTTP. What the documented figures come from.
//!
//! Each scenario starts what it needs on loopback, stops it when it ends, and says what it has measured beside what it
//! was to hold. The exit code is 0 when it held, 1 when it did not or could not be measured.

#![forbid(unsafe_code)]

mod age;
mod all;
mod drive;
mod latency;
mod load;
mod performer;
mod report;
mod scenarios;
mod stage;
mod terminal;
mod wire;
mod yardstick;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::age::Age;
use crate::all::All;
use crate::terminal::say;

/// Load on a real server, and what it measures.
#[derive(Debug, Parser)]
#[command(name = "deed-bench", version)]
struct Cli {
    /// The server's binary, built for release
    #[arg(
        long,
        value_name = "FILE",
        global = true,
        default_value = "target/release/deed"
    )]
    server: PathBuf,
    /// The directory of PostgreSQL's programs, should it not be found
    #[arg(long, value_name = "DIRECTORY", global = true)]
    pg_bin: Option<PathBuf>,
    #[command(subcommand)]
    scenario: Option<Scenario>,
}

#[derive(Debug, Subcommand)]
enum Scenario {
    /// A long history and a transaction that is held open, beside a steady load
    Age(Age),
    All(All),
    /// The handler that does nothing, which `all` starts by itself
    #[command(hide = true)]
    Bare,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Cli {
        server,
        pg_bin,
        scenario,
    } = Cli::parse();
    let run = async {
        if matches!(scenario, Some(Scenario::Bare)) {
            return yardstick::serve_bare().await.map(|()| true);
        }
        let stage = stage::Stage::set(&server, pg_bin.as_deref()).await?;
        match scenario.unwrap_or_else(|| Scenario::All(All::default())) {
            Scenario::Age(age) => age.run(&stage).await,
            Scenario::All(all) => all.run(&stage).await,
            Scenario::Bare => Ok(true),
        }
    };
    let ended = tokio::select! {
        ended = run => ended,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
    };
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(format!("deed-bench: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
