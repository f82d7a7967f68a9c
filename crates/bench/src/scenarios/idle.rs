//! Many streams on which nothing happens.

use std::time::Duration;

use anyhow::{Context as _, bail};
use deed_client::api::action::CreateAction;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::time::{Instant, sleep};

use super::{at_most, submit};
use crate::report::Figure;
use crate::stage::Stage;
use crate::terminal::say;
use crate::wire::{Connection, Request};

const STREAMS: u32 = 10_000;
/// Beside the streams: what a process has open anyway.
const OTHERS: u64 = 200;
/// How many are opened at once.
const OPENING: usize = 64;
/// For how long the processor's time is measured: heartbeats come every 15 s.
const LOOK: Duration = Duration::from_secs(20);
/// Ticks of the kernel's accounting a second, on every Linux of our days (`getconf CLK_TCK`).
const TICKS: f64 = 100.0;

pub(crate) async fn run(stage: &Stage) -> anyhow::Result<Vec<Figure>> {
    let mut limit = getrlimit(Resource::Nofile);
    let wanted = u64::from(STREAMS) + OTHERS;
    if limit.maximum.is_some_and(|most| most < wanted) {
        say(format!(
            "idle is left out: not more than {:?} files may be open, and {wanted} are to be",
            limit.maximum
        ));
        return Ok(Vec::new());
    }
    limit = Rlimit {
        current: Some(wanted.max(limit.current.unwrap_or(wanted))),
        ..limit
    };
    setrlimit(Resource::Nofile, limit)?;

    let action = CreateAction::new(submit::TYPE, &serde_json::json!({}))?;
    let action = stage
        .client()?
        .create_action(&action)
        .respond_async()
        .await?
        .action;
    let line = format!("GET /actions/{}/events", action.id);
    let request = Request::new(&line, &stage.secret, &[("Accept", "text/event-stream")], "");
    let process = stage.process()?;
    let before = resident(process)?;
    let open = stream::iter(0..STREAMS)
        .map(|_| async {
            let mut connection = Connection::open(stage.address).await?;
            match connection.open_stream(&request).await? {
                200 => {
                    connection.more(0).await?;
                    Ok(connection)
                }
                status => bail!("answered {status}"),
            }
        })
        .buffer_unordered(OPENING);
    let open: Vec<Connection> = open.try_collect().await?;
    let after = resident(process)?;
    let (began, used) = (Instant::now(), processor(process)?);
    sleep(LOOK).await;
    let share = (processor(process)? - used) / began.elapsed().as_secs_f64();
    drop(open);
    Ok(vec![
        at_most(
            "idle",
            "KB resident for each of 10,000 streams",
            (after - before) / f64::from(STREAMS),
            20.0,
        ),
        at_most(
            "idle",
            "percent of one core beside them",
            share * 100.0,
            3.0,
        ),
    ])
}

/// The resident memory of a process, in KB.
pub(crate) fn resident(process: u32) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(kilobytes.context("no VmRSS")?.parse()?)
}

/// How long a process has been at work, in seconds of one core.
fn processor(process: u32) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The second field is a name in brackets, which may hold anything; `utime` and `stime` are the 14th and the 15th.
    let (_, rest) = stat.rsplit_once(") ").context("no name")?;
    let ticks: f64 = rest
        .split(' ')
        .skip(11)
        .take(2)
        .map(str::parse::<f64>)
        .sum::<Result<_, _>>()?;
    Ok(ticks / TICKS)
}
