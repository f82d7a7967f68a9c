//! What the server is measured by.

use std::time::Duration;

use anyhow::bail;
use tokio::time::Instant;

use crate::drive::Work;
use crate::report::{Figure, Target, Yardstick};
use crate::wire::{Connection, Request};

pub(crate) mod batch;
pub(crate) mod fanout;
pub(crate) mod idle;
pub(crate) mod perform;
pub(crate) mod read;
pub(crate) mod start;
pub(crate) mod stream;
pub(crate) mod submit;
pub(crate) mod workers;

/// What each measurement lasts, after its warm-up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Length(pub(crate) Duration);

/// The same request again and again, with the same status.
struct Same {
    request: Request,
    expected: u16,
}

impl Work for Same {
    async fn once(&mut self, connection: &mut Connection) -> anyhow::Result<Option<Instant>> {
        let (status, body) = connection.exchange(&self.request).await?;
        if status != self.expected {
            let body = String::from_utf8_lossy(body);
            bail!("answered {status}, not {}: {body}", self.expected);
        }
        Ok(None)
    }
}

fn at_least(
    scenario: &'static str,
    what: &'static str,
    value: f64,
    yardstick: Option<Yardstick>,
    least: f64,
) -> Figure {
    Figure {
        scenario,
        what,
        value,
        yardstick,
        target: Target::AtLeast(least),
    }
}

fn at_most(scenario: &'static str, what: &'static str, value: f64, most: f64) -> Figure {
    Figure {
        scenario,
        what,
        value,
        yardstick: None,
        target: Target::AtMost(most),
    }
}
