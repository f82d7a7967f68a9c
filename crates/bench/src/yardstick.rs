//! What the machine does without this server, measured in the same run: single-row inserts and point reads by pgbench, and
//! an actix handler that does nothing.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use actix_web::{App, HttpResponse, HttpServer, web};
use anyhow::{Context as _, bail};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio_postgres::Client;

use crate::drive::{self, Work};
use crate::wire::{Connection, Request};

/// The clients of pgbench.
const CLIENTS: &str = "16";
/// The rows that are read.
const ROWS: u32 = 100_000;

/// Of pgbench, in transactions a second.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Postgres {
    pub(crate) inserts: f64,
    pub(crate) reads: f64,
}

/// One row with one index an insert, in a transaction of its own; one row by its key a read.
pub(crate) async fn postgres(
    programs: &Path,
    url: &str,
    database: &Client,
    lasts: Duration,
) -> anyhow::Result<Postgres> {
    database
        .batch_execute(&format!(
            "DROP TABLE IF EXISTS yardstick;
             CREATE TABLE yardstick (id int8 PRIMARY KEY, payload text NOT NULL);
             INSERT INTO yardstick SELECT n, repeat('x', 100) FROM generate_series(1, {ROWS}) n;
             CREATE SEQUENCE IF NOT EXISTS yardstick_id START {}",
            u64::from(ROWS) + 1
        ))
        .await?;
    // By itself: it runs in no transaction, which several statements at once are.
    database.batch_execute("VACUUM ANALYZE yardstick").await?;
    let inserts = pgbench(
        programs,
        url,
        lasts,
        "INSERT INTO yardstick VALUES (nextval('yardstick_id'), repeat('x', 100));\n",
    )
    .await?;
    let reads = pgbench(
        programs,
        url,
        lasts,
        &format!("\\set id random(1, {ROWS})\nSELECT payload FROM yardstick WHERE id = :id;\n"),
    )
    .await?;
    database
        .batch_execute("DROP TABLE yardstick; DROP SEQUENCE yardstick_id")
        .await?;
    Ok(Postgres { inserts, reads })
}

async fn pgbench(programs: &Path, url: &str, lasts: Duration, script: &str) -> anyhow::Result<f64> {
    let program = programs.join("pgbench");
    let file = std::env::temp_dir().join(format!("deed-bench-{}.sql", std::process::id()));
    std::fs::write(&file, script)?;
    let output = Command::new(&program)
        .args(["--no-vacuum", "--protocol", "prepared", "--client", CLIENTS])
        .args(["--jobs", "2", "--time", &lasts.as_secs().to_string()])
        .arg("--file")
        .arg(&file)
        .arg(url)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| format!("{} can't be run", program.display()))?;
    std::fs::remove_file(&file)?;
    let said = String::from_utf8_lossy(&output.stdout);
    let rate = said
        .lines()
        .find_map(|line| line.strip_prefix("tps = ")?.split(' ').next());
    match rate {
        Some(rate) if output.status.success() => Ok(rate.parse()?),
        _ => bail!("pgbench: {said}{}", String::from_utf8_lossy(&output.stderr)),
    }
}

/// Serves `/` with a short answer on loopback until it is killed; says its address on standard output.
pub(crate) async fn serve_bare() -> anyhow::Result<()> {
    let answer = || async { HttpResponse::Ok().body("{\"ok\":true}") };
    let server = HttpServer::new(move || App::new().route("/", web::get().to(answer)))
        .workers(2)
        .bind(("127.0.0.1", 0))?;
    let address = server.addrs().first().copied().context("no address")?;
    crate::terminal::answer(address);
    server.run().await?;
    Ok(())
}

/// Requests a second of the bare handler, from as many connections as the server gets.
pub(crate) async fn bare(lasts: Duration) -> anyhow::Result<f64> {
    let (_child, address) = start_bare().await?;
    let request = Request::new("GET /", "none", &[], "");
    let driven =
        drive::closed(address, drive::CONNECTIONS, lasts, |_| Get(request.clone())).await?;
    Ok(driven.per_second)
}

async fn start_bare() -> anyhow::Result<(Child, SocketAddr)> {
    let mut child = Command::new(std::env::current_exe()?)
        .arg("bare")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let said = child.stdout.take().context("no output")?;
    let line = BufReader::new(said).lines().next_line().await?;
    let address = line.context("the bare server ended")?.parse()?;
    Ok((child, address))
}

struct Get(Request);

impl Work for Get {
    async fn once(
        &mut self,
        connection: &mut Connection,
    ) -> anyhow::Result<Option<tokio::time::Instant>> {
        match connection.exchange(&self.0).await? {
            (200, _) => Ok(None),
            (status, _) => bail!("the bare handler answered {status}"),
        }
    }
}
