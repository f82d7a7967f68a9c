//! What Prometheus' own checker says of the metrics, the alerts and every expression of the documents.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::io::Write as _;
use std::process::{Command, Stdio};

use deed_e2e::client::Client;
use deed_e2e::database::Database;
use deed_e2e::server::Server;

const DEED: &str = env!("CARGO_BIN_EXE_deed-under-test");
const PAGE: &str = include_str!("../../../docs/METRICS.md");
const BOARD: &str = include_str!("../../../docs/grafana/deed.json");
const MISSING: &str =
    "promtool is missing; apt-get install --yes --no-install-recommends prometheus";

/// Runs `promtool` with `input`; it has to be content, and to say nothing but that.
fn promtool(arguments: &[&str], input: &str) -> String {
    let mut child = Command::new("promtool")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect(MISSING);
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8(said).unwrap();
    assert!(output.status.success(), "{said}\n{input}");
    said
}

#[tokio::test]
async fn promtool_finds_no_fault_in_a_scrape_under_load() {
    let database = Database::fresh().await;
    let server = Server::setup(&database)
        .environment("DEED_METRICS_LISTEN", "127.0.0.1:0")
        .start(DEED)
        .await;
    crate::metrics::load(&server).await;
    let metrics = Client::anonymous(&server.metrics_base().await);
    let answer = metrics.get("/metrics").send().await;
    assert_eq!(answer.status, 200);
    assert_eq!(promtool(&["check", "metrics"], &answer.body), "");
}

#[test]
fn promtool_finds_no_fault_in_the_alerts() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/alerts.yml");
    let said = promtool(&["check", "rules", file], "");
    assert!(said.contains("SUCCESS"), "{said}");
}

#[test]
fn promtool_understands_every_expression_of_the_documents() {
    let of_page = PAGE
        .split("```promql\n")
        .skip(1)
        .map(|rest| rest.split("\n```").next().unwrap().to_owned());
    let board: serde_json::Value = serde_json::from_str(BOARD).unwrap();
    let panels = board.get("panels").unwrap().as_array().unwrap();
    let of_board = panels
        .iter()
        .filter_map(|panel| panel.get("targets")?.as_array())
        .flatten()
        // What Grafana puts in before it asks.
        .map(|target| {
            let expression = target.get("expr").unwrap().as_str().unwrap();
            expression
                .replace("$__rate_interval", "5m")
                .replace("$job", ".*")
                .replace("$instance", ".*")
        });
    let expressions: Vec<String> = of_page.chain(of_board).collect();
    assert!(expressions.len() > 90, "{}", expressions.len());
    let mut rules = "groups:\n- name: documents\n  rules:\n".to_owned();
    for (number, expression) in expressions.iter().enumerate() {
        let quoted = serde_json::to_string(expression).unwrap();
        rules.push_str(&format!("  - record: r{number}\n    expr: {quoted}\n"));
    }
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(rules.as_bytes()).unwrap();
    promtool(&["check", "rules", file.path().to_str().unwrap()], "");
}
