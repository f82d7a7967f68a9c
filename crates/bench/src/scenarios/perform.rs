//! POST `/actions` that is performed within the server, and answered with its output.

use anyhow::bail;
use tokio::time::Instant;
use tokio_postgres::Client;

use super::{Length, at_least, at_most};
use crate::drive::{self, CONNECTIONS, Work};
use crate::report::{Figure, Yardstick};
use crate::stage::Stage;
use crate::wire::{Connection, Request, find};
use crate::yardstick::Postgres;

pub(crate) async fn run(
    stage: &Stage,
    length: Length,
    postgres: Postgres,
) -> anyhow::Result<Vec<Figure>> {
    let body = "{\"type\":\"echo\",\"input\":{\"text\":\"hello\"}}";
    let request = Request::new("POST /actions", &stage.secret, &[], body);
    let database = stage.connect().await?;
    let before = succeeded(&database).await?;
    let driven = drive::closed(stage.address, CONNECTIONS, length.0, |_| {
        Echo(request.clone())
    })
    .await?;
    let yardstick = Yardstick {
        what: "inserts/s",
        value: postgres.inserts,
    };
    let stored = succeeded(&database).await? - before;
    let lost = i64::try_from(driven.count)? - stored;
    Ok(vec![
        at_least(
            "perform",
            "performed and answered/s",
            driven.per_second,
            Some(yardstick),
            0.5,
        ),
        at_most(
            "perform",
            "answered and not stored",
            f64::from(i32::try_from(lost)?),
            0.0,
        ),
    ])
}

async fn succeeded(database: &Client) -> anyhow::Result<i64> {
    let statement = "SELECT count(*) FROM action_results WHERE status = 'succeeded'";
    Ok(database.query_one(statement, &[]).await?.try_get(0)?)
}

/// An answer without the output is a failure: none may be lost.
struct Echo(Request);

impl Work for Echo {
    async fn once(&mut self, connection: &mut Connection) -> anyhow::Result<Option<Instant>> {
        let (status, body) = connection.exchange(&self.0).await?;
        if status != 201 || find(body, b"\"output\":{\"text\":\"hello\"}").is_none() {
            bail!("answered {status}: {}", String::from_utf8_lossy(body));
        }
        Ok(None)
    }
}
