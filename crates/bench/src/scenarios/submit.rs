//! POST `/actions` that is answered as soon as it is durable, of a type that nobody performs meanwhile.

use super::{Length, Same, at_least, at_most};
use crate::drive::{self, CONNECTIONS, Driven};
use crate::report::{Figure, Yardstick};
use crate::stage::Stage;
use crate::wire::Request;
use crate::yardstick::Postgres;

/// A type of workers, of which there are none.
pub(crate) const TYPE: &str = "bench.unperformed";

pub(crate) fn request(stage: &Stage) -> Request {
    let body = format!("{{\"type\":\"{TYPE}\",\"input\":{{\"text\":\"the quick brown fox\"}}}}");
    Request::new(
        "POST /actions",
        &stage.secret,
        &[("Prefer", "respond-async")],
        &body,
    )
}

pub(crate) async fn fastest(stage: &Stage, length: Length) -> anyhow::Result<Driven> {
    let request = request(stage);
    drive::closed(stage.address, CONNECTIONS, length.0, |_| Same {
        request: request.clone(),
        expected: 202,
    })
    .await
}

pub(crate) async fn run(
    stage: &Stage,
    length: Length,
    postgres: Postgres,
) -> anyhow::Result<Vec<Figure>> {
    let fastest = fastest(stage, length).await?;
    let yardstick = Yardstick {
        what: "inserts/s",
        value: postgres.inserts,
    };
    let request = request(stage);
    let half = drive::open(stage.address, half(fastest.per_second), length.0, |_| {
        Same {
            request: request.clone(),
            expected: 202,
        }
    })
    .await?;
    Ok(vec![
        at_least(
            "submit",
            "accepted/s",
            fastest.per_second,
            Some(yardstick),
            1.0,
        ),
        at_most(
            "submit",
            "p99 at half of it, ms",
            half.latencies.percentile(99.0),
            10.0,
        ),
    ])
}

#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate of at most some 100,000"
)]
fn half(rate: f64) -> u32 {
    (rate / 2.0) as u32
}
