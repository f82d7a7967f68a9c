//! Two clients of server-sent events that others wrote follow an action while the server is stopped and started again.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::{Value, json};

use super::accounts::{Account, OWN_SCOPES};
use super::bounded::{Running, until};
use super::report::Row;
use super::server::Server;
use super::{SOURCES, Tools};
use crate::cargo::root;
use crate::http::{Request, unchunked};
use crate::terminal::say;

/// How many chunks the action has, and the milliseconds between them: long enough for the server to go in the middle.
const CHUNKS: usize = 60;
const DELAY_MS: u64 = 100;
/// How many events both have to have seen before the server goes.
const SEEN_BEFORE: usize = 8;
/// How long all of it may take.
const LIMIT: Duration = Duration::from_secs(60);

/// A client, and the file that notes what it sees, a line an event.
struct Follower {
    name: &'static str,
    running: Running,
    log: PathBuf,
}

/// Runs both against servers on the database at `url`.
pub(super) fn follow(tools: &Tools, url: &str, logs: &Path) -> anyhow::Result<Vec<Row>> {
    let began = Instant::now();
    let server = Server::start(url, "127.0.0.1:0", &[], &logs.join("stream-server-1.log"))?;
    let address = server.address;
    let reader = Account::create(address, "reader", &OWN_SCOPES)?;
    let events = format!(
        "{}{}/events",
        server.base(),
        perform(address, &reader.secret)?
    );
    let mut followers = Vec::new();
    for (name, command) in commands(tools, &events, &reader.secret)? {
        let log = logs.join(format!("{name}.log"));
        let running = Running::start(command, &log)?;
        followers.push(Follower { name, running, log });
    }
    until(LIMIT, "the first events", || {
        let mut have_seen = true;
        for follower in &followers {
            have_seen &= follower.seen()? >= SEEN_BEFORE;
        }
        Ok(have_seen.then_some(()))
    })?;
    say("The server is stopped and started again, with both in the middle of the stream.");
    server.stop()?;
    let again = Server::start(
        url,
        &address.to_string(),
        &[],
        &logs.join("stream-server-2.log"),
    )?;
    let mut rows = Vec::new();
    for follower in followers {
        rows.push(follower.judge(began)?);
    }
    again.stop()?;
    Ok(rows)
}

/// Begins the action as the bearer of `secret`, and answers its path.
fn perform(address: SocketAddr, secret: &str) -> anyhow::Result<String> {
    let body = json!({
        "type": "echo", "input": {"text": vec!["word"; CHUNKS].join(" "), "delay_ms": DELAY_MS}
    });
    let answer = Request::post("/actions", &body.to_string())
        .header("X-API-Key", secret)
        .header("Prefer", "respond-async")
        .send(address)?;
    let action: Value = serde_json::from_str(unchunked(&answer.body))?;
    let id = action.get("id").and_then(Value::as_str);
    Ok(format!("/actions/{}", id.context("no action")?))
}

fn commands(
    tools: &Tools,
    events: &str,
    secret: &str,
) -> anyhow::Result<[(&'static str, Command); 2]> {
    let sources = root().join(SOURCES);
    // Node looks for packages beside the script.
    let script = tools.node.directory().join("follow.mjs");
    fs::copy(sources.join("follow.mjs"), &script)?;
    let mut node = Command::new("node");
    node.arg(script);
    let mut python = Command::new(tools.python.program("python"));
    python.arg(sources.join("follow.py"));
    let mut commands = [("eventsource", node), ("httpx-sse", python)];
    for (_, command) in &mut commands {
        command.arg(events).env("DEED_KEY", secret);
    }
    Ok(commands)
}

impl Follower {
    /// How many events it has seen.
    fn seen(&self) -> anyhow::Result<usize> {
        let log = fs::read_to_string(&self.log)?;
        Ok(log.lines().filter(|line| line.starts_with("seen ")).count())
    }

    /// Waits for its verdict.
    fn judge(self, began: Instant) -> anyhow::Result<Row> {
        let is_content = self.running.wait(LIMIT)?.is_success();
        let said = fs::read_to_string(&self.log)?;
        let seen = said
            .lines()
            .filter(|line| line.starts_with("seen "))
            .count();
        if !is_content {
            say(format!("\n{}:\n{said}", self.name));
        }
        Ok(Row {
            what: format!("{}, across a restart", self.name),
            cases: u64::try_from(seen)?,
            failures: u64::from(!is_content),
            took: Some(began.elapsed()),
        })
    }
}
