//! `deed actions list`.

use chrono::{DateTime, Utc};
use clap::{Args, ValueEnum};
use deed_client::api::action::{ActionQuery, ActionStatus, ActionSummaryBody};
use futures_util::{StreamExt as _, TryStreamExt as _};
use serde::Serialize;

use super::show;
use crate::output::{Format, OutputArguments};
use crate::remote::ServerArguments;
use crate::terminal::note;

const EXAMPLES: &str = "\
Examples:
  deed actions list                                      the newest 20
  deed actions list --status failed --type report.render
  deed actions list --created-after 2026-01-31T00:00:00Z --all --format json | jq '.items[].id'";

/// The most that a page of the server holds.
const PAGE_MAX: u16 = 200;

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// Only those of this status
    #[arg(long, value_enum)]
    status: Option<Status>,
    /// Only those of this action type
    #[arg(long, value_name = "TYPE")]
    r#type: Option<String>,
    /// Only those accepted after this time, as in 2026-01-31T10:00:00Z
    #[arg(long, value_name = "TIME")]
    created_after: Option<DateTime<Utc>>,
    /// Only those accepted before this time
    #[arg(long, value_name = "TIME")]
    created_before: Option<DateTime<Utc>>,
    /// How many to list at the most
    #[arg(long, default_value_t = 20, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// List all, however many there are
    #[arg(long, conflicts_with = "limit")]
    all: bool,
    #[command(flatten)]
    output: OutputArguments,
    #[command(flatten)]
    server: ServerArguments,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Status {
    Scheduled,
    Queued,
    Running,
    Succeeded,
    Failed,
    Cancelled,
}

impl From<Status> for ActionStatus {
    fn from(status: Status) -> Self {
        match status {
            Status::Scheduled => Self::Scheduled,
            Status::Queued => Self::Queued,
            Status::Running => Self::Running,
            Status::Succeeded => Self::Succeeded,
            Status::Failed => Self::Failed,
            Status::Cancelled => Self::Cancelled,
        }
    }
}

/// What is printed as JSON.
#[derive(Serialize)]
struct Listed {
    items: Vec<ActionSummaryBody>,
    /// Whether there are more than were asked for.
    more: bool,
}

pub(super) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let limit = if arguments.all {
        usize::MAX
    } else {
        usize::try_from(arguments.limit)?
    };
    let query = ActionQuery {
        status: arguments.status.map(ActionStatus::from),
        r#type: arguments.r#type,
        created_after: arguments.created_after,
        created_before: arguments.created_before,
        // One more than is shown tells whether there are more.
        limit: Some(
            u16::try_from(limit.saturating_add(1)).map_or(PAGE_MAX, |limit| limit.min(PAGE_MAX)),
        ),
        cursor: None,
    };
    let server = &arguments.server;
    let fault = |error| server.fault(&error);
    let list = server.client()?.list_actions(&query).map_err(fault)?;
    let found = list.all().take(limit.saturating_add(1)).try_collect();
    let mut items: Vec<ActionSummaryBody> = found.await.map_err(fault)?;
    let more = items.len() > limit;
    items.truncate(limit);
    let listed = Listed { items, more };
    arguments
        .output
        .print(&listed, |listed| show::list(&listed.items))?;
    if more && arguments.output.format == Format::Text {
        note("There are more: raise --limit, or ask for --all.");
    }
    Ok(())
}
