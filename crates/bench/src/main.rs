//! Load on a real server: the release binary, a PostgreSQL of its own, HTTP. What the documented figures come from.
//!
//! Each scenario starts what it needs on loopback, stops it when it ends, and says what it has measured beside what it
//! was to hold. The exit code is 0 when it held, 1 when it did not or could not be measured.

#![forbid(unsafe_code)]

mod age;
mod latency;
mod load;
mod stage;
mod terminal;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::age::Age;
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
    scenario: Scenario,
}

#[derive(Debug, Subcommand)]
enum Scenario {
    /// A long history and a transaction that is held open, beside a steady load
    Age(Age),
}

#[tokio::main]
async fn main() -> ExitCode {
    let Cli {
        server,
        pg_bin,
        scenario,
    } = Cli::parse();
    let run = async {
        let stage = stage::Stage::set(&server, pg_bin.as_deref()).await?;
        match scenario {
            Scenario::Age(age) => age.run(&stage).await,
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
