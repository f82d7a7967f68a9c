//! Following an action: `deed actions tail`, and the second half of `deed actions run`.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use clap::Args;
use deed_client::api::action::{ActionBody, ActionErrorBody, ActionStatus};
use deed_client::{Error, Event, EventKind, Follow, Outcome};
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use super::show;
use crate::fault::{Exit, Fault};
use crate::output::{Format, OutputArguments, printable};
use crate::remote::ServerArguments;
use crate::settings::duration;
use crate::terminal::{note, say, try_say};

/// How long to try to resume: a server may take its time to come back.
const PATIENCE: Duration = Duration::from_secs(300);
/// A wait without a bound.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 86_400);

const EXAMPLES: &str = "\
Examples:
  deed actions tail 0198c0de-0000-7000-8000-0000000000c1             what it has said and will say
  deed actions tail 0198c0de-0000-7000-8000-0000000000c1 --from 17   from event 17 on
  deed actions tail 0198c0de-0000-7000-8000-0000000000c1 --format json | jq -c .data

Each chunk of output is one line: a string as itself, {\"text\": \"…\"} as its text, all else as JSON; with --format json \
each event is one line of JSON. A lost connection is resumed, and every event is printed once.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// Id of the action
    #[arg(value_name = "ACTION")]
    id: Uuid,
    /// The first event to print, by its position in the log
    #[arg(long, default_value_t = 1, value_name = "SEQ", value_parser = clap::value_parser!(u32).range(1..))]
    from: u32,
    /// Wait no longer than this; the action goes on
    #[arg(long, value_parser = duration, value_name = "DURATION")]
    wait: Option<Duration>,
    #[command(flatten)]
    output: OutputArguments,
    #[command(flatten)]
    server: ServerArguments,
}

pub(super) async fn tail(arguments: Arguments) -> anyhow::Result<()> {
    let client = arguments.server.client()?;
    let events = client
        .follow(arguments.id)
        .after(arguments.from.saturating_sub(1));
    let shown = match arguments.output.format {
        Format::Text => Show::Chunks,
        Format::Json => Show::Events,
    };
    let ending = to_the_end(events, &arguments.server, shown, arguments.wait).await?;
    let ending = match ending {
        // The log was over, and all of it read before: how it ended stands in the action.
        Ending::NothingMore => {
            let action = client.get_action(arguments.id).await;
            Ending::of(action.map_err(|error| arguments.server.fault(&error))?)
        }
        other => other,
    };
    ending.judge(arguments.id).map_err(anyhow::Error::from)
}

/// What is printed of a log, as it comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Show {
    /// Its chunks of output, as text.
    Chunks,
    /// Its events, as JSON.
    Events,
    Nothing,
}

/// How following came to its end.
#[derive(Debug, Clone)]
pub(super) enum Ending {
    /// With its output, where that is known.
    Succeeded(Option<Box<RawValue>>),
    Failed(ActionErrorBody),
    Cancelled,
    /// The log was over and read.
    NothingMore,
    /// What is printed does not arrive any more: whoever reads it has gone, most likely.
    NobodyReads,
    /// It was not waited for any longer; the position to go on from.
    TimeUp(u32),
}

impl Ending {
    fn of(action: ActionBody) -> Self {
        match (action.status, action.error) {
            (ActionStatus::Failed, Some(error)) => Self::Failed(error),
            (ActionStatus::Cancelled, _) => Self::Cancelled,
            _ => Self::Succeeded(action.output),
        }
    }

    /// A fault unless the action has succeeded.
    pub(super) fn judge(self, id: Uuid) -> Result<(), Fault> {
        let retry = format!("`deed actions retry {id}` performs it anew");
        match self {
            Self::Succeeded(_) | Self::NothingMore | Self::NobodyReads => Ok(()),
            Self::Failed(ActionErrorBody { code, message }) => Err(Fault::new(
                Exit::ActionNotSucceeded,
                format!(
                    "The action failed: {} ({})",
                    printable(message.trim_end_matches('.')),
                    printable(&code)
                ),
                retry,
            )),
            Self::Cancelled => Err(Fault::new(
                Exit::ActionNotSucceeded,
                "The action was cancelled",
                retry,
            )),
            Self::TimeUp(from) => Err(Fault::new(
                Exit::ActionUnfinished,
                format!("The action {id} is not over yet, and goes on"),
                go_on(id, from),
            )),
        }
    }
}

fn go_on(id: Uuid, from: u32) -> String {
    format!("Follow it on with `deed actions tail {id} --from {from}`")
}

/// Follows an action to its end, and prints what is to be shown.
///
/// # Errors
/// Ctrl-C, a refusal, a server that stays away.
pub(super) async fn to_the_end(
    events: Follow,
    server: &ServerArguments,
    shown: Show,
    wait: Option<Duration>,
) -> Result<Ending, Fault> {
    let mut told = None;
    let mut events = events.give_up_after(PATIENCE).on_reconnect(move |lost| {
        // Once for each place where it stopped, however often the server is looked for.
        if told.replace(lost.last) != Some(lost.last) {
            note(format!("deed: {}", printable(&lost.to_string())));
        }
    });
    let id = events.action_id();
    let first = events.last();
    let time_up = sleep_until(Instant::now() + wait.unwrap_or(FOR_EVER).min(FOR_EVER));
    tokio::pin!(time_up);
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    loop {
        let from = events.last().saturating_add(1);
        let event = tokio::select! {
            event = events.next() => event,
            () = &mut time_up => return Ok(Ending::TimeUp(from)),
            _ = &mut interrupted => {
                let cause = format!("Interrupted; the action {id} goes on");
                return Err(Fault::new(Exit::Interrupted, cause, go_on(id, from)));
            }
        };
        let Some(event) = event else {
            return Ok(Ending::NothingMore);
        };
        let event = event.map_err(|error| stopped(server, &error, id, first, events.last()))?;
        let kind = event.kind().map_err(|error| server.fault(&error))?;
        if print(shown, &event, &kind).is_err() {
            return Ok(Ending::NobodyReads);
        }
        if let EventKind::Done(outcome) = kind {
            return Ok(match outcome {
                Outcome::Succeeded(output) => Ending::Succeeded(Some(output)),
                Outcome::Failed(error) => Ending::Failed(error),
                Outcome::Cancelled => Ending::Cancelled,
            });
        }
    }
}

/// What ended it after the event `last`, and how to go on where anything has come after `first`.
fn stopped(server: &ServerArguments, error: &Error, id: Uuid, first: u32, last: u32) -> Fault {
    let fault = server.fault(error);
    if last == first {
        return fault;
    }
    let mend = format!("{}. {}", fault.mend(), go_on(id, last.saturating_add(1)));
    Fault::new(fault.exit, fault.cause(), mend.trim_start_matches(". "))
}

/// An event as a line of JSON.
#[derive(Serialize)]
struct Line<'a> {
    seq: u32,
    event: &'a str,
    data: &'a RawValue,
}

/// Prints what is to be shown of one event. Fails when nobody reads it any more.
fn print(shown: Show, event: &Event, kind: &EventKind) -> io::Result<()> {
    let Event { seq, name, data } = event;
    match (shown, kind) {
        (Show::Events, _) => {
            let line = Line {
                seq: *seq,
                event: name,
                data,
            };
            try_say(&serde_json::to_string(&line)?)?;
        }
        (Show::Chunks, EventKind::Message(chunk)) => try_say(&for_reader(&show::chunk(chunk)))?,
        (
            Show::Chunks,
            EventKind::Progress {
                percent,
                note: word,
            },
        ) => {
            let percent = percent.map(|percent| format!("{percent} %"));
            let said: Vec<String> = percent.into_iter().chain(word.clone()).collect();
            note(printable(&said.join(" ")));
        }
        (Show::Chunks, EventKind::Retry { error, .. }) => {
            let why = error.as_ref().map(|error| printable(&error.message));
            let why = why.unwrap_or("its performer has stopped".to_owned());
            note(format!("another attempt follows: {why}"));
        }
        (Show::Chunks | Show::Nothing, _) => {}
    }
    Ok(())
}

/// Prints text that somebody else wrote.
pub(super) fn say_text(text: &str) {
    say(for_reader(text));
}

/// Text that somebody else wrote: as it is for a program; for a terminal with nothing that could steer it.
fn for_reader(text: &str) -> String {
    if !io::stdout().is_terminal() {
        return text.to_owned();
    }
    let lines: Vec<String> = text.split('\n').map(printable).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_success_is_no_fault() {
        let id = Uuid::from_u128(7);
        let error = ActionErrorBody {
            code: "boom".to_owned(),
            message: "It \u{1b} broke.".to_owned(),
        };
        let judged = |ending: Ending| {
            ending
                .judge(id)
                .map_err(|fault| (fault.exit, fault.to_string()))
        };
        assert_eq!(judged(Ending::Succeeded(None)), Ok(()));
        assert_eq!(judged(Ending::NobodyReads), Ok(()));
        assert_eq!(
            judged(Ending::Failed(error)),
            Err((
                Exit::ActionNotSucceeded,
                format!(
                    "The action failed: It \\u{{1b}} broke (boom).\n`deed actions retry {id}` performs it anew."
                )
            ))
        );
        assert_eq!(
            judged(Ending::Cancelled).unwrap_err().0,
            Exit::ActionNotSucceeded
        );
        let (exit, said) = judged(Ending::TimeUp(4)).unwrap_err();
        assert_eq!(exit, Exit::ActionUnfinished);
        assert!(
            said.contains(&format!("deed actions tail {id} --from 4")),
            "{said}"
        );
    }
}
