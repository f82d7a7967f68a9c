//! `deed actions run`.

use std::future::IntoFuture as _;
use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::Args;
use deed_client::api::action::{ActionBody, CreateAction};
use deed_client::{Client, Follow};

use super::follow::{self, Ending, Show};
use super::{input, show};
use crate::output::{Format, OutputArguments};
use crate::remote::ServerArguments;
use crate::settings::duration;
use crate::shutdown::unless_interrupted;
use crate::terminal::{note, say};

const EXAMPLES: &str = "\
Examples:
  deed actions run echo --input '{\"text\": \"hello\"}'                  wait, and print the output
  deed actions run echo -i '{\"text\": \"a b\", \"delay_ms\": 300}' -f     print each chunk as it comes
  deed actions run report.render --input @order.json --detach        print the id, don't wait
  deed actions run report.render --input - --wait 1m < order.json    wait a minute at the most
  deed actions run report.render --run-at 2026-12-31T23:00:00Z --idempotency-key year-end

With --follow each chunk of output is one line: a string as itself, {\"text\": \"…\"} as its text, all else as JSON; with \
--format json each event is one line of JSON. A lost connection is resumed, over a restart of the server too, and every \
event is printed once. Ctrl-C leaves the action running and says how to follow it on.";

/// What is left where the server has not answered.
pub(super) const UNANSWERED: &str =
    "the action may have been accepted; `deed actions list` shows it if it was";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The action's type, such as echo
    #[arg(value_name = "TYPE")]
    r#type: String,
    /// What to perform it with: JSON, @FILE, or - for standard input
    #[arg(long, short, default_value = "{}", value_name = "JSON")]
    input: String,
    /// Print what it says while it is being performed
    #[arg(long, short)]
    follow: bool,
    /// Wait no longer than this; the action goes on
    #[arg(long, value_parser = duration, value_name = "DURATION")]
    wait: Option<Duration>,
    /// Don't wait: print the id as soon as the action is accepted
    #[arg(long, conflicts_with_all = ["follow", "wait"])]
    detach: bool,
    /// 0 is performed first, 9 last
    #[arg(long, value_parser = clap::value_parser!(u8).range(0..=9), value_name = "0-9")]
    priority: Option<u8>,
    /// Not before this time, as in 2026-01-31T10:00:00Z; not waited for unless --follow or --wait asks for it
    #[arg(long, value_name = "TIME")]
    run_at: Option<DateTime<Utc>>,
    /// Run again with the same key, the command performs nothing a second time
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    #[command(flatten)]
    output: OutputArguments,
    #[command(flatten)]
    server: ServerArguments,
}

pub(super) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let body = CreateAction {
        r#type: arguments.r#type.clone(),
        input: input::read(&arguments.input)?,
        run_at: arguments.run_at,
        priority: arguments.priority,
    };
    let client = arguments.server.client()?;
    let is_for_later = arguments.run_at.is_some() && arguments.wait.is_none();
    if arguments.detach || (is_for_later && !arguments.follow) {
        return detach(&arguments, &client, &body).await;
    }
    let events = begin(&arguments, &client, &body).await?;
    let id = events.action_id();
    let shown = match (arguments.follow, arguments.output.format) {
        (true, Format::Text) => Show::Chunks,
        (true, Format::Json) => Show::Events,
        (false, _) => Show::Nothing,
    };
    let ending = follow::to_the_end(events, &arguments.server, shown, arguments.wait).await?;
    if !arguments.follow {
        match arguments.output.format {
            Format::Json => {
                let action = client.get_action(id).await;
                let action = action.map_err(|error| arguments.server.fault(&error))?;
                arguments.output.print(&action, show::action)?;
            }
            Format::Text => {
                if let Ending::Succeeded(Some(output)) = &ending {
                    follow::say_text(output.get());
                }
            }
        }
    }
    ending.judge(id).map_err(anyhow::Error::from)
}

/// Sends it; when this returns, it is accepted.
async fn begin(
    arguments: &Arguments,
    client: &Client,
    body: &CreateAction,
) -> anyhow::Result<Follow> {
    let call = client.perform_and_follow(body);
    let call = match &arguments.idempotency_key {
        Some(key) => call.idempotency_key(key),
        None => call,
    };
    answered(arguments, call.into_future()).await
}

async fn detach(arguments: &Arguments, client: &Client, body: &CreateAction) -> anyhow::Result<()> {
    let call = client.create_action(body).respond_async();
    let call = match &arguments.idempotency_key {
        Some(key) => call.idempotency_key(key),
        None => call,
    };
    let action: ActionBody = answered(arguments, call.into_future()).await?.action;
    match arguments.output.format {
        Format::Json => arguments.output.print(&action, show::action)?,
        Format::Text => {
            say(action.id.to_string());
            note(format!("Follow it with: deed actions tail {}", action.id));
        }
    }
    Ok(())
}

/// Waits for the server's answer, or for Ctrl-C.
async fn answered<T>(
    arguments: &Arguments,
    answer: impl Future<Output = Result<T, deed_client::Error>>,
) -> anyhow::Result<T> {
    unless_interrupted(UNANSWERED, async {
        let answer = answer.await;
        answer.map_err(|error| arguments.server.fault_of_write(&error, UNANSWERED).into())
    })
    .await
}
