//! POST `/stream`: ten chunks of an echo, all stored, all read.

use anyhow::bail;
use tokio::time::Instant;

use super::{Length, at_least, at_most};
use crate::drive::{self, CONNECTIONS, Work};
use crate::report::Figure;
use crate::stage::Stage;
use crate::wire::{Connection, LAST_CHUNK, Request, find};

const CHUNKS: usize = 10;
const RATE: u32 = 200;

pub(crate) async fn run(stage: &Stage, length: Length) -> anyhow::Result<Vec<Figure>> {
    let words = "a b c d e f g h i j";
    let body = format!("{{\"type\":\"echo\",\"input\":{{\"text\":\"{words}\"}}}}");
    let request = Request::new("POST /stream", &stage.secret, &[], &body);
    let whole = drive::closed(stage.address, CONNECTIONS, length.0, |_| Follow {
        request: request.clone(),
        counts: Counts::End,
    })
    .await?;
    let first = drive::open(stage.address, RATE, length.0, |_| Follow {
        request: request.clone(),
        counts: Counts::FirstChunk,
    })
    .await?;
    Ok(vec![
        at_least(
            "stream",
            "streams of 10 chunks/s",
            whole.per_second,
            None,
            3_000.0,
        ),
        at_most(
            "stream",
            "first chunk at 200/s, p50, ms",
            first.latencies.percentile(50.0),
            3.0,
        ),
    ])
}

enum Counts {
    FirstChunk,
    End,
}

struct Follow {
    request: Request,
    counts: Counts,
}

impl Work for Follow {
    async fn once(&mut self, connection: &mut Connection) -> anyhow::Result<Option<Instant>> {
        let status = connection.open_stream(&self.request).await?;
        if status != 200 {
            bail!("answered {status}");
        }
        let (mut seen, mut first) = (0, None);
        loop {
            let text = connection.more(seen).await?;
            seen = text.len();
            if first.is_none() && find(text, b"event: message").is_some() {
                first = Some(Instant::now());
            }
            if text.ends_with(LAST_CHUNK) {
                let chunks = memchr::memmem::find_iter(text, b"event: message").count();
                if chunks != CHUNKS || find(text, b"\"succeeded\"").is_none() {
                    bail!("{chunks} chunks: {}", String::from_utf8_lossy(text));
                }
                return Ok(match self.counts {
                    Counts::FirstChunk => first,
                    Counts::End => None,
                });
            }
        }
    }
}
