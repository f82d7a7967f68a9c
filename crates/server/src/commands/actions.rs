//! `deed actions`: actions of a running server, over HTTP.

mod follow;
mod input;
mod list;
mod run;
mod show;

use clap::{Args, Subcommand};
use deed_client::Error;
use uuid::Uuid;

use crate::fault::Fault;
use crate::output::{Format, OutputArguments};
use crate::remote::ServerArguments;
use crate::terminal::{note, say};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Perform an action and print its output, or what it says meanwhile
    Run(run::Arguments),
    /// Show an action
    Get(Get),
    /// List actions, newest first
    List(list::Arguments),
    /// Follow an action to its end
    Tail(follow::Arguments),
    /// Cancel an action
    Cancel(Cancel),
    /// Perform a failed or cancelled action anew, as another action
    Retry(Again),
}

const GET_EXAMPLES: &str = "\
Examples:
  deed actions get 0198c0de-0000-7000-8000-0000000000c1
  deed actions get 0198c0de-0000-7000-8000-0000000000c1 --format json | jq .output";

#[derive(Debug, Args)]
#[command(after_help = GET_EXAMPLES)]
struct Get {
    #[command(flatten)]
    one: One,
}

const CANCEL_EXAMPLES: &str = "\
Examples:
  deed actions cancel 0198c0de-0000-7000-8000-0000000000c1

One that waits is cancelled at once. A running one is told to stop; one that is over stays as it is.";

#[derive(Debug, Args)]
#[command(after_help = CANCEL_EXAMPLES)]
struct Cancel {
    #[command(flatten)]
    one: One,
}

const RETRY_EXAMPLES: &str = "\
Examples:
  deed actions retry 0198c0de-0000-7000-8000-0000000000c1
  deed actions tail \"$(deed actions retry 0198c0de-0000-7000-8000-0000000000c1)\"

Prints the id of the new action.";

#[derive(Debug, Args)]
#[command(after_help = RETRY_EXAMPLES)]
struct Again {
    /// Run again with the same key, the command performs nothing a second time
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    #[command(flatten)]
    one: One,
}

/// What every command about one action takes.
#[derive(Debug, Args)]
struct One {
    /// Id of the action
    #[arg(value_name = "ACTION")]
    id: Uuid,
    #[command(flatten)]
    output: OutputArguments,
    #[command(flatten)]
    server: ServerArguments,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    match arguments.what {
        What::Run(run) => run::run(run).await,
        What::Get(Get { one }) => get(&one).await,
        What::List(list) => list::run(list).await,
        What::Tail(tail) => follow::tail(tail).await,
        What::Cancel(Cancel { one }) => cancel(&one).await,
        What::Retry(Again {
            one,
            idempotency_key,
        }) => retry(&one, idempotency_key).await,
    }
}

impl One {
    fn fault(&self, error: &Error) -> Fault {
        self.server.fault(error)
    }
}

async fn get(one: &One) -> anyhow::Result<()> {
    let client = one.server.client()?;
    let action = client
        .get_action(one.id)
        .await
        .map_err(|error| one.fault(&error))?;
    one.output.print(&action, show::action)
}

async fn cancel(one: &One) -> anyhow::Result<()> {
    let client = one.server.client()?;
    let action = client
        .cancel_action(one.id)
        .await
        .map_err(|error| one.fault(&error))?;
    one.output.print(&action, |action| {
        let status = show::status(action.status);
        match action.finished_at {
            Some(_) => status.to_owned(),
            None => format!("{status}; told to stop"),
        }
    })
}

async fn retry(one: &One, key: Option<String>) -> anyhow::Result<()> {
    let call = one.server.client()?.retry_action(one.id);
    let call = match key {
        Some(key) => call.idempotency_key(key),
        None => call,
    };
    let call = call.await;
    let action = call.map_err(|error| one.server.fault_of_write(&error, run::UNANSWERED))?;
    match one.output.format {
        Format::Json => one.output.print(&action, |_| String::new())?,
        Format::Text => {
            say(action.id.to_string());
            note(format!("Follow it with: deed actions tail {}", action.id));
        }
    }
    Ok(())
}
