//! One action whose events many read at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use deed_client::Client;
use deed_client::api::action::CreateAction;
use deed_client::api::action_type::PutActionType;
use deed_client::api::lease::{
    CompleteLease, LeaseActions, ReportEvents, WorkerEvent, WorkerEventName,
};
use serde_json::value::RawValue;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval};

use super::{Length, at_least, at_most};
use crate::latency::{Latencies, per_second};
use crate::report::Figure;
use crate::stage::Stage;
use crate::wire::{Connection, LAST_CHUNK, Request, find};

const TYPE: &str = "bench.fanout";
const SUBSCRIBERS: u32 = 1_000;
/// Events a second while delays are measured.
const RATE: u32 = 100;
/// How many events go into one report, and how many of these may be on their way, where it is as fast as it can.
const BURST: u32 = 50;
const WINDOW: u64 = 4;
/// How long the log may take to reach everybody.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) async fn run(stage: &Stage, length: Length) -> anyhow::Result<Vec<Figure>> {
    let began = Instant::now();
    let mut log = Log::begin(stage).await?;
    let received = Arc::new(AtomicU64::new(0));
    let mut subscribers = JoinSet::new();
    for _ in 0..SUBSCRIBERS {
        subscribers.spawn(read(
            stage.address,
            log.request.clone(),
            began,
            Arc::clone(&received),
        ));
    }
    let all = u64::from(SUBSCRIBERS);
    // Everybody has an event: everybody is there.
    log.write(1, began).await?;
    wait_for(&received, all).await?;

    let mut ticks = interval(Duration::from_secs(1) / RATE);
    let paced = Instant::now();
    let mut written = 1;
    while paced.elapsed() < length.0 {
        ticks.tick().await;
        log.write(1, began).await?;
        written += 1;
    }
    wait_for(&received, written * all).await?;

    let fast = Instant::now();
    let before = received.load(Ordering::Relaxed);
    while fast.elapsed() < length.0 {
        log.write(BURST, began).await?;
        written += u64::from(BURST);
        let on_its_way = WINDOW * u64::from(BURST);
        wait_for(&received, written.saturating_sub(on_its_way) * all).await?;
    }
    wait_for(&received, written * all).await?;
    let delivered = received.load(Ordering::Relaxed) - before;
    let rate = per_second(delivered, fast.elapsed());

    log.end().await?;
    let mut delays = Latencies::new()?;
    while let Some(ended) = subscribers.join_next().await {
        delays.add(&ended??)?;
    }
    Ok(vec![
        at_most(
            "fanout",
            "delay at 100 events/s, p99, ms",
            delays.percentile(99.0),
            20.0,
        ),
        at_least("fanout", "deliveries/s", rate, None, 300_000.0),
    ])
}

async fn wait_for(received: &AtomicU64, count: u64) -> anyhow::Result<()> {
    let began = Instant::now();
    while received.load(Ordering::Relaxed) < count {
        if began.elapsed() > PATIENCE {
            let got = received.load(Ordering::Relaxed);
            bail!("{got} of {count} deliveries after {PATIENCE:?}");
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

/// An action that is being performed here.
struct Log {
    client: Client,
    lease: String,
    next: u32,
    request: Request,
}

impl Log {
    async fn begin(stage: &Stage) -> anyhow::Result<Self> {
        let client = stage.client()?;
        client
            .put_action_type(TYPE, &PutActionType::default())
            .await?;
        let action = CreateAction::new(TYPE, &serde_json::json!({}))?;
        client.create_action(&action).respond_async().await?;
        let granted = client
            .lease_actions(&LeaseActions {
                types: vec![TYPE.to_owned()],
                max: Some(1),
                wait_seconds: Some(10),
                lease_seconds: Some(300),
                request_id: None,
                worker: "bench".to_owned(),
            })
            .await?
            .leases;
        let lease = granted.into_iter().next().context("nothing was granted")?;
        let line = format!("GET /actions/{}/events", lease.action.id);
        Ok(Self {
            client,
            next: lease.next_seq,
            lease: lease.lease_id,
            request: Request::new(&line, &stage.secret, &[("Accept", "text/event-stream")], ""),
        })
    }

    /// Writes `count` events that bear the time.
    async fn write(&mut self, count: u32, began: Instant) -> anyhow::Result<()> {
        let events = (0..count)
            .map(|_| {
                let at = began.elapsed().as_micros();
                Ok(WorkerEvent {
                    event: WorkerEventName::Message,
                    data: RawValue::from_string(format!(
                        "{{\"text\":\"a word or two\",\"at\":{at}}}"
                    ))?,
                })
            })
            .collect::<anyhow::Result<_>>()?;
        let report = ReportEvents {
            from_seq: self.next,
            events,
            checkpoint: None,
        };
        self.next = self
            .client
            .report_events(&self.lease, &report)
            .await?
            .next_seq;
        Ok(())
    }

    async fn end(&self) -> anyhow::Result<()> {
        let output = RawValue::from_string("{}".to_owned())?;
        self.client
            .complete_lease(&self.lease, &CompleteLease { output })
            .await?;
        Ok(())
    }
}

/// Reads to the end of the log; answers how late each single event was.
async fn read(
    address: std::net::SocketAddr,
    request: Request,
    began: Instant,
    received: Arc<AtomicU64>,
) -> anyhow::Result<Latencies> {
    let mut delays = Latencies::new()?;
    let mut connection = Connection::open(address).await?;
    let status = connection.open_stream(&request).await?;
    if status != 200 {
        bail!("answered {status}");
    }
    let mut seen = 0;
    loop {
        let text = connection.more(seen).await?;
        let now = u64::try_from(began.elapsed().as_micros())?;
        let (mut count, mut rest) = (0, text);
        while let Some(at) = find(rest, b"\"at\":") {
            let number = rest.get(at + 5..).unwrap_or_default();
            let Some(end) = find(number, b"}") else { break };
            let digits = number.get(..end).unwrap_or_default();
            let sent: u64 = std::str::from_utf8(digits)?.parse()?;
            delays.record(Duration::from_micros(now.saturating_sub(sent)));
            count += 1;
            rest = number.get(end..).unwrap_or_default();
        }
        received.fetch_add(count, Ordering::Relaxed);
        if text.ends_with(LAST_CHUNK) {
            return Ok(delays);
        }
        let kept = rest.len();
        connection.forget(kept);
        seen = kept;
    }
}
