//! GET of a user, which is read from the database, and of the present key, which is not.

use super::{Length, Same, at_least};
use crate::drive::{self, CONNECTIONS, Driven};
use crate::report::{Figure, Yardstick};
use crate::stage::Stage;
use crate::wire::Request;
use crate::yardstick::Postgres;

pub(crate) async fn users(stage: &Stage, length: Length) -> anyhow::Result<Driven> {
    get(stage, length, &format!("GET /users/{}", stage.user)).await
}

async fn get(stage: &Stage, length: Length, line: &str) -> anyhow::Result<Driven> {
    let request = Request::new(line, &stage.secret, &[], "");
    drive::closed(stage.address, CONNECTIONS, length.0, |_| Same {
        request: request.clone(),
        expected: 200,
    })
    .await
}

pub(crate) async fn run(
    stage: &Stage,
    length: Length,
    postgres: Postgres,
    bare: f64,
) -> anyhow::Result<Vec<Figure>> {
    let users = users(stage, length).await?;
    let keys = get(stage, length, "GET /api-keys/current").await?;
    let reads = Yardstick {
        what: "point reads/s",
        value: postgres.reads,
    };
    let bare = Yardstick {
        what: "of a bare handler/s",
        value: bare,
    };
    Ok(vec![
        at_least("read", "users/s", users.per_second, Some(reads), 0.35),
        at_least("auth", "current keys/s", keys.per_second, Some(bare), 0.6),
    ])
}
