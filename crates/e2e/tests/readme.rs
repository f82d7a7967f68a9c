//! The documents' own commands, run as they stand. Only the address of the server is another.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may panic"
)]

use std::fs;
use std::path::{Path, PathBuf};

use deed_e2e::process::{Output, Process};
use deed_e2e::server::{Dev, deed, open_directory};
use deed_e2e::wait::SOON;
use serde_json::Value;

const DEED: &str = env!("CARGO_BIN_EXE_deed-under-test");
/// Where the documents say that the server is.
const DOCUMENTED: &str = "http://127.0.0.1:8080";
/// What separates the blocks' outputs: nothing that a server would say.
const SEPARATOR: &str = "--- end of a block, status";

/// A fenced block of a document.
struct Block {
    language: String,
    text: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

fn blocks(document: &str) -> Vec<Block> {
    let text = fs::read_to_string(root().join(document)).unwrap();
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for line in text.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(language)) => {
                open = Some(Block {
                    language: language.to_owned(),
                    text: String::new(),
                })
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(block), None) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "{document}: a block does not end");
    blocks
}

/// Runs the `sh` blocks in one bash, and compares what each prints with the block that follows, where one does.
async fn run(document: &str, dev: &Dev, directory: &Path) {
    let blocks = blocks(document);
    let runnable: Vec<usize> = (0..blocks.len())
        .filter(|n| blocks[*n].language == "sh" && !blocks[*n].text.starts_with("cargo xtask "))
        .collect();
    assert!(!runnable.is_empty());
    let mut script = "set -uo pipefail\n".to_owned();
    for n in &runnable {
        // In a group, so that what it sets is there for the next one.
        script.push_str(&format!(
            "{{\n{}}}\necho; echo \"{SEPARATOR} $?\"\n",
            blocks[*n].text
        ));
    }
    let script = script.replace(DOCUMENTED, &dev.base);
    let mut bash = deed("bash");
    bash.arg("-c").arg(script).current_dir(directory);
    let mut process = Process::start(&mut bash);
    assert!(
        process.ended(3 * SOON).await.success(),
        "{}",
        process.output()
    );
    assert_eq!(process.lines(Output::Stderr), [""; 0], "{document}");

    let output = process
        .lines(Output::Stdout)
        .join("\n")
        .replace(&dev.base, DOCUMENTED);
    let mut printed = output.split(SEPARATOR);
    let mut said = printed.next().unwrap().to_owned();
    for n in runnable {
        let (status, next) = printed
            .next()
            .unwrap()
            .split_once('\n')
            .unwrap_or((" 0", ""));
        assert_eq!(
            status.trim(),
            "0",
            "{document}:\n{}\n{said}",
            blocks[n].text
        );
        match blocks.get(n + 1).filter(|block| block.language != "sh") {
            Some(expected) => compare(expected, &said, &blocks[n].text),
            None => assert!(!said.contains("\"internal_error\""), "{said}"),
        }
        said = next.to_owned();
    }
}

fn compare(expected: &Block, said: &str, command: &str) {
    match expected.language.as_str() {
        "json" => {
            let value = |text: &str| -> Value {
                let text = text.trim();
                serde_json::from_str(text)
                    .unwrap_or_else(|error| panic!("{error}:\n{command}\n{text}"))
            };
            assert_eq!(
                blurred(value(said)),
                blurred(value(&expected.text)),
                "{command}"
            );
        }
        "text" => {
            let lines = |text: &str| text.trim().lines().map(blurred_line).collect::<Vec<_>>();
            assert_eq!(lines(said), lines(&expected.text), "{command}");
        }
        other => panic!("what is a block of {other}?"),
    }
}

/// Ids, times and secrets are other ones each time.
fn blurred(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let blur = |(name, value): (String, Value)| {
                let is_particular = ["id", "secret", "request_id"].contains(&name.as_str())
                    || name.ends_with("_id")
                    || name.ends_with("_at");
                let value = if is_particular && value.is_string() {
                    Value::from("…")
                } else {
                    blurred(value)
                };
                (name, value)
            };
            Value::Object(members.into_iter().map(blur).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(blurred).collect()),
        other => other,
    }
}

fn blurred_line(line: &str) -> String {
    match line.split_once("\"action_id\":\"") {
        Some((start, rest)) => format!("{start}\"action_id\":\"…{}", &rest[36..]),
        None => line.to_owned(),
    }
}

#[tokio::test]
async fn the_readme_is_so() {
    let directory = open_directory();
    clone_with_binary(directory.path());
    let dev = Dev::start(DEED, directory.path()).await;
    run("README.md", &dev, directory.path()).await;
    dev.stop().await;
}

#[tokio::test]
async fn the_quickstart_is_so() {
    let directory = open_directory();
    clone_with_binary(directory.path());
    let dev = Dev::start(DEED, directory.path()).await;
    run("docs/quickstart.md", &dev, directory.path()).await;
    dev.stop().await;
}

/// The binary lies where a clone has it once it is built.
fn clone_with_binary(directory: &Path) {
    let built = directory.join("target/debug");
    fs::create_dir_all(&built).unwrap();
    std::os::unix::fs::symlink(DEED, built.join("deed")).unwrap();
}

#[tokio::test]
async fn the_description_of_the_interface_is_so() {
    let directory = open_directory();
    let dev = Dev::start(DEED, directory.path()).await;
    run("docs/API.md", &dev, directory.path()).await;
    dev.stop().await;
}

#[tokio::test]
async fn the_page_about_workers_is_so() {
    let directory = open_directory();
    let dev = Dev::start(DEED, directory.path()).await;
    run("docs/workers.md", &dev, directory.path()).await;
    dev.stop().await;
}

#[tokio::test]
async fn the_readme_shows_what_dev_says() {
    let directory = open_directory();
    let dev = Dev::start(DEED, directory.path()).await;
    let here = directory.path().canonicalize().unwrap();
    let normal = |line: &str| {
        let line = line
            .replace(&dev.base, DOCUMENTED)
            .replace(here.to_str().unwrap(), "/home/you/deed");
        // Where the socket lies depends on who runs it.
        line.split_once("host=")
            .map_or(line.clone(), |(start, _)| start.to_owned())
    };
    let said: Vec<String> = dev
        .process
        .lines(Output::Stdout)
        .iter()
        .map(|line| normal(line))
        .collect();
    let blocks = blocks("README.md");
    let shown = blocks
        .iter()
        .position(|block| block.text == "cargo xtask dev\n")
        .unwrap()
        + 1;
    for line in blocks[shown].text.lines() {
        assert!(
            said.contains(&normal(line)),
            "{line:?} is not among {said:#?}"
        );
    }
    dev.stop().await;
}

#[test]
fn the_two_commands_come_first_and_exist() {
    let commands: Vec<String> = blocks("README.md")
        .into_iter()
        .filter(|block| block.language == "sh")
        .map(|block| block.text)
        .collect();
    assert_eq!(commands[..2], ["cargo xtask dev\n", "cargo xtask test\n"]);
    let tasks = fs::read_to_string(root().join("crates/xtask/src/main.rs")).unwrap();
    for task in ["  dev [ARGUMENTS]", "  test [ARGUMENTS]"] {
        assert!(tasks.contains(task), "{task}");
    }
    let alias = fs::read_to_string(root().join(".cargo/config.toml")).unwrap();
    assert!(alias.contains("xtask ="), "{alias}");
}
