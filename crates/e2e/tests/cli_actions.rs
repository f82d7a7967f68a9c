//! `deed actions`: the command line as a client of a running server.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test may panic"
)]

use std::process::{Output, Stdio};
use std::time::Duration;

use deed_e2e::client::Client;
use deed_e2e::database::Database;
use deed_e2e::process::{Output as From, Process};
use deed_e2e::server::{Server, deed};
use deed_e2e::wait::{SOON, within};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::process::Command;

const DEED: &str = env!("CARGO_BIN_EXE_deed-under-test");
const ACTIONS: [&str; 2] = ["actions:read", "actions:write"];
/// The lease of a dead server lasts 10 s, and some seconds later it is taken over.
const TAKEOVER: Duration = Duration::from_secs(45);
/// Nobody listens on port 1.
const NOWHERE: &str = "http://127.0.0.1:1";

/// The exit codes that are documented.
mod exit {
    pub(super) const FAILED: i32 = 1;
    pub(super) const USAGE: i32 = 2;
    pub(super) const NOT_FOUND: i32 = 4;
    pub(super) const CONFLICT: i32 = 5;
    pub(super) const NOT_SUCCEEDED: i32 = 6;
    pub(super) const UNFINISHED: i32 = 7;
    pub(super) const CONFIGURATION: i32 = 23;
    pub(super) const UNREACHABLE: i32 = 40;
    pub(super) const REFUSED: i32 = 41;
    pub(super) const INTERRUPTED: i32 = 130;
}

struct Fixture {
    _database: Database,
    server: Server,
    client: Client,
}

impl Fixture {
    async fn start() -> Self {
        let database = Database::fresh().await;
        let server = Server::start(DEED, &database).await;
        let client = server.user(&ACTIONS).await;
        Self {
            _database: database,
            server,
            client,
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        command(&self.server.base, self.client.key().unwrap(), arguments)
    }

    async fn run(&self, arguments: &[&str]) -> Output {
        within(TAKEOVER, "the command", self.command(arguments).output())
            .await
            .unwrap()
    }

    /// What it prints when it succeeds.
    async fn prints(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments).await;
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    async fn prints_json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.prints(arguments).await).unwrap()
    }

    /// What it says when it fails with that code.
    async fn fails(&self, code: i32, arguments: &[&str]) -> String {
        failed(&self.run(arguments).await, code)
    }

    async fn count(&self) -> usize {
        let list = self.client.get("/actions").send().await.json(200);
        list["items"].as_array().unwrap().len()
    }
}

fn command(url: &str, key: &str, arguments: &[&str]) -> Command {
    let mut command = deed(DEED);
    command
        .arg("actions")
        .args(arguments)
        .env("DEED_URL", url)
        .env("DEED_API_KEY", key);
    command
}

fn failed(output: &Output, code: i32) -> String {
    let said = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(
        said.contains("deed: ") || code == exit::USAGE,
        "it says what is wrong: {said}"
    );
    assert!(
        !said.contains("panicked") && !said.contains("backtrace"),
        "{said}"
    );
    said
}

#[tokio::test]
async fn run_prints_the_output_or_the_action() {
    let fixture = Fixture::start().await;
    let input = r#"{"text": "hello", "n": 1.10}"#;
    let run = ["run", "echo", "--input", input];
    assert_eq!(fixture.prints(&run).await, format!("{input}\n"));
    let action = fixture
        .prints_json(&["run", "echo", "--input", input, "--format", "json"])
        .await;
    assert_eq!(
        (&action["status"], &action["output"]["text"]),
        (&json!("succeeded"), &json!("hello"))
    );
    let shown = fixture
        .prints(&["get", action["id"].as_str().unwrap()])
        .await;
    assert!(
        shown.contains("status    succeeded\n") && shown.contains("n\": 1.10}\n"),
        "{shown}"
    );
}

#[tokio::test]
async fn follow_prints_each_chunk_once_over_a_kill_and_a_restart() {
    let database = Database::fresh().await;
    let mut server = Server::start(DEED, &database).await;
    let client = server.user(&ACTIONS).await;
    let input = r#"{"text":"a b c","delay_ms":300}"#;
    let run = ["run", "echo", "--input", input, "--follow"];
    let mut run = Process::start(&mut command(&server.base, client.key().unwrap(), &run));
    let first = |from: From, line: &str| (from == From::Stdout && line == "a").then_some(());
    run.line(SOON, first).await;
    server.process.kill().await;
    let server = Server::setup(&database)
        .listen(server.address())
        .start(DEED)
        .await;
    let status = run.ended(TAKEOVER).await;
    assert!(status.success(), "{}", run.output());
    assert_eq!(run.lines(From::Stdout), ["a", "b", "c"]);
    let said = run.lines(From::Stderr).join("\n");
    assert!(said.contains("going on after event 3"), "{said}");
    drop(server);
}

#[tokio::test]
async fn follow_and_tail_as_json_print_every_event_on_a_line() {
    let fixture = Fixture::start().await;
    let follow = [
        "run",
        "echo",
        "-i",
        r#"{"text":"a b"}"#,
        "-f",
        "--format",
        "json",
    ];
    let printed = fixture.prints(&follow).await;
    let events: Vec<Value> = printed
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let names: Vec<&str> = events
        .iter()
        .map(|event| event["event"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["created", "started", "message", "message", "done"]);
    assert_eq!(
        (&events[2]["seq"], &events[2]["data"]),
        (&json!(3), &json!({"text": "a"}))
    );

    let id = events[0]["data"]["action_id"].as_str().unwrap();
    assert_eq!(fixture.prints(&["tail", id]).await, "a\nb\n");
    assert_eq!(fixture.prints(&["tail", id, "--from", "4"]).await, "b\n");
    let last = fixture
        .prints(&["tail", id, "--from", "4", "--format", "json"])
        .await;
    assert_eq!(last.lines().count(), 2);
    assert_eq!(
        fixture.prints(&["tail", id, "--from", "6"]).await,
        "",
        "it was read already"
    );
    fixture
        .fails(exit::REFUSED, &["tail", id, "--from", "9"])
        .await;
}

#[tokio::test]
async fn an_action_that_does_not_succeed_has_a_code_of_its_own() {
    let fixture = Fixture::start().await;
    let fail = ["run", "echo", "--input", r#"{"text":"a b","fail_at":2}"#];
    let said = fixture.fails(exit::NOT_SUCCEEDED, &fail).await;
    assert!(said.contains("echo_failed"), "{said}");
    let output = fixture.run(&[&fail[..], &["--follow"]].concat()).await;
    failed(&output, exit::NOT_SUCCEEDED);
    assert_eq!(output.stdout, b"a\n");
    let output = fixture
        .run(&[&fail[..], &["--format", "json"]].concat())
        .await;
    failed(&output, exit::NOT_SUCCEEDED);
    let action: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(action["error"]["code"], "echo_failed");

    let id = action["id"].as_str().unwrap();
    let said = fixture.fails(exit::NOT_SUCCEEDED, &["tail", id]).await;
    assert!(said.contains(&format!("deed actions retry {id}")), "{said}");
    // Also where the log was read to its end before.
    fixture
        .fails(exit::NOT_SUCCEEDED, &["tail", id, "--from", "5"])
        .await;
}

#[tokio::test]
async fn detach_cancel_retry_and_list() {
    let fixture = Fixture::start().await;
    let wait = ["run", "wait", "--input", r#"{"seconds":600}"#, "--detach"];
    let id = fixture.prints(&wait).await.trim().to_owned();
    let said = fixture.prints(&["cancel", &id]).await;
    assert!(
        said.contains("cancelled") || said.contains("told to stop"),
        "{said}"
    );
    let said = fixture.fails(exit::NOT_SUCCEEDED, &["tail", &id]).await;
    assert!(said.contains("was cancelled"), "{said}");

    let retry = ["retry", &id, "--idempotency-key", "again"];
    let second = fixture.prints(&retry).await.trim().to_owned();
    assert_eq!(
        fixture.prints(&retry).await.trim(),
        second,
        "one key, one action"
    );
    let action = fixture
        .prints_json(&["get", &second, "--format", "json"])
        .await;
    assert_eq!(action["retry_of"], json!(id));
    fixture.prints(&["cancel", &second]).await;

    let table = fixture.prints(&["list"]).await;
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("ID  ") && lines.len() == 3, "{table}");
    assert!(
        lines[1].starts_with(&second) && lines[2].starts_with(&id),
        "{table}"
    );
    let listed = fixture
        .prints_json(&["list", "--limit", "1", "--format", "json"])
        .await;
    assert_eq!(
        (listed["items"].as_array().unwrap().len(), &listed["more"]),
        (1, &json!(true))
    );
    for (filter, count) in [
        (["--type", "echo"], 0),
        (["--created-before", "2026-01-01T00:00:00Z"], 0),
        (["--status", "succeeded"], 0),
        (["--type", "wait"], 2),
    ] {
        let all = [&["list", "--all", "--format", "json"][..], &filter].concat();
        let listed = fixture.prints_json(&all).await;
        assert_eq!(
            listed["items"].as_array().unwrap().len(),
            count,
            "{filter:?}"
        );
        assert_eq!(listed["more"], json!(false));
    }
}

#[tokio::test]
async fn an_action_for_later_is_not_waited_for() {
    let fixture = Fixture::start().await;
    let year = chrono::Duration::days(300);
    let later = (chrono::DateTime::UNIX_EPOCH + year).to_rfc3339();
    // In the past it is at once, but the rule is the same.
    let run = [
        "run",
        "echo",
        "--input",
        r#"{"text":"a"}"#,
        "--run-at",
        &later,
    ];
    let id = fixture.prints(&run).await.trim().to_owned();
    assert_eq!(fixture.prints(&["tail", &id]).await, "a\n");
}

#[tokio::test]
async fn the_same_key_performs_once() {
    let fixture = Fixture::start().await;
    let run = [
        "run",
        "echo",
        "--input",
        r#"{"text":"a"}"#,
        "--idempotency-key",
        "one",
    ];
    assert_eq!(fixture.prints(&run).await, fixture.prints(&run).await);
    assert_eq!(fixture.count().await, 1);
}

#[tokio::test]
async fn a_wait_ends_and_says_how_to_go_on() {
    let fixture = Fixture::start().await;
    let wait = [
        "run",
        "wait",
        "--input",
        r#"{"seconds":600}"#,
        "--wait",
        "1s",
    ];
    let said = fixture.fails(exit::UNFINISHED, &wait).await;
    assert!(said.contains("deed actions tail "), "{said}");
}

#[tokio::test]
async fn ctrl_c_leaves_the_action_running_and_says_how_to_go_on() {
    let fixture = Fixture::start().await;
    let input = r#"{"text":"a b c d e f","delay_ms":300}"#;
    let run = ["run", "echo", "--input", input, "--follow"];
    let mut run = Process::start(&mut fixture.command(&run));
    let first = |from: From, line: &str| (from == From::Stdout && line == "a").then_some(());
    run.line(SOON, first).await;
    run.signal(Signal::INT);
    let status = run.ended(SOON).await;
    assert_eq!(status.code(), Some(exit::INTERRUPTED), "{}", run.output());

    let said = run.lines(From::Stderr).join("\n");
    let (_, rest) = said.split_once("deed actions ").unwrap();
    let (next, _) = rest.split_once('`').unwrap();
    let next: Vec<&str> = next.split(' ').collect();
    let before = run.lines(From::Stdout).join("");
    let after = fixture.prints(&next).await.replace('\n', "");
    assert_eq!(format!("{before}{after}"), "abcdef", "{said}");
}

#[tokio::test]
async fn a_mistake_in_the_input_is_told_before_anything_is_sent() {
    let fixture = Fixture::start().await;
    let run = ["run", "echo", "--input", "{\"text\":\n hello}"];
    let said = fixture.fails(exit::USAGE, &run).await;
    assert!(said.contains("line 2 column 2"), "{said}");
    let output = command(NOWHERE, "deedk_x", &run).output().await.unwrap();
    assert_eq!(output.status.code(), Some(exit::USAGE));
    assert_eq!(fixture.count().await, 0);
}

#[tokio::test]
async fn the_input_comes_from_a_file_or_standard_input() {
    let fixture = Fixture::start().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("input.json");
    std::fs::write(&file, "{\"text\": \"from a file\"}\n").unwrap();
    let argument = format!("@{}", file.display());
    let printed = fixture.prints(&["run", "echo", "--input", &argument]).await;
    assert_eq!(printed, "{\"text\": \"from a file\"}\n");
    let mut command = fixture.command(&["run", "echo", "--input", "-"]);
    command.stdin(std::fs::File::open(&file).unwrap());
    let output = command.output().await.unwrap();
    assert_eq!(
        output.stdout, b"{\"text\": \"from a file\"}\n",
        "{output:?}"
    );
}

#[tokio::test]
async fn what_the_server_refuses_is_told_with_place_and_request() {
    let fixture = Fixture::start().await;
    let run = ["run", "echo", "--input", r#"{"text":1}"#];
    let said = fixture.fails(exit::REFUSED, &run).await;
    assert!(
        said.contains("#/input/text") && said.contains("The request was "),
        "{said}"
    );
    let said = fixture.fails(exit::REFUSED, &["run", "no.such.type"]).await;
    assert!(said.contains("action-types"), "{said}");
    let nowhere = "0198c0de-0000-7000-8000-0000000000c1";
    for one in ["get", "cancel", "retry", "tail"] {
        fixture.fails(exit::NOT_FOUND, &[one, nowhere]).await;
    }
    let id = fixture
        .prints(&["run", "echo", "-i", r#"{"text":"a"}"#, "--detach"])
        .await;
    fixture.prints(&["tail", id.trim()]).await;
    fixture.fails(exit::CONFLICT, &["retry", id.trim()]).await;
    let wrong = command(&fixture.server.base, "deedk_wrong", &["list"]);
    let said = failed(&{ wrong }.output().await.unwrap(), exit::REFUSED);
    assert!(
        said.contains("DEED_API_KEY") && !said.contains("deedk_wrong"),
        "{said}"
    );
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_soon() {
    let list = command(NOWHERE, "deedk_x", &["list"]).output();
    let output = within(SOON, "the answer", list).await.unwrap();
    let said = failed(&output, exit::UNREACHABLE);
    assert!(
        said.contains(NOWHERE) && said.contains("DEED_URL"),
        "{said}"
    );
    let output = deed(DEED).args(["actions", "list"]).output().await.unwrap();
    let said = failed(&output, exit::CONFIGURATION);
    assert!(said.contains("DEED_API_KEY_FILE"), "{said}");
}

/// What comes of a command whose output goes to a device that is full. (`Command::output` would read it instead.)
async fn into_the_full(mut command: Command) -> Output {
    let full = std::fs::File::options().write(true).open("/dev/full");
    command.stdout(full.unwrap()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    within(SOON, "the command", child.wait_with_output())
        .await
        .unwrap()
}

#[tokio::test]
async fn what_could_not_be_printed_is_a_fault() {
    let fixture = Fixture::start().await;
    let echo = ["run", "echo", "-i", r#"{"text":"a b"}"#];
    for more in [&[][..], &["-f"], &["-f", "--format=json"], &["--detach"]] {
        let command = fixture.command(&[&echo[..], more].concat());
        let said = failed(&into_the_full(command).await, exit::FAILED);
        assert!(said.contains("Standard output"), "{more:?}: {said}");
    }
    for arguments in [&["--help"][..], &["openapi"], &["config", "show"]] {
        let mut command = deed(DEED);
        command.args(arguments);
        let said = failed(&into_the_full(command).await, exit::FAILED);
        assert!(said.contains("Standard output"), "{arguments:?}: {said}");
    }
}

#[tokio::test]
async fn a_reader_that_has_gone_is_no_fault() {
    let fixture = Fixture::start().await;
    let run = ["run", "echo", "-f", "-i", r#"{"text":"a b","delay_ms":50}"#];
    for arguments in [&run[..], &["list"]] {
        let mut command = fixture.command(arguments);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let status = within(SOON, "the command", child.wait()).await.unwrap();
        assert_eq!(status.code(), Some(0), "{arguments:?}");
    }
}

#[tokio::test]
async fn what_was_never_followed_is_not_to_be_followed_on() {
    let fixture = Fixture::start().await;
    let id = fixture
        .prints(&["run", "echo", "-i", r#"{"text":"a"}"#, "--detach"])
        .await;
    fixture.prints(&["tail", id.trim()]).await;
    let beyond = ["tail", id.trim(), "--from", "100"];
    let said = fixture.fails(exit::REFUSED, &beyond).await;
    assert!(
        said.contains("last sequence") && !said.contains("--from 100"),
        "{said}"
    );
}

#[tokio::test]
async fn an_action_that_may_have_been_accepted_is_told_so() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut connection, _) = listener.accept().await.unwrap();
        // It has arrived, and then the server is gone.
        let _ = connection.read(&mut [0; 100]).await;
    });
    let run = command(&base, "deedk_x", &["run", "echo"]).output();
    let said = failed(
        &within(SOON, "the answer", run).await.unwrap(),
        exit::UNREACHABLE,
    );
    assert!(said.contains("may have been accepted"), "{said}");
    let run = command(NOWHERE, "deedk_x", &["run", "echo"]).output();
    let said = failed(
        &within(SOON, "the answer", run).await.unwrap(),
        exit::UNREACHABLE,
    );
    assert!(!said.contains("may have been accepted"), "{said}");
}

#[tokio::test]
async fn the_operator_acts_for_a_user_with_a_key_from_a_file() {
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    let user = server.root().new_user().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("root.key");
    std::fs::write(&file, format!("{}\n", server.root().key().unwrap())).unwrap();
    let run = async |arguments: &[&str]| {
        let mut command = deed(DEED);
        command.args(["actions", "run", "echo", "--input", r#"{"text":"a"}"#]);
        command
            .args(arguments)
            .env("DEED_URL", &server.base)
            .env("DEED_API_KEY_FILE", &file);
        command.output().await.unwrap()
    };
    let said = failed(&run(&[]).await, exit::REFUSED);
    assert!(said.contains("--as-user"), "{said}");
    let output = run(&["--as-user", &user, "--format", "json"]).await;
    let action: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(action["user_id"], json!(user));
}
