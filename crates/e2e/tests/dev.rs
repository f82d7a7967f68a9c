//! `deed dev`: what it says is so, and the curl that it prints works as pasted.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may panic"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use deed_e2e::client::Client;
use deed_e2e::process::{Output, Process};
use deed_e2e::server::{DRAIN, Dev, deed, open_directory};
use deed_e2e::wait::SOON;
use serde_json::json;
use tokio::process::Command;

const DEED: &str = env!("CARGO_BIN_EXE_deed-under-test");

/// The value behind a label, such as `api`.
fn said<'a>(lines: &'a [String], label: &str) -> &'a str {
    let line = lines
        .iter()
        .find_map(|line| line.trim_start().strip_prefix(label));
    line.unwrap_or_else(|| panic!("no {label}: {lines:?}"))
        .trim()
}

/// The command that is printed, with its continuation lines.
fn printed_curl(lines: &[String]) -> String {
    let start = lines
        .iter()
        .position(|line| line.trim_start().starts_with("curl "))
        .unwrap();
    let end = lines[start..]
        .iter()
        .position(|line| !line.ends_with('\\'))
        .unwrap();
    lines[start..=start + end].join("\n")
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn the_first_run_prints_a_curl_that_streams() {
    let directory = open_directory();
    let start = Instant::now();
    let dev = Dev::start(DEED, directory.path()).await;
    // Promised are 10 s; the rest is for a test machine that does other things.
    assert!(
        start.elapsed() < Duration::from_secs(20),
        "{:?}",
        start.elapsed()
    );
    let lines = dev.process.lines(Output::Stdout);
    assert_eq!(said(&lines, "api"), dev.base);
    assert!(said(&lines, "database").starts_with("postgres://"));
    assert_eq!(said(&lines, "docs"), format!("{}/docs", dev.base));
    assert!(
        said(&lines, "key file").starts_with(
            directory
                .path()
                .canonicalize()
                .unwrap()
                .join(".deed/dev.key")
                .to_str()
                .unwrap()
        )
    );
    for name in ["dev.key", "root.key"] {
        let file = directory.path().join(".deed").join(name);
        assert_eq!(mode(&file), 0o600, "{name}");
        let key = fs::read_to_string(&file).unwrap();
        assert!(
            !lines.iter().any(|line| line.contains(key.trim())),
            "a secret on the terminal"
        );
        assert!(
            !dev.process.output().contains(key.trim()),
            "a secret in the log"
        );
    }

    let mut bash = Command::new("bash");
    bash.arg("-c").arg(printed_curl(&lines)).current_dir("/");
    let mut curl = Process::start(&mut bash);
    let mut arrivals = Vec::new();
    for number in 1..=4 {
        let nth = |_: Output, _: &str| {
            let messages = curl
                .lines(Output::Stdout)
                .iter()
                .filter(|line| *line == "event: message")
                .count();
            (messages >= number).then_some(())
        };
        curl.line(SOON, nth).await;
        arrivals.push(Instant::now());
    }
    for pair in arrivals.windows(2) {
        let gap = pair[1] - pair[0];
        assert!(
            gap > Duration::from_millis(150),
            "the words came in a burst: {gap:?}"
        );
    }
    assert!(curl.ended(SOON).await.success());
    let output = curl.lines(Output::Stdout);
    let last: Vec<&String> = output
        .iter()
        .filter(|line| line.starts_with("event: "))
        .collect();
    assert_eq!(*last.last().unwrap(), "event: done");
    let words: Vec<&str> = output
        .iter()
        .filter_map(|line| line.strip_prefix("data: {\"text\":\"")?.strip_suffix("\"}"))
        .collect();
    assert_eq!(words.join(" "), "Deed keeps its word");
    dev.stop().await;
}

#[tokio::test]
async fn one_at_a_time_and_the_next_finds_everything_again() {
    let directory = open_directory();
    let first = Dev::start(DEED, directory.path()).await;
    let key_file = directory.path().join(".deed/dev.key");
    let key = fs::read_to_string(&key_file).unwrap();
    let client = Client::anonymous(&first.base).with_key(key.trim());
    let body = json!({"type": "echo", "input": {"text": "kept"}});
    let action = client.post("/actions", &body).send().await.json(201);

    let mut command = deed(DEED);
    command
        .args(["dev", "--listen", "127.0.0.1:0"])
        .current_dir(directory.path());
    let mut second = Process::start(&mut command);
    let status = second.ended(SOON).await;
    assert_eq!(status.code(), Some(31));
    assert!(
        second
            .output()
            .contains("running in this directory already"),
        "{}",
        second.output()
    );
    client.get("/users/me").send().await.json(200);
    first.stop().await;

    let again = Dev::start(DEED, directory.path()).await;
    assert_eq!(fs::read_to_string(&key_file).unwrap(), key, "the keys stay");
    let path = format!("/actions/{}", action["id"].as_str().unwrap());
    assert_eq!(
        client.at(&again.base).get(&path).send().await.json(200),
        action
    );
    again.stop().await;
}

#[tokio::test]
async fn one_that_was_killed_is_no_hindrance() {
    let directory = open_directory();
    let mut first = Dev::start(DEED, directory.path()).await;
    first.process.kill().await;
    let second = Dev::start(DEED, directory.path()).await;
    let key = fs::read_to_string(directory.path().join(".deed/dev.key")).unwrap();
    let me = Client::anonymous(&second.base)
        .with_key(key.trim())
        .get("/users/me")
        .send()
        .await
        .json(200);
    assert_eq!(me["email"], "dev@example.com");
    second.stop().await;
}

#[tokio::test]
async fn ctrl_c_in_the_middle_of_the_first_start_leaves_no_half_state() {
    for (moment, words) in [
        ("before the database", "creating a PostgreSQL"),
        ("before the server", "starting PostgreSQL"),
        ("before it serves", "Migrated"),
    ] {
        let directory = open_directory();
        let mut command = deed(DEED);
        command
            .args(["dev", "--listen", "127.0.0.1:0"])
            .current_dir(directory.path());
        let mut first = Process::start(&mut command);
        first
            .line(SOON, |_, line| line.contains(words).then_some(()))
            .await;
        first.signal(rustix::process::Signal::INT);
        let status = first.ended(DRAIN + SOON).await;
        assert!(status.success(), "{moment}: {}", first.output());
        let second = Dev::start(DEED, directory.path()).await;
        second.stop().await;
    }
}

#[tokio::test]
async fn it_serves_nobody_but_this_machine() {
    let directory = open_directory();
    let mut command = deed(DEED);
    command
        .args(["dev", "--listen", "0.0.0.0:0"])
        .current_dir(directory.path());
    let mut process = Process::start(&mut command);
    assert_eq!(process.ended(SOON).await.code(), Some(23));
    assert!(
        process.output().contains("loopback"),
        "{}",
        process.output()
    );
}
