//! Age: what a long history and a transaction that is held open do to a steady load.
//!
//! PostgreSQL can't remove a dead row that an open transaction may still have to see: a backup, a forgotten session, a
//! replica's slot. A queue makes dead rows all the time, at the very place where the next look begins.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use tokio::time::{Instant, interval, sleep, sleep_until};
use uuid::Uuid;

use crate::load::{Load, Totals};
use crate::stage::Stage;
use crate::terminal::{answer, say};

/// How much worse the last minute may be than the first.
const RATIO: f64 = 1.2;
/// How long the load runs before the transaction is opened.
const WARM_UP: Duration = Duration::from_secs(30);
/// How long autovacuum, which comes once a minute, has for the dead rows once the transaction is over.
const RECOVERY: Duration = Duration::from_secs(130);
/// How many dead rows there may be then: autovacuum leaves what is below its threshold, and the load goes on.
const LEFT: i64 = 80_000;
/// What a part of a measurement lasts.
const PART: Duration = Duration::from_secs(60);
/// How many rows of the history go into one statement.
const CHUNK: u32 = 50_000;

/// A long history and a transaction that is held open, beside a steady load
#[derive(Debug, Clone, Args)]
pub(crate) struct Age {
    /// How many finished actions there are from the beginning
    #[arg(long, value_name = "NUMBER", default_value_t = 1_000_000)]
    history: u32,
    /// How long the transaction is held open, in minutes
    #[arg(long, value_name = "MINUTES", default_value_t = 5, value_parser = clap::value_parser!(u32).range(2..=60))]
    minutes: u32,
    /// How many actions a second are submitted and performed
    #[arg(long, value_name = "NUMBER", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
}

/// What one minute of the load came to.
struct Minute {
    totals: Totals,
    dead: Dead,
}

/// How many dead rows the tables have from which rows go.
#[derive(Debug, Clone, Copy)]
struct Dead {
    queue: i64,
    leases: i64,
}

impl Age {
    /// Answers whether the last minute was about as good as the first one.
    pub(crate) async fn run(&self, stage: &Stage) -> anyhow::Result<bool> {
        let database = stage.connect().await?;
        let load = Arc::new(Load::new(stage, self.rate).await?);
        fill(&database, stage.user, Load::TYPE, self.history).await?;

        let running = Arc::clone(&load);
        let load_ends = tokio::spawn(async move { running.run().await });
        say(format!(
            "{} actions/s, {} s to warm up …",
            self.rate,
            WARM_UP.as_secs()
        ));
        sleep(WARM_UP).await;
        let before = load.take()?;

        let holder = stage.connect().await?;
        holder
            .batch_execute(
                "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM action_types",
            )
            .await?;
        say("a transaction is open from here …");
        let began = Instant::now();
        let mut minutes = Vec::new();
        for minute in 1..=self.minutes {
            sleep_until(began + PART * minute).await;
            let totals = load.take()?;
            let dead = dead(&database).await?;
            say(format!("minute {minute}: {totals}; dead rows: {dead:?}"));
            minutes.push(Minute { totals, dead });
            if load_ends.is_finished() {
                bail!("the load has ended: {:?}", load_ends.await);
            }
        }
        holder.batch_execute("COMMIT").await?;
        say("the transaction is over; autovacuum may go on …");
        let recovered = recovered(&database).await?;
        let after = load.take()?;
        load.stop();
        let (submitted, performed) = load_ends.await??;

        answer(format!(
            "{} finished actions before, {} actions/s, a transaction held open for {} min\n",
            self.history, self.rate, self.minutes
        ));
        answer(HEAD);
        answer(line("before", &before, None));
        for (number, minute) in minutes.iter().enumerate() {
            let name = format!("minute {}", number + 1);
            answer(line(&name, &minute.totals, Some(minute.dead)));
        }
        answer(line("after", &after, Some(recovered)));
        let (Some(first), Some(last)) = (minutes.first(), minutes.last()) else {
            bail!("nothing was measured");
        };
        let verdicts = [
            Verdict::of(
                "time to grant, p50",
                first.totals.granted.percentile(50.0),
                last.totals.granted.percentile(50.0),
            ),
            Verdict::of(
                "time to grant, p99",
                first.totals.granted.percentile(99.0),
                last.totals.granted.percentile(99.0),
            ),
            // The other way round: it is throughput that must not fall.
            Verdict::of(
                "seconds per action performed",
                1.0 / first.totals.performed_per_second,
                1.0 / last.totals.performed_per_second,
            ),
        ];
        answer("");
        for verdict in &verdicts {
            answer(verdict);
        }
        let is_all_performed = submitted == performed;
        answer(format!(
            "submitted {submitted}, performed {performed}: {}",
            held(is_all_performed)
        ));
        let is_clean = recovered.queue < LEFT && recovered.leases < LEFT;
        answer(format!(
            "dead rows within {} s after the transaction, at most {LEFT} a table: queue {}, leases {}: {}",
            RECOVERY.as_secs(),
            recovered.queue,
            recovered.leases,
            held(is_clean)
        ));
        Ok(verdicts.iter().all(|verdict| verdict.has_held) && is_all_performed && is_clean)
    }
}

/// Writes `history` finished actions of a user: actions of this month with their results and three events each, as if
/// they had been performed.
pub(crate) async fn fill(
    database: &tokio_postgres::Client,
    user: Uuid,
    action_type: &str,
    history: u32,
) -> anyhow::Result<()> {
    let began = Instant::now();
    let mut done = 0;
    while done < history {
        let count = CHUNK.min(history - done);
        database
            .execute(
                HISTORY,
                &[
                    &user.to_string(),
                    &action_type,
                    &i64::from(done),
                    &i64::from(count),
                    &i64::from(history),
                ],
            )
            .await
            .context("the history can't be written")?;
        done += count;
        say(format!("{done} of {history} finished actions written"));
    }
    database.batch_execute("ANALYZE; CHECKPOINT").await?;
    say(format!("the history took {:.0?}", began.elapsed()));
    Ok(())
}

/// $1 user, $2 type, $3 how many there are, $4 how many more, $5 how many in all: spread over the month up to now.
const HISTORY: &str = "
WITH made AS MATERIALIZED (
  SELECT date_trunc('month', now()) + (now() - date_trunc('month', now())) * ((n + $3::int8)::float8 / $5::int8) AS at,
         (lpad(to_hex((extract(epoch FROM date_trunc('month', now()) + (now() - date_trunc('month', now())) * ((n + $3::int8)::float8 / $5::int8)) * 1000)::int8), 12, '0')
           || '7' || substr(replace(gen_random_uuid()::text, '-', ''), 14, 19))::uuid AS id
  FROM generate_series(0, $4::int8 - 1) AS n
), asked AS (
  INSERT INTO actions (id, user_id, created_at, type_id, priority, max_attempts, input)
  SELECT id, ($1::text)::uuid, at, (SELECT t.id FROM action_types t WHERE t.name = $2::text), 5, 3,
         '{\"text\":\"the quick brown fox jumps over the lazy dog\"}'
  FROM made
), ended AS (
  INSERT INTO action_results (action_id, user_id, lease_id, started_at, finished_at, last_seq, attempt, status, output)
  SELECT id, ($1::text)::uuid, gen_random_uuid(), at, at, 3, 1, 'succeeded', '{\"ok\":true}' FROM made
)
INSERT INTO action_events (action_id, at, seq, event, data)
SELECT id, at, e.seq, e.event, e.data
FROM made CROSS JOIN (VALUES (1, 'created', '{}'), (2, 'started', '{\"attempt\":1}'),
                             (3, 'done', '{\"status\":\"succeeded\",\"output\":{\"ok\":true}}')) AS e(seq, event, data)";

async fn dead(database: &tokio_postgres::Client) -> anyhow::Result<Dead> {
    let statement = "SELECT coalesce(sum(n_dead_tup) FILTER (WHERE relname = 'action_queue'), 0)::int8,
                            coalesce(sum(n_dead_tup) FILTER (WHERE relname = 'action_leases'), 0)::int8
                     FROM pg_stat_user_tables";
    let row = database.query_one(statement, &[]).await?;
    Ok(Dead {
        queue: row.try_get(0)?,
        leases: row.try_get(1)?,
    })
}

/// The dead rows once they are few again, but not before a part of the measurement is over, or when the time for it is
/// over.
async fn recovered(database: &tokio_postgres::Client) -> anyhow::Result<Dead> {
    let began = Instant::now();
    let mut ticks = interval(Duration::from_secs(2));
    loop {
        ticks.tick().await;
        let dead = dead(database).await?;
        let is_clean = dead.queue < LEFT && dead.leases < LEFT;
        if (is_clean && began.elapsed() >= PART) || began.elapsed() >= RECOVERY {
            return Ok(dead);
        }
    }
}

const HEAD: &str = "\
|          | performed/s | time to grant p50 | p99      | POST /actions p50 | p99      | dead: queue | leases  |
|----------|------------:|------------------:|---------:|------------------:|---------:|------------:|--------:|";

fn line(name: &str, totals: &Totals, dead: Option<Dead>) -> String {
    let (queue, leases) = dead.map_or(("–".to_owned(), "–".to_owned()), |dead| {
        (dead.queue.to_string(), dead.leases.to_string())
    });
    format!(
        "| {name:<8} | {:>11.0} | {:>14.1} ms | {:>5.1} ms | {:>14.1} ms | {:>5.1} ms | {queue:>11} | {leases:>7} |",
        totals.performed_per_second,
        totals.granted.percentile(50.0),
        totals.granted.percentile(99.0),
        totals.submitted.percentile(50.0),
        totals.submitted.percentile(99.0),
    )
}

/// What the last minute is to the first.
struct Verdict {
    what: &'static str,
    ratio: f64,
    has_held: bool,
}

impl Verdict {
    fn of(what: &'static str, first: f64, last: f64) -> Self {
        let ratio = last / first;
        Self {
            what,
            ratio,
            has_held: ratio <= RATIO,
        }
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}, last minute to first: {:.2}, at most {RATIO}: {}",
            self.what,
            self.ratio,
            held(self.has_held)
        )
    }
}

fn held(is_so: bool) -> &'static str {
    if is_so { "held" } else { "NOT HELD" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_minute_may_be_a_fifth_worse() {
        for (last, held) in [(1.0, true), (1.19, true), (1.21, false), (f64::NAN, false)] {
            assert_eq!(Verdict::of("x", 1.0, last).has_held, held, "{last}");
        }
    }

    #[test]
    fn nothing_performed_has_not_held() {
        let verdict = Verdict::of("x", 1.0 / 1_000.0, 1.0 / 0.0);
        assert!(!verdict.has_held);
    }
}
