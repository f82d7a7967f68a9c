//! The second listener: what it says under load, and that it is there when things go wrong.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use deed_e2e::client::{Answer, Client};
use deed_e2e::database::{Database, private};
use deed_e2e::server::{DRAIN, Server};
use deed_e2e::stream::check_whole_log;
use deed_e2e::wait::{SOON, until, within};
use futures_util::future::join_all;
use futures_util::stream::{StreamExt as _, iter};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const DEED: &str = env!("CARGO_BIN_EXE_deed-under-test");
const PAGE: &str = include_str!("../../../docs/METRICS.md");
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const ACTIONS: [&str; 3] = ["actions:read", "actions:write", "users:read"];

/// A server with metrics at a port that the system chooses.
async fn measured(database: &Database) -> Server {
    Server::setup(database)
        .environment("DEED_METRICS_LISTEN", "127.0.0.1:0")
        .start(DEED)
        .await
}

/// Who reads its metrics.
async fn reader(server: &Server) -> Client {
    Client::anonymous(&server.metrics_base().await)
}

async fn scrape(metrics: &Client) -> Answer {
    let answer = metrics.get("/metrics").send().await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer
}

/// Every sample by its name with its labels.
fn samples(text: &str) -> BTreeMap<String, f64> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        })
        .collect()
}

/// The sum of all series of one name whose labels hold `label`.
fn sum(samples: &BTreeMap<String, f64>, name: &str, label: &str) -> f64 {
    let of_name = samples.iter().filter(|(series, _)| {
        let (own, labels) = series.split_once('{').unwrap_or((series, ""));
        own == name && labels.contains(label)
    });
    of_name.map(|(_, value)| value).sum()
}

/// Users, keys, streams that are resumed, actions that fail and that are cancelled: a little of everything.
pub(crate) async fn load(server: &Server) {
    let client = server.user(&ACTIONS).await;
    let perform = async |n: usize| {
        let input = match n % 4 {
            // Slow enough for its words to be written before its end, whatever else the machine does.
            0 => json!({"text": "a b c", "delay_ms": 400}),
            1 => json!({"text": "a b c", "fail_at": 2}),
            _ => json!({"text": "a b c d e f", "repeat": 20}),
        };
        let body = json!({"type": "echo", "input": input});
        let mut stream = client.post("/stream", &body).stream().await;
        let path = stream.headers["location"].to_str().unwrap().to_owned();
        let first = stream.event_named("created").await;
        drop(stream);
        let mut events = vec![first];
        let resumed = client.get(&path).header("Last-Event-ID", "1");
        events.extend(resumed.stream().await.rest().await);
        check_whole_log(&events);
    };
    let cancel = async {
        let body = json!({"type": "wait", "input": {"seconds": 60}});
        let asked = client.post("/actions", &body);
        let asked = asked.header("Prefer", "respond-async").send().await;
        let id = asked.json(202)["id"].as_str().unwrap().to_owned();
        let cancelled = client.post(&format!("/actions/{id}/cancel"), &json!({}));
        let status = cancelled.send().await.status;
        assert!([200, 202].contains(&status), "{status}");
        until(SOON, async || {
            let action = client.get(&format!("/actions/{id}")).send().await.json(200);
            match action["status"].as_str() {
                Some("cancelled") => Ok(()),
                _ => Err(action),
            }
        })
        .await;
    };
    tokio::join!(join_all((0..12).map(perform)), cancel);
    client.get("/users/me").send().await.json(200);
    client
        .get("/nowhere")
        .send()
        .await
        .problem(404, "not_found");
}

#[tokio::test]
async fn a_scrape_under_load_holds_every_metric_of_the_page() {
    let database = Database::fresh().await;
    let server = measured(&database).await;
    let metrics = reader(&server).await;
    let asked = metrics.get("/metrics").header("Accept", OPENMETRICS);
    // While it works: what is said of it is never torn.
    let watch = async {
        loop {
            scrape(&metrics).await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        () = load(&server) => {}
        () = watch => {}
    }
    let answer = asked.send().await;
    assert_eq!(answer.header("content-type"), OPENMETRICS);
    assert!(answer.body.ends_with("\n# EOF\n"), "{}", answer.body);
    let found = samples(&answer.body);
    let there: BTreeSet<&str> = found
        .keys()
        .map(|series| series.split('{').next().unwrap())
        .collect();
    let listed: Vec<&str> = PAGE
        .lines()
        .filter_map(|line| line.strip_prefix("### `")?.strip_suffix('`'))
        .collect();
    assert!(listed.len() > 50, "{}", listed.len());
    for name in listed {
        let histogram = format!("{name}_count");
        assert!(
            there.contains(name) || there.contains(&*histogram),
            "{name}"
        );
    }

    let at_least = |name: &str, label: &str, least: f64| {
        let value = sum(&found, name, label);
        assert!(value >= least, "{name} {label}: {value}");
    };
    let finished = "deed_actions_finished_total";
    at_least("deed_actions_submitted_total", "type=\"echo\"", 12.0);
    assert_eq!(sum(&found, finished, "outcome=\"succeeded\""), 9.0);
    assert_eq!(sum(&found, finished, "outcome=\"failed\""), 3.0);
    assert_eq!(sum(&found, finished, "outcome=\"cancelled\""), 1.0);
    assert_eq!(sum(&found, "deed_streams_opened_total", ""), 24.0);
    assert_eq!(sum(&found, "deed_streams_resumed_total", ""), 12.0);
    at_least("deed_streams_ended_total", "done", 12.0);
    at_least("deed_stream_events_sent_total", "", 100.0);
    at_least("deed_action_attempt_duration_seconds_count", "echo", 12.0);
    at_least("deed_action_queue_wait_seconds_count", "echo", 12.0);
    at_least("deed_runner_flush_events_sum", "", 3.0);
    at_least("deed_wakeup_lag_seconds_count", "", 1.0);
    at_least("deed_auth_cache_lookups_total", "hit", 1.0);
    at_least("deed_password_hash_duration_seconds_count", "", 1.0);
    at_least(
        "deed_http_requests_total",
        "route=\"/stream\",status=\"2xx\"",
        12.0,
    );
    at_least(
        "deed_http_requests_total",
        "route=\"unknown\",status=\"4xx\"",
        1.0,
    );
    at_least("process_resident_memory_bytes", "", 1e6);
    assert_eq!(sum(&found, "deed_database_up", ""), 1.0);
    assert_eq!(sum(&found, "deed_draining", ""), 0.0);
    // Of what this test did nothing is a mistake.
    for bug in ["deed_http_panics_total", "deed_handler_panics_total"] {
        assert_eq!(sum(&found, bug, ""), 0.0, "{bug}");
    }
    for kind in ["value", "bad_row", "statement"] {
        assert_eq!(
            sum(&found, "deed_database_errors_total", kind),
            0.0,
            "{kind}"
        );
    }
}

#[tokio::test]
async fn text_is_for_everyone_else_and_nothing_else_is_served() {
    let database = Database::fresh().await;
    let server = measured(&database).await;
    let metrics = reader(&server).await;
    let text = scrape(&metrics).await;
    assert_eq!(text.header("content-type"), TEXT);
    assert!(
        text.body
            .contains("# TYPE deed_pool_timeouts_total counter\n")
    );
    assert!(!text.body.contains("# EOF"));
    let head = metrics.request("HEAD", "/metrics").send().await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));

    let one_line = |answer: &Answer, status: u16| {
        assert_eq!(answer.status, status, "{}", answer.body);
        assert_eq!(answer.body.lines().count(), 1, "{}", answer.body);
    };
    for path in [
        "/",
        "/livez",
        "/users",
        "/metrics/",
        "/metrics/x",
        "/openapi.json",
    ] {
        one_line(&metrics.get(path).send().await, 404);
    }
    let refused = metrics.post("/metrics", &json!({})).send().await;
    one_line(&refused, 405);
    assert_eq!(refused.header("allow"), "GET, HEAD");
    // Nor are metrics served to the world.
    let outside = server.anonymous().get("/metrics").send().await;
    outside.problem(404, "not_found");
    let root = server.root().get("/metrics").send().await;
    root.problem(404, "not_found");
}

#[tokio::test]
async fn the_listener_speaks_http_1_and_waits_for_nobody() {
    let database = Database::fresh().await;
    let server = measured(&database).await;
    let metrics = reader(&server).await;
    let base = server.metrics_base().await;
    let address = base.strip_prefix("http://").unwrap();
    // The client's preface of RFC 9113, 3.4, with an empty SETTINGS frame; a server of HTTP/2 would answer one.
    let mut http_2 = TcpStream::connect(address).await.unwrap();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    http_2.write_all(preface).await.unwrap();
    let mut answer = Vec::new();
    http_2.read_to_end(&mut answer).await.unwrap();
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 400"));

    // More connections than it serves at a time, each with half a head: they are cut, and others come to their turn.
    let mut slow = Vec::new();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\n")
            .await
            .unwrap();
        slow.push(stream);
    }
    let start = Instant::now();
    scrape(&metrics).await;
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
}

#[tokio::test]
async fn made_up_paths_and_methods_leave_the_number_of_series_as_it_was() {
    let database = Database::fresh().await;
    let server = measured(&database).await;
    let metrics = reader(&server).await;
    let client = server.anonymous();
    let send = async |numbers: std::ops::Range<u32>| {
        let requests = numbers.map(|n| {
            let client = &client;
            async move {
                let name = deed_e2e::unique();
                let (method, path) = match n % 5 {
                    0 => ("GET".to_owned(), format!("/{name}/{n}?{name}={n}")),
                    1 => ("GET".to_owned(), format!("/actions/{name}")),
                    2 => (format!("M{}", name.to_uppercase()), format!("/{name}")),
                    3 => (format!("M{n}"), format!("/users/{name}")),
                    _ => ("POST".to_owned(), format!("/problems/{name}")),
                };
                let status = client.request(&method, &path).send().await.status;
                assert!((400..500).contains(&status), "{path}: {status}");
            }
        });
        iter(requests)
            .buffer_unordered(32)
            .collect::<Vec<()>>()
            .await;
    };
    let series = async || samples(&scrape(&metrics).await.body);
    send(0..50).await;
    let before = series().await;
    send(50..10_050).await;
    let after = series().await;
    let names = |samples: &BTreeMap<String, f64>| samples.keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(names(&before), names(&after));
    let counted = |samples| sum(samples, "deed_http_requests_total", "");
    assert_eq!(counted(&after) - counted(&before), 10_000.0);
    assert!(after.len() < 1_000, "{}", after.len());
}

#[tokio::test]
async fn a_database_that_is_away_does_not_fail_the_scrape() {
    let cluster = private("metrics", &[]);
    let unused = Database::fresh().await;
    let server = Server::setup(&unused)
        .environment("DATABASE_URL", &cluster.url())
        .environment("DEED_METRICS_LISTEN", "127.0.0.1:0")
        .start(DEED)
        .await;
    let metrics = reader(&server).await;
    let found = samples(&scrape(&metrics).await.body);
    assert_eq!(found["deed_database_up"], 1.0);
    assert!(found.contains_key("deed_queue_depth{type=\"echo\",state=\"ready\"}"));

    tokio::task::spawn_blocking(move || cluster.stop())
        .await
        .unwrap()
        .unwrap();
    let down = until(SOON, async || {
        let start = Instant::now();
        let found = samples(&scrape(&metrics).await.body);
        let taken = start.elapsed();
        assert!(taken < Duration::from_secs(3), "{taken:?}");
        if found["deed_database_up"] == 0.0 {
            Ok(found)
        } else {
            Err("up")
        }
    })
    .await;
    let old: Vec<&String> = down
        .keys()
        .filter(|name| name.starts_with("deed_queue_") || name.starts_with("deed_leases{"))
        .collect();
    assert!(old.is_empty(), "{old:?}");
    assert_eq!(down["deed_listener_connected"], 0.0);
    assert!(down["deed_listener_interruptions_total"] >= 1.0);
}

#[tokio::test]
async fn an_address_in_use_is_only_a_warning() {
    let database = Database::fresh().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let server = Server::setup(&database)
        .environment("DEED_METRICS_LISTEN", &address)
        .start(DEED)
        .await;
    let live = server.anonymous().get("/livez").send().await;
    assert_eq!(live.status, 200);
    let output = server.process.output();
    let warning = output
        .lines()
        .find(|line| line.contains("no metrics are served"));
    let warning = warning.unwrap_or_else(|| panic!("no warning:\n{output}"));
    assert!(warning.contains("\"level\":\"warn\""), "{warning}");
    assert!(warning.contains(&address) && warning.contains("DEED_METRICS_LISTEN"));
}

#[tokio::test]
async fn metrics_can_be_read_while_the_server_drains() {
    let database = Database::fresh().await;
    let mut server = measured(&database).await;
    let metrics = reader(&server).await;
    let client = server.user(&ACTIONS).await;
    let body = json!({"type": "wait", "input": {"seconds": 3}});
    let asked = client.post("/actions", &body);
    let asked = asked.header("Prefer", "respond-async").send().await;
    let path = format!("/actions/{}", asked.json(202)["id"].as_str().unwrap());
    until(SOON, async || {
        let action = client.get(&path).send().await.json(200);
        if action["status"] == "running" {
            Ok(())
        } else {
            Err(action)
        }
    })
    .await;
    server.terminate();
    let draining = until(SOON, async || {
        let found = samples(&scrape(&metrics).await.body);
        if found["deed_draining"] == 1.0 {
            Ok(found)
        } else {
            Err("not yet")
        }
    })
    .await;
    assert_eq!(draining["deed_runner_slots_busy"], 1.0);
    let status = server.process.ended(DRAIN).await;
    assert_eq!(status.code(), Some(0), "{}", server.process.output());
    assert!(metrics.get("/metrics").try_send().await.is_err());
}

#[tokio::test]
async fn a_body_without_an_end_does_not_keep_its_connection() {
    let database = Database::fresh().await;
    let server = measured(&database).await;
    let base = server.metrics_base().await;
    let address = base.strip_prefix("http://").unwrap();
    for method in ["GET", "POST"] {
        let mut connection = TcpStream::connect(address).await.unwrap();
        let head = format!(
            "{method} /metrics HTTP/1.1\r\nHost: {address}\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n"
        );
        connection.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let read = connection.read_to_end(&mut answer);
        // Cut is cut: cleanly or not.
        let _ = within(SOON, "the end of the connection", read).await;
        assert!(answer.starts_with(b"HTTP/1.1 "), "{method}");
    }
}
