//! From the schema and the server of the first working day to the present ones, and back, with data and under load.
//!
//! The old server is built from the history by `cargo xtask test`, which says where it is, or why there is none.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use deed_e2e::client::Client;
use deed_e2e::database::Database;
use deed_e2e::server::{DRAIN, Server, deed};
use deed_e2e::stream::{Event, check_whole_log, words};
use deed_e2e::variable;
use deed_e2e::wait::{SOON, until, within};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

const DEED: &str = env!("CARGO_BIN_EXE_deed-under-test");
const ACTIONS: [&str; 2] = ["actions:read", "actions:write"];
/// How many words the stream says that is open during the upgrade, and how long each takes: together less than the 20 s
/// that a drain leaves to what is under way.
const WORDS: usize = 72;
const WORD_MS: u64 = 250;
/// How many actions the old server performs at a time: the long ones, and no more, so that others queue.
const OLD_SLOTS: u16 = 4;

/// The old binary, or `None` where `cargo xtask test` has said that it is left out.
fn old_binary() -> Option<String> {
    if let Some(binary) = variable("DEED_TEST_OLD_SERVER") {
        return Some(binary);
    }
    if let Some(reason) = variable("DEED_TEST_NO_OLD_SERVER") {
        // Past the harness, which keeps what a passing test prints to itself.
        let _ = writeln!(
            std::io::stderr(),
            "\nThe upgrade scenario is LEFT OUT: {reason}."
        );
        return None;
    }
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/upgrade");
    let found = fs::read_dir(built).ok().and_then(|entries| {
        let mut paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        paths.find(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("deed-"))
        })
    });
    match found {
        Some(path) => Some(path.to_str().unwrap().to_owned()),
        None => panic!("there is no old server: build it with `cargo xtask old-server`"),
    }
}

/// What `deed` prints when it succeeds.
async fn prints(binary: &str, database: &Database, arguments: &[&str]) -> String {
    let output = deed(binary)
        .args(arguments)
        .env("DATABASE_URL", database.url())
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The migrations that the present binary has and the database lacks, oldest first.
async fn lacking(database: &Database) -> Vec<String> {
    prints(DEED, database, &["migrate", "status"])
        .await
        .lines()
        .filter_map(|line| line.strip_prefix("pending"))
        .map(|name| name.trim().to_owned())
        .collect()
}

/// Every column, constraint and index of the schema, as text.
async fn catalog(database: &Database) -> BTreeSet<String> {
    let statement = "
        SELECT format('column %s.%s %s %s', c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull)
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        WHERE c.relnamespace = current_schema()::regnamespace AND a.attnum > 0 AND NOT a.attisdropped
        UNION ALL
        SELECT format('constraint %s %s', conname, pg_get_constraintdef(oid)) FROM pg_constraint
        WHERE connamespace = current_schema()::regnamespace
        UNION ALL
        SELECT format('index %s', indexdef) FROM pg_indexes WHERE schemaname = current_schema()";
    let client = database.connect().await;
    let rows = client.query(statement, &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// Submits actions one after the other, and notes each that was acknowledged.
struct Load {
    /// Where it submits, in turn.
    bases: Arc<Mutex<Vec<String>>>,
    stop: tokio::sync::oneshot::Sender<()>,
    task: JoinHandle<Vec<String>>,
}

impl Load {
    fn start(client: &Client, base: &str) -> Self {
        let bases = Arc::new(Mutex::new(vec![base.to_owned()]));
        let (stop, mut stopped) = tokio::sync::oneshot::channel();
        let (client, turn) = (client.clone(), Arc::clone(&bases));
        let task = tokio::spawn(async move {
            let mut acknowledged = Vec::new();
            let mut pace = tokio::time::interval(Duration::from_millis(40));
            for n in 0usize.. {
                tokio::select! {
                    _ = &mut stopped => break,
                    _ = pace.tick() => {}
                }
                let base = {
                    let bases = turn.lock().unwrap();
                    bases[n % bases.len()].clone()
                };
                let body = json!({"type": "echo", "input": {"text": format!("load {n}")}});
                let action = client
                    .at(&base)
                    .post("/actions", &body)
                    .header("Prefer", "respond-async")
                    .send()
                    .await
                    .json(202);
                acknowledged.push(action["id"].as_str().unwrap().to_owned());
            }
            acknowledged
        });
        Self { bases, stop, task }
    }

    fn submit_to(&self, bases: &[&str]) {
        *self.bases.lock().unwrap() = bases.iter().map(ToString::to_string).collect();
    }

    /// The ids of all that was acknowledged. None was refused, or this fails.
    async fn finish(self) -> Vec<String> {
        self.stop.send(()).unwrap();
        within(SOON, "the last submission", self.task)
            .await
            .unwrap()
    }
}

async fn action(client: &Client, id: &str) -> Value {
    client.get(&format!("/actions/{id}")).send().await.json(200)
}

async fn submit(client: &Client, body: Value) -> String {
    let answer = client
        .post("/actions", &body)
        .header("Prefer", "respond-async")
        .send()
        .await
        .json(202);
    answer["id"].as_str().unwrap().to_owned()
}

async fn ended(client: &Client, id: &str, status: &str) {
    until(DRAIN, async || {
        let action = action(client, id).await;
        if action["status"] == status {
            Ok(())
        } else {
            Err(action)
        }
    })
    .await;
}

/// The log of an action, as JSON: what it is called and what it says.
async fn log(client: &Client, id: &str) -> Vec<(u64, String, Value)> {
    let page = client
        .get(&format!("/actions/{id}/events?limit=200"))
        .header("Accept", "application/json")
        .send()
        .await
        .json(200);
    let items = page["items"].as_array().unwrap().iter();
    items
        .map(|item| {
            (
                item["seq"].as_u64().unwrap(),
                item["event"].as_str().unwrap().to_owned(),
                item["data"].clone(),
            )
        })
        .collect()
}

/// Fails unless each was performed once and is whole.
async fn check_performed_once(client: &Client, ids: &[String]) {
    for id in ids {
        ended(client, id, "succeeded").await;
        let log = log(client, id).await;
        let names: Vec<&str> = log.iter().map(|(_, name, _)| name.as_str()).collect();
        let expected = ["created", "started", "message", "message", "done"];
        assert_eq!(names, expected, "{id}: {log:?}");
        let positions: Vec<u64> = log.iter().map(|(seq, _, _)| *seq).collect();
        assert_eq!(positions, [1, 2, 3, 4, 5], "{id}");
    }
}

/// All actions that `client` can list.
async fn all(client: &Client) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut path = "/actions?limit=200".to_owned();
    loop {
        let page = client.get(&path).send().await.json(200);
        for item in page["items"].as_array().unwrap() {
            assert!(found.insert(item["id"].as_str().unwrap().to_owned()));
        }
        match page["next_cursor"].as_str() {
            Some(cursor) => path = format!("/actions?limit=200&cursor={cursor}"),
            None => return found,
        }
    }
}

/// What a first working day leaves behind.
struct Data {
    client: Client,
    disabled: Client,
    revoked: Client,
    scheduled: String,
    /// What is over, or was never to begin: as it was answered.
    settled: BTreeMap<String, Value>,
}

impl Data {
    async fn make(old: &Server) -> Self {
        let root = old.root();
        let client = old.user(&ACTIONS).await;
        let other = root.new_user().await;
        let disabled = root.new_key(&other, &ACTIONS).await;
        root.request("PATCH", &format!("/users/{other}"))
            .json(&json!({"status": "disabled"}))
            .send()
            .await
            .json(200);
        let user = root.new_user().await;
        let issued = root
            .issue(&user, json!({"name": "revoked", "scopes": ACTIONS}))
            .await;
        let revoked = root.with_key(issued["secret"].as_str().unwrap());
        let path = format!("/api-keys/{}", issued["id"].as_str().unwrap());
        assert_eq!(root.request("DELETE", &path).send().await.status, 204);

        let finished = client
            .post(
                "/actions",
                &json!({"type": "echo", "input": {"text": "over and done"}}),
            )
            .send()
            .await
            .json(201);
        let fails = json!({"type": "echo", "input": {"text": "a b", "fail_at": 2}});
        let failed = client.post("/actions", &fails).send().await.json(201);
        let cancelled = submit(&client, json!({"type": "wait", "input": {"seconds": 600}})).await;
        let path = format!("/actions/{cancelled}/cancel");
        client.request("POST", &path).send().await;
        ended(&client, &cancelled, "cancelled").await;
        let now: DateTime<Utc> = finished["created_at"].as_str().unwrap().parse().unwrap();
        let later = |seconds| (now + TimeDelta::seconds(seconds)).to_rfc3339();
        let soon = json!({"type": "echo", "input": {"text": "at last"}, "run_at": later(12)});
        let scheduled = submit(&client, soon).await;
        let much_later = json!({"type": "echo", "input": {"text": "x"}, "run_at": later(86_400)});
        let waiting = submit(&client, much_later).await;

        let mut settled = BTreeMap::new();
        for id in [
            finished["id"].as_str().unwrap(),
            failed["id"].as_str().unwrap(),
            &cancelled,
            &waiting,
        ] {
            settled.insert(id.to_owned(), action(&client, id).await);
        }
        let statuses: BTreeSet<&str> = settled
            .values()
            .map(|action| action["status"].as_str().unwrap())
            .collect();
        assert_eq!(
            statuses,
            BTreeSet::from(["cancelled", "failed", "scheduled", "succeeded"])
        );
        Self {
            client,
            disabled,
            revoked,
            scheduled,
            settled,
        }
    }

    /// Fails unless `server` tells all of it as it was.
    async fn check(&self, server: &Server) {
        let client = self.client.at(&server.base);
        for (id, before) in &self.settled {
            let now = action(&client, id).await;
            for (name, value) in before.as_object().unwrap() {
                assert_eq!(&now[name], value, "{id}: {name}");
            }
            assert!(!log(&client, id).await.is_empty());
        }
        let me = client.get("/users/me").send().await.json(200);
        assert_eq!(me["status"], "active");
        for shut_out in [&self.disabled, &self.revoked] {
            let answer = shut_out.at(&server.base).get("/actions").send().await;
            assert!([401, 403].contains(&answer.status), "{}", answer.body);
        }
    }
}

/// A stream that is being read elsewhere; the events so far can be looked at.
struct Follower {
    events: Arc<Mutex<Vec<Event>>>,
    task: JoinHandle<()>,
}

impl Follower {
    fn of(mut stream: deed_e2e::stream::Stream) -> Self {
        let events = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&events);
        let task = tokio::spawn(async move {
            while let Some(event) = stream.event().await {
                noted.lock().unwrap().push(event);
            }
        });
        Self { events, task }
    }

    fn count(&self) -> usize {
        self.events.lock().unwrap().len()
    }

    /// Waits until there are more events than `count`, on the connection that is open.
    async fn grows_over(&self, count: usize) {
        until(SOON, async || {
            assert!(!self.task.is_finished(), "the stream was broken");
            let now = self.count();
            if now > count { Ok(()) } else { Err(now) }
        })
        .await;
    }

    /// What came until the server ended the stream.
    async fn ended(self) -> Vec<Event> {
        within(SOON, "the stream's end", self.task).await.unwrap();
        Arc::into_inner(self.events).unwrap().into_inner().unwrap()
    }
}

async fn stop(mut server: Server) {
    server.terminate();
    let status = server.process.ended(DRAIN).await;
    assert_eq!(status.code(), Some(0), "{}", server.process.output());
}

async fn check_ready(server: &Server) {
    server.anonymous().get("/readyz").send().await.json(200);
}

#[tokio::test]
async fn an_upgrade_and_a_downgrade_lose_nothing_while_servers_serve() {
    let Some(old_binary) = old_binary() else {
        return;
    };
    let database = Database::fresh().await;

    // The old server at work: with data, under load, with a stream open and more to do than it can do at once.
    let old = Server::setup(&database)
        .runner_slots(OLD_SLOTS)
        .start(&old_binary)
        .await;
    let schema = catalog(&database).await;
    let data = Data::make(&old).await;
    let client = data.client.clone();
    let text: Vec<String> = (0..WORDS).map(|n| format!("w{n}")).collect();
    let stream = client
        .post(
            "/stream",
            &json!({"type": "echo", "input": {"text": text.join(" "), "delay_ms": WORD_MS}}),
        )
        .stream()
        .await;
    let events_path = stream.headers["location"].to_str().unwrap().to_owned();
    let follower = Follower::of(stream);
    let mut long = Vec::new();
    for _ in 1..OLD_SLOTS {
        long.push(submit(&client, json!({"type": "wait", "input": {"seconds": 12}})).await);
    }
    for id in &long {
        ended(&client, id, "running").await;
    }
    let load = Load::start(&client, &old.base);
    let queued = "/actions?status=queued";
    until(SOON, async || {
        let page = client.get(queued).send().await.json(200);
        let count = page["items"].as_array().unwrap().len();
        if count >= 3 { Ok(()) } else { Err(count) }
    })
    .await;
    follower.grows_over(3).await;

    // The schema grows under it.
    let new_migrations = lacking(&database).await;
    assert!(!new_migrations.is_empty(), "nothing to upgrade to");
    let before = follower.count();
    let applied = prints(DEED, &database, &["migrate", "up"]).await;
    assert_eq!(applied.lines().count(), new_migrations.len(), "{applied}");
    assert_eq!(lacking(&database).await, Vec::<String>::new());
    follower.grows_over(before + 2).await;
    check_ready(&old).await;
    data.check(&old).await;

    // A new server comes beside it, which performs nothing: what it takes in, the old one performs.
    let front = Server::setup(&database).runner_slots(0).start(DEED).await;
    load.submit_to(&[&old.base, &front.base]);
    let at_front = client.at(&front.base);
    data.check(&front).await;
    let before = follower.count();
    let by_old = submit(
        &at_front,
        json!({"type": "echo", "input": {"text": "taken by new"}}),
    )
    .await;
    ended(&client, &by_old, "succeeded").await;
    ended(&at_front, &by_old, "succeeded").await;
    follower.grows_over(before).await;

    // Another one, which performs. The old one drains: its stream ends, and goes on at a new server.
    let new = Server::start(DEED, &database).await;
    let by_any = submit(
        &client,
        json!({"type": "echo", "input": {"text": "taken by old"}}),
    )
    .await;
    load.submit_to(&[&front.base, &new.base]);
    old.terminate();
    let mut events = follower.ended().await;
    assert!(
        events.last().is_some_and(|event| event.name != "done"),
        "the stream was over before the old server drained: {}",
        events.len()
    );
    let mut rest = at_front
        .get(&events_path)
        .header("Last-Event-ID", &events.last().unwrap().id)
        .stream()
        .await;
    events.extend(rest.rest().await);
    let mut old = old;
    assert_eq!(old.process.ended(DRAIN).await.code(), Some(0));
    check_whole_log(&events);
    assert_eq!(words(&events), text);
    for id in &long {
        ended(&at_front, id, "succeeded").await;
    }

    // Nothing that was acknowledged is lost, and nothing is there twice.
    let mut acknowledged = load.finish().await;
    check_performed_once(&at_front, &acknowledged).await;
    ended(&at_front, &data.scheduled, "succeeded").await;
    let action_id = events_path.split('/').nth(2).unwrap().to_owned();
    acknowledged.extend([by_old, by_any, data.scheduled.clone(), action_id]);
    acknowledged.extend(long);
    acknowledged.extend(data.settled.keys().cloned());
    let acknowledged: BTreeSet<String> = acknowledged.into_iter().collect();
    assert_eq!(all(&at_front).await, acknowledged);

    // The first way back: the old binary serves the new schema, beside the new one and alone.
    let back = Server::start(&old_binary, &database).await;
    check_ready(&back).await;
    stop(front).await;
    stop(new).await;
    let at_back = client.at(&back.base);
    let body = json!({"type": "echo", "input": {"text": "still here"}});
    let answer = at_back.post("/actions", &body).send().await.json(201);
    assert_eq!(answer["status"], "succeeded");
    data.check(&back).await;
    stop(back).await;

    // The second way back: the schema shrinks to what it was, and the old binary serves it.
    for name in new_migrations.iter().rev() {
        let said = prints(DEED, &database, &["migrate", "down", "--yes"]).await;
        assert!(said.contains(name.as_str()), "{said}");
    }
    assert_eq!(lacking(&database).await, new_migrations);
    let differences: Vec<String> = catalog(&database)
        .await
        .symmetric_difference(&schema)
        .cloned()
        .collect();
    assert_eq!(differences, Vec::<String>::new());
    let back = Server::start(&old_binary, &database).await;
    check_ready(&back).await;
    data.check(&back).await;
    let at_back = client.at(&back.base);
    let again = at_back.post("/actions", &body).send().await.json(201);
    assert_eq!(again["status"], "succeeded");
    assert!(all(&at_back).await.is_superset(&acknowledged));
    stop(back).await;

    // And up again, with what the old one has written meanwhile.
    let now = Server::start(DEED, &database).await;
    data.check(&now).await;
    let at_now = client.at(&now.base);
    assert_eq!(
        action(&at_now, again["id"].as_str().unwrap()).await["status"],
        "succeeded"
    );
    stop(now).await;
}
