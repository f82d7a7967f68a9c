//! The example workers, each in its own language, against a real server: they are run as they stand.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use deed_client::{Client as Typed, Event, Follow};
use deed_e2e::client::Client;
use deed_e2e::database::Database;
use deed_e2e::process::Process;
use deed_e2e::server::{Server, deed};
use deed_e2e::variable;
use deed_e2e::wait::{SOON, until, within};
use rustix::process::Signal;
use serde_json::{Value, json};

const DEED: &str = env!("CARGO_BIN_EXE_deed-under-test");
/// How long a lease is where a test waits for its end.
const SHORT: u32 = 3;
/// How long it is where heartbeats alone keep it, which may take a second to be answered.
const SILENT: u32 = 6;
/// How long it is where nobody waits for it.
const LONG: u32 = 60;
/// A dead worker's action is taken over within its lease of [`SHORT`], and 5 s.
const TAKEOVER: Duration = Duration::from_secs(3 + 5);
/// What has no blank in it is a word.
const TEXT: &str = "one  two \"three\" back\\slash é\n4 😀 ";
const WORDS: [&str; 6] = ["one", "two", "\"three\"", "back\\slash", "é\n4", "😀"];

/// An example.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Example {
    Python,
    Node,
    Bash,
    Rust,
}

use Example::{Bash, Node, Python, Rust};

const ALL: [Example; 4] = [Python, Node, Bash, Rust];

impl Example {
    /// Its program, and the file of those that are interpreted.
    fn command(self) -> (&'static str, Option<&'static str>) {
        match self {
            Python => ("python3", Some("worker.py")),
            Node => ("node", Some("worker.mjs")),
            Bash => ("bash", Some("worker.sh")),
            Rust => (env!("CARGO_BIN_EXE_client-worker-under-test"), None),
        }
    }

    /// The type that is its own where a test runs all of them.
    fn type_name(self) -> &'static str {
        match self {
            Python => "demo.python",
            Node => "demo.node",
            Bash => "demo.bash",
            Rust => "demo.rust",
        }
    }

    fn start(self, base: &str, key: &str, type_name: &str, lease: u32) -> Process {
        let (program, file) = self.command();
        let mut command = deed(program);
        command
            .args(file.map(in_examples))
            .arg(type_name)
            .env("DEED_URL", base)
            .env("DEED_API_KEY", key)
            .env("LEASE_SECONDS", lease.to_string());
        Process::start(&mut command)
    }
}

fn in_examples(file: &str) -> PathBuf {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/examples");
    examples.join(file)
}

/// Whether the interpreters are there. `cargo xtask test` sees to that, or says why it can't.
fn may_run() -> bool {
    let Some(reason) = variable("DEED_TEST_NO_INTERPRETERS") else {
        return true;
    };
    // Past the harness, which keeps what a passing test prints to itself.
    let _ = writeln!(
        std::io::stderr(),
        "\nThe example workers are LEFT OUT: {reason}."
    );
    false
}

/// A user who asks, and a key for workers.
struct World {
    database: Database,
    server: Server,
    asker: Client,
    key: String,
}

impl World {
    async fn new() -> Self {
        let database = Database::fresh().await;
        let server = Server::start(DEED, &database).await;
        for name in ALL
            .map(Example::type_name)
            .into_iter()
            .chain(["demo.words"])
        {
            let path = format!("/action-types/{name}");
            let put = server.root().request("PUT", &path).json(&json!({}));
            put.send().await.json(201);
        }
        let asker = server.user(&["actions:read", "actions:write"]).await;
        let worker = server.user(&["actions:work:demo.*"]).await;
        Self {
            database,
            server,
            asker,
            key: worker.key().unwrap().to_owned(),
        }
    }

    fn start(&self, example: Example, type_name: &str, lease: u32) -> Process {
        example.start(&self.server.base, &self.key, type_name, lease)
    }

    async fn ask(&self, type_name: &str, input: Value) -> String {
        let body = json!({"type": type_name, "input": input});
        let request = self.asker.post("/actions", &body);
        let answer = request.header("Prefer", "respond-async").send().await;
        answer.json(202)["id"].as_str().unwrap().to_owned()
    }

    async fn action(&self, id: &str) -> Value {
        let path = format!("/actions/{id}");
        self.asker.get(&path).send().await.json(200)
    }

    fn follow(&self, id: &str) -> Log {
        let key = self.asker.key().unwrap();
        let client = Typed::builder(&self.server.base).api_key(key);
        Log {
            events: client.build().unwrap().follow(id.parse().unwrap()),
            read: Vec::new(),
        }
    }
}

/// What a reader of server-sent events sees, who reconnects when a stream breaks.
struct Log {
    events: Follow,
    /// Names and data; the reader itself checks that positions are 1, 2, 3 …
    read: Vec<(String, Value)>,
}

impl Log {
    async fn next(&mut self) -> Option<()> {
        let event: Event = within(3 * SOON, "the next event", self.events.next())
            .await?
            .unwrap();
        let data = serde_json::from_str(event.data.get()).unwrap();
        self.read.push((event.name, data));
        Some(())
    }

    /// Reads until the event of this name has come so often.
    async fn until(&mut self, name: &str, times: usize) {
        while self.count(name) < times {
            let next = self.next().await;
            assert!(next.is_some(), "no {times} of {name}: {:?}", self.read);
        }
    }

    async fn rest(mut self) -> Vec<(String, Value)> {
        while self.next().await.is_some() {}
        self.read
    }

    fn count(&self, name: &str) -> usize {
        self.read.iter().filter(|event| event.0 == name).count()
    }
}

fn words(log: &[(String, Value)]) -> Vec<&str> {
    let messages = log.iter().filter(|event| event.0 == "message");
    messages
        .map(|event| event.1["text"].as_str().unwrap())
        .collect()
}

fn names(log: &[(String, Value)]) -> Vec<&str> {
    log.iter().map(|event| event.0.as_str()).collect()
}

/// As many words as are asked for, all different.
fn text(words: usize) -> String {
    let words: Vec<String> = (1..=words).map(|n| format!("w{n}")).collect();
    words.join(" ")
}

#[track_caller]
fn check_words(log: &[(String, Value)], text: &str) {
    assert_eq!(words(log).join(" "), text);
    let done = log.iter().position(|event| event.0 == "done");
    assert_eq!(done, Some(log.len() - 1), "{log:?}");
    let count = text.split(' ').count();
    let end = json!({"status": "succeeded", "output": {"words": count}});
    assert_eq!(log[log.len() - 1].1, end);
}

#[tokio::test]
async fn each_performs_an_action() {
    if !may_run() {
        return;
    }
    let world = World::new().await;
    for example in ALL {
        let worker = world.start(example, example.type_name(), LONG);
        let id = world.ask(example.type_name(), json!({"text": TEXT})).await;
        let log = world.follow(&id).rest().await;
        let mut expected = vec![
            ("created".to_owned(), json!({"action_id": id})),
            ("started".to_owned(), json!({"attempt": 1})),
        ];
        expected.extend(WORDS.map(|word| ("message".to_owned(), json!({"text": word}))));
        let end = json!({"status": "succeeded", "output": {"words": 6}});
        expected.push(("done".to_owned(), end));
        assert_eq!(log, expected, "{example:?}");
        let says = |_, line: &str| line.contains(&format!("{id} complete")).then_some(());
        worker.line(SOON, says).await;
        // It goes on with the next one, and says why one can't be performed.
        let id = world.ask(example.type_name(), json!({"text": 7})).await;
        let failed = until(SOON, async || {
            let action = world.action(&id).await;
            let is_so = action["attempt"] == 2 || action["status"] != "running";
            if is_so && action["attempt"] != 0 {
                Ok(action)
            } else {
                Err(action)
            }
        });
        assert_ne!(failed.await["status"], "succeeded", "{example:?}");
    }
}

/// Both perform the same type side by side; `victim` is killed in the middle of an action.
async fn check_takeover(victim: Example, heir: Example) {
    if !may_run() {
        return;
    }
    let world = World::new().await;
    let mut first = world.start(victim, "demo.words", SHORT);
    let input = json!({"text": text(60), "delay_ms": 200});
    let id = world.ask("demo.words", input).await;
    let mut log = world.follow(&id);
    log.until("message", 2).await;

    let _second = world.start(heir, "demo.words", SHORT);
    let beside = world.ask("demo.words", json!({"text": text(3)})).await;
    check_words(&world.follow(&beside).rest().await, &text(3));
    assert_eq!(world.action(&id).await["status"], "running", "too quick");

    first.kill().await;
    let killed = Instant::now();
    log.until("started", 2).await;
    let took = killed.elapsed();
    assert!(took <= TAKEOVER, "{heir:?} took over after {took:?}");
    let log = log.rest().await;
    check_words(&log, &text(60));
    let retry = log.iter().find(|event| event.0 == "retry").unwrap();
    assert_eq!(retry.1, json!({"reason": "lease_expired"}));
    assert_eq!(world.action(&id).await["attempt"], 2);
}

#[tokio::test]
async fn node_takes_over_from_a_killed_python() {
    check_takeover(Python, Node).await;
}

#[tokio::test]
async fn python_takes_over_from_a_killed_node() {
    check_takeover(Node, Python).await;
}

#[tokio::test]
async fn rust_takes_over_from_a_killed_bash() {
    check_takeover(Bash, Rust).await;
}

#[tokio::test]
async fn bash_takes_over_from_a_killed_rust() {
    check_takeover(Rust, Bash).await;
}

/// A worker that is frozen for longer than its lease wakes up, and finds that another one has taken over.
async fn check_freeze(frozen: Example) {
    if !may_run() {
        return;
    }
    let world = World::new().await;
    let worker = world.start(frozen, "demo.words", SHORT);
    let input = json!({"text": text(12), "delay_ms": 300});
    let id = world.ask("demo.words", input).await;
    let mut log = world.follow(&id);
    log.until("message", 2).await;
    worker.signal(Signal::STOP);
    let heir = world.start(Bash, "demo.words", SHORT);
    log.until("started", 2).await;
    worker.signal(Signal::CONT);
    let lost = |_, line: &str| (line.contains(&id) && line.contains("lost")).then_some(());
    worker.line(SOON, lost).await;
    check_words(&log.rest().await, &text(12));
    // It is as good as new.
    drop(heir);
    let id = world.ask("demo.words", json!({"text": text(2)})).await;
    check_words(&world.follow(&id).rest().await, &text(2));
}

#[tokio::test]
async fn a_frozen_python_that_wakes_up_writes_no_more_and_goes_on_with_other_work() {
    check_freeze(Python).await;
}

#[tokio::test]
async fn a_frozen_node_that_wakes_up_writes_no_more_and_goes_on_with_other_work() {
    check_freeze(Node).await;
}

#[tokio::test]
async fn a_frozen_rust_that_wakes_up_writes_no_more_and_goes_on_with_other_work() {
    check_freeze(Rust).await;
}

#[tokio::test]
async fn one_that_is_told_to_stop_gives_its_action_back_at_once() {
    if !may_run() {
        return;
    }
    let world = World::new().await;
    for example in ALL {
        let type_name = example.type_name();
        let mut worker = world.start(example, type_name, LONG);
        let input = json!({"text": text(8), "delay_ms": 300});
        let id = world.ask(type_name, input).await;
        let mut log = world.follow(&id);
        log.until("message", 2).await;
        worker.signal(Signal::TERM);
        let status = worker.ended(SOON).await;
        assert!(status.success(), "{example:?}: {status}");
        let action = world.action(&id).await;
        assert_eq!(action["status"], "queued", "{example:?}: {action}");

        let mut next = world.start(Node, type_name, LONG);
        log.until("message", 4).await;
        let log = log.rest().await;
        check_words(&log, &text(8));
        let retry = log.iter().find(|event| event.0 == "retry").unwrap();
        assert_eq!(retry.1, json!({"reason": "released"}));
        assert_eq!(world.action(&id).await["attempt"], 1, "{example:?}");
        // It waits for work now, and ends all the same.
        next.signal(Signal::TERM);
        assert!(next.ended(SOON).await.success());
    }
}

#[tokio::test]
async fn ctrl_c_gives_the_action_back_too() {
    if !may_run() {
        return;
    }
    let world = World::new().await;
    // Bash can't trap what was ignored when it began, as in a job that a script has put into the background.
    for example in [Python, Node, Rust] {
        let type_name = example.type_name();
        let mut worker = world.start(example, type_name, LONG);
        let input = json!({"text": text(8), "delay_ms": 300});
        let id = world.ask(type_name, input).await;
        world.follow(&id).until("message", 1).await;
        worker.signal(Signal::INT);
        let status = worker.ended(SOON).await;
        assert!(status.success(), "{example:?}: {status}");
        let action = world.action(&id).await;
        assert_eq!(action["status"], "queued", "{example:?}: {action}");
    }
}

#[tokio::test]
async fn one_that_waits_for_work_ends_when_it_is_told_to() {
    if !may_run() {
        return;
    }
    let world = World::new().await;
    for example in ALL {
        let type_name = example.type_name();
        let mut worker = world.start(example, type_name, LONG);
        let id = world.ask(type_name, json!({"text": text(1)})).await;
        world.follow(&id).rest().await;
        let says = |_, line: &str| line.contains("complete").then_some(());
        worker.line(SOON, says).await;
        worker.signal(Signal::TERM);
        let status = worker.ended(SOON).await;
        assert!(status.success(), "{example:?}: {status}");
        // Nothing was granted to it that it did not take.
        let _next = world.start(Python, type_name, LONG);
        let id = world.ask(type_name, json!({"text": text(1)})).await;
        check_words(&world.follow(&id).rest().await, &text(1));
    }
}

#[tokio::test]
async fn each_hears_that_its_action_is_cancelled() {
    if !may_run() {
        return;
    }
    let world = World::new().await;
    for example in ALL {
        let type_name = example.type_name();
        let worker = world.start(example, type_name, SILENT);
        // The next word is too far away to wait for.
        let input = json!({"text": text(2), "delay_ms": 600_000});
        let id = world.ask(type_name, input).await;
        let mut log = world.follow(&id);
        log.until("started", 1).await;
        let cancel = format!("/actions/{id}/cancel");
        world.asker.request("POST", &cancel).send().await.json(202);
        let log = log.rest().await;
        assert_eq!(names(&log), ["created", "started", "done"], "{example:?}");
        assert_eq!(log[2].1, json!({"status": "cancelled"}), "{example:?}");
        let says = |_, line: &str| line.contains(&format!("{id} fail")).then_some(());
        worker.line(SOON, says).await;
    }
}

#[tokio::test]
async fn one_whose_key_will_not_do_says_so_and_ends() {
    if !may_run() {
        return;
    }
    let world = World::new().await;
    for example in ALL {
        let refused = async |key: &str, type_name: &str, code: &str| {
            let mut worker = example.start(&world.server.base, key, type_name, LONG);
            let status = worker.ended(SOON).await;
            assert_eq!(status.code(), Some(1), "{example:?}: {}", worker.output());
            let said = worker.output();
            assert!(said.contains(code), "{said}");
        };
        refused("deedk_wrong", "demo.words", "invalid_api_key").await;
        refused(&world.key, "other", "insufficient_scope").await;
    }
}

#[tokio::test]
async fn each_carries_on_when_the_server_is_killed_and_comes_back() {
    if !may_run() {
        return;
    }
    let mut world = World::new().await;
    let address = world.server.address().to_owned();
    let mut under_way = Vec::new();
    for example in ALL {
        let worker = world.start(example, example.type_name(), LONG);
        let input = json!({"text": text(20), "delay_ms": 200});
        let id = world.ask(example.type_name(), input).await;
        let mut log = world.follow(&id);
        log.until("message", 2).await;
        under_way.push((example, worker, id, log));
    }
    world.server.process.kill().await;
    for (_, worker, _, _) in &under_way {
        let says = |_, line: &str| line.contains("again").then_some(());
        worker.line(SOON, says).await;
    }
    let setup = Server::setup(&world.database).listen(&address);
    world.server = setup.start(DEED).await;
    for (example, _worker, id, log) in under_way {
        let log = log.rest().await;
        check_words(&log, &text(20));
        assert_eq!(world.action(&id).await["attempt"], 1, "{example:?}");
    }
}

#[test]
fn the_one_in_python_is_short() {
    let source = std::fs::read_to_string(in_examples("worker.py")).unwrap();
    assert!(source.lines().count() < 80);
}
