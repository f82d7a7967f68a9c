//! Two ways to drive a server: as fast as it answers, and at a rate whatever it answers.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::time::{Instant, sleep_until};

use crate::latency::Latencies;
use crate::wire::Connection;

/// How many connections drive a server at once.
pub(crate) const CONNECTIONS: u32 = 64;
/// What goes by before anything counts.
const WARM_UP: Duration = Duration::from_secs(2);

/// What came of driving.
pub(crate) struct Driven {
    /// How many a second.
    pub(crate) per_second: f64,
    /// How long each took, from when it was sent, or was to be sent.
    pub(crate) latencies: Latencies,
    /// How many there were, warm-up and all.
    pub(crate) count: u64,
}

/// What one connection does again and again.
pub(crate) trait Work: Send {
    /// Does it once, on a connection that is open. Answers when what counts had come, if that was before the end.
    fn once(
        &mut self,
        connection: &mut Connection,
    ) -> impl Future<Output = anyhow::Result<Option<Instant>>> + Send;
}

/// Closed loop: each of `connections` does the next as soon as the last is done, for so long after the warm-up.
///
/// # Errors
/// The first failure ends it all: a figure with failures in it is none.
pub(crate) async fn closed<W: Work>(
    address: SocketAddr,
    connections: u32,
    lasts: Duration,
    work: impl Fn(u32) -> W,
) -> anyhow::Result<Driven> {
    let counts_from = Instant::now() + WARM_UP;
    let ends = counts_from + lasts;
    let all = (0..connections).map(|number| {
        let mut work = work(number);
        async move {
            let mut connection = Connection::open(address).await?;
            let mut latencies = Latencies::new()?;
            let mut count = 0_u64;
            loop {
                let sent = Instant::now();
                if sent >= ends {
                    return anyhow::Ok((latencies, count));
                }
                let came = work.once(&mut connection).await?;
                let done = came.unwrap_or_else(Instant::now);
                count += 1;
                if done >= counts_from && done < ends {
                    latencies.record(done - sent);
                }
            }
        }
    });
    gather(try_join_all(all).await?, lasts)
}

/// Open loop: `rate` a second in all, each at its time or as soon after it as a connection is free; what it waits counts.
///
/// # Errors
/// The first failure ends it all.
pub(crate) async fn open<W: Work>(
    address: SocketAddr,
    rate: u32,
    lasts: Duration,
    work: impl Fn(u32) -> W,
) -> anyhow::Result<Driven> {
    let began = Instant::now();
    let counts_from = began + WARM_UP;
    let ends = counts_from + lasts;
    let all = (0..CONNECTIONS).map(|number| {
        let mut work = work(number);
        async move {
            let mut connection = Connection::open(address).await?;
            let mut latencies = Latencies::new()?;
            let mut count = 0_u64;
            let mut nth = u64::from(number);
            loop {
                let due = began + Duration::from_micros(nth * 1_000_000 / u64::from(rate.max(1)));
                nth += u64::from(CONNECTIONS);
                if due >= ends {
                    return anyhow::Ok((latencies, count));
                }
                sleep_until(due).await;
                let came = work.once(&mut connection).await?;
                let done = came.unwrap_or_else(Instant::now);
                count += 1;
                if due >= counts_from {
                    latencies.record(done - due);
                }
            }
        }
    });
    gather(try_join_all(all).await?, lasts)
}

fn gather(parts: Vec<(Latencies, u64)>, lasts: Duration) -> anyhow::Result<Driven> {
    let mut latencies = Latencies::new()?;
    let mut count = 0;
    for (part, counted) in parts {
        latencies.add(&part)?;
        count += counted;
    }
    Ok(Driven {
        per_second: crate::latency::per_second(latencies.count(), lasts),
        latencies,
        count,
    })
}
