//! Actions that two workers perform over HTTP, in batches of 16, and whose submitters wait for the end.

use std::sync::atomic::{AtomicBool, Ordering};

use deed_client::Client;
use deed_client::api::action_type::PutActionType;
use futures_util::future::try_join;

use super::{Length, Same, at_least, at_most};
use crate::drive::{self, Driven};
use crate::performer::Performer;
use crate::report::Figure;
use crate::stage::Stage;
use crate::wire::Request;

const TYPE: &str = "bench.batches";
const BATCH: u16 = 16;
/// How many submitters wait at once where it is as fast as it can.
const WAITING: u32 = 256;
/// The rate at which the time to the end is measured, actions a second.
const RATE: u32 = 800;

pub(crate) async fn run(stage: &Stage, length: Length) -> anyhow::Result<Vec<Figure>> {
    let fastest = fastest(stage, length).await?;
    let request = request(stage);
    let steady = beside_workers(stage, async {
        drive::open(stage.address, RATE, length.0, |_| Same {
            request: request.clone(),
            expected: 201,
        })
        .await
    })
    .await?;
    Ok(vec![
        at_least(
            "workers",
            "actions/s end to end",
            fastest.per_second,
            None,
            5_000.0,
        ),
        at_most(
            "workers",
            "POST to done at 800/s, p50, ms",
            steady.latencies.percentile(50.0),
            5.0,
        ),
        at_most(
            "workers",
            "POST to done at 800/s, p99, ms",
            steady.latencies.percentile(99.0),
            20.0,
        ),
    ])
}

pub(crate) async fn fastest(stage: &Stage, length: Length) -> anyhow::Result<Driven> {
    let request = request(stage);
    beside_workers(stage, async {
        drive::closed(stage.address, WAITING, length.0, |_| Same {
            request: request.clone(),
            expected: 201,
        })
        .await
    })
    .await
}

fn request(stage: &Stage) -> Request {
    let body = format!("{{\"type\":\"{TYPE}\",\"input\":{{\"text\":\"the quick brown fox\"}}}}");
    Request::new("POST /actions", &stage.secret, &[], &body)
}

async fn beside_workers(
    stage: &Stage,
    load: impl Future<Output = anyhow::Result<Driven>>,
) -> anyhow::Result<Driven> {
    let clients: [Client; 2] = [stage.client()?, stage.client()?];
    clients[0]
        .put_action_type(TYPE, &PutActionType::default())
        .await?;
    let is_over = AtomicBool::new(false);
    let performers = clients.iter().enumerate().map(|(number, client)| {
        let performer = Performer {
            client,
            action_type: TYPE,
            batch: BATCH,
            is_over: &is_over,
        };
        async move { performer.run(number, |_| (), |_| ()).await }
    });
    let load = async {
        let driven = load.await;
        is_over.store(true, Ordering::Relaxed);
        driven
    };
    let (_, driven) = try_join(futures_util::future::try_join_all(performers), load).await?;
    Ok(driven)
}
