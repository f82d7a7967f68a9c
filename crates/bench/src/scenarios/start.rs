//! How soon a server answers, and what it takes while nothing is asked.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use anyhow::bail;
use tokio::process::Child;
use tokio::time::{Instant, sleep};

use super::{at_most, idle::resident};
use crate::latency::Latencies;
use crate::report::Figure;
use crate::stage::{self, Stage};
use crate::wire::{Connection, Request};

const STARTS: u32 = 5;
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it has nothing to do before its memory is looked at.
const REST: Duration = Duration::from_secs(3);

pub(crate) async fn run(stage: &Stage) -> anyhow::Result<Vec<Figure>> {
    let request = Request::new("GET /users/me", &stage.secret, &[], "");
    let (mut times, mut kilobytes) = (Latencies::new()?, 0.0);
    for _ in 0..STARTS {
        let address = free()?;
        let began = Instant::now();
        let listen = address.to_string();
        let mut server = stage::serve(&stage.binary, &stage.url(), &["--listen", &listen])?;
        first_answer(address, &request).await?;
        times.record(began.elapsed());
        sleep(REST).await;
        if let Some(process) = server.id() {
            kilobytes = resident(process)?;
        }
        end(&mut server).await?;
    }
    let size = size(&stage.binary)?;
    Ok(vec![
        at_most(
            "start",
            "first answer after, median of 5, ms",
            times.percentile(50.0),
            100.0,
        ),
        at_most("start", "MB resident at rest", kilobytes / 1_000.0, 30.0),
        at_most("start", "MB of the binary", size, 25.0),
    ])
}

async fn first_answer(address: SocketAddr, request: &Request) -> anyhow::Result<()> {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        if let Ok(mut connection) = Connection::open(address).await
            && let Ok((200, _)) = connection.exchange(request).await
        {
            return Ok(());
        }
        sleep(Duration::from_millis(1)).await;
    }
    bail!("no answer in {PATIENCE:?}")
}

/// An address that was free a moment ago.
fn free() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?)
}

/// Killed: how it ends in good order is no part of this, and the next one can bind its address at once.
async fn end(server: &mut Child) -> anyhow::Result<()> {
    server.kill().await?;
    Ok(())
}

/// In MB.
#[expect(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "a file of far less than 2^52 bytes"
)]
fn size(file: &Path) -> anyhow::Result<f64> {
    Ok(std::fs::metadata(file)?.len() as f64 / 1_000_000.0)
}
