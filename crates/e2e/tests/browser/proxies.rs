//! Streams behind nginx and HAProxy, with the configurations of `docs/operations/proxies.md` in what Debian ships; and
//! behind an nginx that is told where the server is and nothing else: it speaks HTTP/1.0 then, and buffers what it passes
//! on unless an answer says otherwise.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use deed_e2e::client::Client;
use deed_e2e::database::Database;
use deed_e2e::process::Process;
use deed_e2e::server::{DRAIN, Server, open_directory};
use deed_e2e::stream::{Event, Item, check_whole_log};
use deed_e2e::variable;
use deed_e2e::wait::{SOON, until};
use futures_util::future::join_all;
use serde_json::json;
use tempfile::TempDir;
use tokio::process::Command;

use crate::{ACTIONS, DEED, alone, note};

const PAGE: &str = include_str!("../../../../docs/operations/proxies.md");
/// What the page says of where Deed listens.
const DOCUMENTED: &str = "127.0.0.1:8080";
/// The account of nobody.
const NOBODY: &str = "65534";
/// The proxies: the language of each one's block on the page, and which of its lines are left out.
const PROXIES: [(&str, &[&str]); 3] = [
    ("nginx", &[]),
    (
        "nginx",
        &["proxy_http_version", "proxy_set_header", "keepalive"],
    ),
    ("haproxy", &[]),
];
/// How much later than directly an event may come through a proxy.
const DELAY: Duration = Duration::from_millis(20);

/// A proxy before a server.
struct Proxy {
    name: String,
    base: String,
    _process: Process,
    _directory: TempDir,
}

impl Proxy {
    async fn start(program: &str, without: &[&str], server: &Server) -> Self {
        let directory = open_directory();
        let place = directory.path().join("proxy");
        fs::create_dir(&place).unwrap();
        fs::set_permissions(&place, fs::Permissions::from_mode(0o777)).unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let listen = free.local_addr().unwrap().to_string();
        drop(free);
        let is_kept = |line: &&str| !without.iter().any(|word| line.contains(word));
        let block: Vec<&str> = block(program).lines().filter(is_kept).collect();
        let block = block.join("\n").replace(DOCUMENTED, server.address());
        let (configuration, arguments) = match program {
            "nginx" => nginx(
                &block.replace("listen 80;", &format!("listen {listen};")),
                &place,
            ),
            _ => haproxy(
                &block.replace("bind :80", &format!("bind {listen}")),
                &place,
            ),
        };
        assert!(configuration.contains(&listen), "{configuration}");
        let file = directory.path().join("configuration");
        fs::write(&file, configuration).unwrap();
        let file = file.to_str().unwrap().to_owned();
        let arguments = arguments
            .into_iter()
            .map(|word| word.replace("FILE", &file));
        let process = Process::start(command(program).args(arguments));
        let proxy = Self {
            name: match without {
                [] => program.to_owned(),
                _ => format!("{program}, bare"),
            },
            base: format!("http://{listen}"),
            _process: process,
            _directory: directory,
        };
        let client = Client::anonymous(&proxy.base);
        until(SOON, async || match client.get("/livez").try_send().await {
            Ok(answer) if answer.status == 200 => Ok(()),
            other => Err(format!("{}: {other:?}", proxy.name)),
        })
        .await;
        proxy
    }
}

/// The block of this language on the page.
fn block(language: &str) -> &'static str {
    let (_, rest) = PAGE.split_once(&format!("\n```{language}\n")).unwrap();
    rest.split_once("\n```").unwrap().0
}

/// Debian's configuration, with this block for its sites, and with all that it writes in `place`.
fn nginx(block: &str, place: &Path) -> (String, Vec<String>) {
    let shipped = fs::read_to_string("/etc/nginx/nginx.conf")
        .expect("nginx is not installed: `cargo xtask browser` installs it");
    let is_elsewhere = |line: &&str| {
        let word = line.split_whitespace().next().unwrap_or_default();
        !["user", "pid", "error_log", "access_log", "include"].contains(&word)
    };
    let kept: Vec<&str> = shipped.lines().filter(is_elsewhere).collect();
    let kept = kept.join("\n");
    assert!(!kept.contains("proxy_buffering") && !block.contains("proxy_buffering"));
    let place = place.display();
    let mut ours = format!("include /etc/nginx/mime.types;\naccess_log off;\n{block}\n");
    for temporary in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        ours.push_str(&format!("{temporary}_temp_path {place}/{temporary};\n"));
    }
    let (before, after) = kept.split_once("http {").unwrap();
    let configuration = format!("pid {place}/pid;\n{before}http {{\n{ours}{after}\n");
    // One process, which ends with its test: a master that is killed leaves its workers behind.
    let one = "daemon off; master_process off;";
    let words = ["-e", "stderr", "-c", "FILE", "-g", one];
    (configuration, words.map(str::to_owned).to_vec())
}

fn haproxy(block: &str, _: &Path) -> (String, Vec<String>) {
    (
        format!("{block}\n"),
        ["-db", "-f", "FILE"].map(str::to_owned).to_vec(),
    )
}

/// The program, as nobody where these tests run as root.
fn command(name: &str) -> Command {
    let mut command = if rustix::process::geteuid().is_root() {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"])
            .arg(name);
        command
    } else {
        Command::new(name)
    };
    // Both lie where only root's path looks.
    let path = format!("{}:/usr/sbin:/sbin", variable("PATH").unwrap_or_default());
    command.env_clear().env("PATH", path);
    command
}

/// A server behind all of them, and a user of it.
async fn world(database: &Database, slots: u16) -> (Server, Vec<Proxy>, Client) {
    let setup = Server::setup(database).runner_slots(slots);
    let server = setup.start(DEED).await;
    let starts = PROXIES.map(|(program, without)| Proxy::start(program, without, &server));
    let proxies = join_all(starts).await;
    let client = server.user(&ACTIONS).await;
    (server, proxies, client)
}

async fn asked(client: &Client, action_type: &str, input: serde_json::Value) -> String {
    let body = json!({"type": action_type, "input": input});
    let request = client.post("/actions", &body);
    let answer = request.header("Prefer", "respond-async").send().await;
    format!(
        "/actions/{}/events",
        answer.json(202)["id"].as_str().unwrap()
    )
}

/// How much later each event came than directly, sorted.
fn delays(direct: &[Event], other: &[Event]) -> Vec<Duration> {
    let pairs = direct.iter().zip(other);
    let mut delays: Vec<Duration> = pairs
        .map(|(direct, other)| other.at.saturating_duration_since(direct.at))
        .collect();
    delays.sort_unstable();
    delays
}

/// Every event of a stream against the same event read directly at the same time. What another direct reader sees is the
/// noise of this machine.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_event_is_delayed_by_a_proxy() {
    let _machine = alone().await;
    let database = Database::fresh().await;
    let (_server, proxies, client) = world(&database, 8).await;
    let input = json!({"text": "word", "repeat": 120, "delay_ms": 50});
    let path = asked(&client, "echo", input).await;
    let read = async |client: Client| client.get(&path).stream().await.rest().await;
    let through = join_all(proxies.iter().map(|proxy| read(client.at(&proxy.base))));
    let (direct, again, through) =
        tokio::join!(read(client.clone()), read(client.clone()), through);
    check_whole_log(&direct);
    assert_eq!(direct.len(), 123);
    // The first ones may have been there before a stream was open.
    let live = |events: &[Event]| events[10..].to_vec();
    let at = |delays: &[Duration], percent: usize| delays[(delays.len() - 1) * percent / 100];
    let again = delays(&live(&direct), &live(&again));
    let noise = at(&again, 99);
    note(format!("a second direct reader: p99 {noise:.1?} later"));
    for (proxy, events) in proxies.iter().zip(through) {
        assert_eq!(events, direct, "{}", proxy.name);
        let delays = delays(&live(&direct), &live(&events));
        let (p50, p99, max) = (at(&delays, 50), at(&delays, 99), at(&delays, 100));
        note(format!(
            "{}: {} events, p50 {p50:.1?}, p99 {p99:.1?}, max {max:.1?} later than directly",
            proxy.name,
            delays.len()
        ));
        // A busy machine leaves any process waiting now and then, with or without a proxy.
        assert!(p50 <= DELAY, "{}: {delays:?}", proxy.name);
        assert!(p99 <= DELAY + noise, "{}: {delays:?}", proxy.name);
    }
}

/// A silent stream stays open behind all, and a drain ends it there as it does directly.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heartbeats_and_the_end_of_a_drain_pass() {
    let database = Database::fresh().await;
    let (mut server, proxies, client) = world(&database, 0).await;
    let path = asked(&client, "echo", json!({"text": "later"})).await;
    let mut streams = Vec::new();
    for base in proxies
        .iter()
        .map(|proxy| &proxy.base)
        .chain([&server.base])
    {
        let mut stream = client.at(base).get(&path).stream().await;
        stream.event_named("created").await;
        streams.push((base.clone(), stream));
    }
    for (base, stream) in &mut streams {
        let heartbeat = Some(Item::Comment("heartbeat".to_owned()));
        assert_eq!(stream.item().await, heartbeat, "{base}");
    }
    server.terminate();
    for (base, stream) in &mut streams {
        let item = stream.try_item().await.unwrap();
        assert_eq!(item, Some(Item::Retry(2000)), "{base}");
        assert_eq!(stream.try_item().await.unwrap(), None, "{base}");
    }
    let status = server.process.ended(DRAIN).await;
    assert_eq!(status.code(), Some(0), "{}", server.process.output());
}
