//! POST `/actions/batch` of 500.

use super::{Length, Same, at_least, submit};
use crate::drive;
use crate::report::Figure;
use crate::stage::Stage;
use crate::wire::Request;

const BATCH: u32 = 500;
const CONNECTIONS: u32 = 8;

pub(crate) async fn run(stage: &Stage, length: Length) -> anyhow::Result<Vec<Figure>> {
    let action = format!(
        "{{\"type\":\"{}\",\"input\":{{\"text\":\"the quick brown fox\"}}}}",
        submit::TYPE
    );
    let actions = vec![action; usize::try_from(BATCH)?].join(",");
    let body = format!("{{\"actions\":[{actions}]}}");
    let request = Request::new("POST /actions/batch", &stage.secret, &[], &body);
    let driven = drive::closed(stage.address, CONNECTIONS, length.0, |_| Same {
        request: request.clone(),
        expected: 202,
    })
    .await?;
    let accepted = driven.per_second * f64::from(BATCH);
    Ok(vec![at_least(
        "batch",
        "actions accepted/s, 500 a batch",
        accepted,
        None,
        25_000.0,
    )])
}
