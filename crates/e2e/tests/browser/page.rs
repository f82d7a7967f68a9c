//! `docs/examples/stream.html`, as it stands.

use std::time::Duration;

use deed_e2e::browser::{Browser, Tab};
use deed_e2e::database::Database;
use deed_e2e::server::Server;
use deed_e2e::wait::{SOON, until};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::sync::SemaphorePermit;
use tokio::task::JoinHandle;

use crate::{ACTIONS, DEED, beside, note};

const PAGE: &str = include_str!("../../../../docs/examples/stream.html");

/// How the page reads a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Fetch,
    EventSource,
}

impl Way {
    const fn value(self) -> &'static str {
        match self {
            Self::Fetch => "fetch",
            Self::EventSource => "eventsource",
        }
    }
}

/// A web server of another origin, which has the page alone.
struct Site {
    origin: String,
    task: JoinHandle<()>,
}

impl Site {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let task = tokio::spawn(async move {
            while let Ok((mut connection, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut lines = BufReader::new(&mut connection).lines();
                    while lines
                        .next_line()
                        .await
                        .is_ok_and(|line| line.is_some_and(|line| !line.is_empty()))
                    {
                    }
                    let head = format!(
                        "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                        PAGE.len()
                    );
                    drop(connection.write_all(head.as_bytes()).await);
                    drop(connection.write_all(PAGE.as_bytes()).await);
                });
            }
        });
        Self { origin, task }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The page with what it needs; whoever serves the page may be called from it.
struct World {
    site: Site,
    server: Server,
    key: String,
    browser: Browser,
    database: Database,
    _place: SemaphorePermit<'static>,
}

impl World {
    async fn new() -> Self {
        let place = beside().await;
        let (site, database) = (Site::start().await, Database::fresh().await);
        let server = Server::setup(&database)
            .environment("DEED_CORS_ORIGINS", &site.origin)
            .start(DEED)
            .await;
        let key = server.user(&ACTIONS).await.key().unwrap().to_owned();
        Self {
            browser: Browser::start().await,
            site,
            server,
            key,
            database,
            _place: place,
        }
    }

    /// Opens the page, fills it in and performs, in one way. What comes is noted with its time.
    async fn perform(&self, way: Way, text: &str, delay_ms: u32) -> Tab {
        let tab = self.browser.open(&self.site.origin).await;
        tab.evaluate(
            "window.seen = [];
             new MutationObserver((changes) => {
               for (const change of changes)
                 for (const item of change.addedNodes) seen.push([performance.now(), item.textContent]);
             }).observe(document.getElementById('events'), { childList: true });",
        )
        .await;
        tab.fill("[name=server]", &self.server.base).await;
        tab.fill("[name=key]", &self.key).await;
        tab.fill("[name=text]", text).await;
        tab.fill("[name=delay]", &delay_ms.to_string()).await;
        tab.click(&format!("[value={}]", way.value())).await;
        tab.click("#perform").await;
        tab
    }

    /// The server, which was killed, at its address.
    async fn start_again_without_performing(&mut self) {
        let address = self.server.address().to_owned();
        self.server = Server::setup(&self.database)
            .environment("DEED_CORS_ORIGINS", &self.site.origin)
            .listen(&address)
            .runner_slots(0)
            .start(DEED)
            .await;
    }
}

async fn done(tab: &Tab, limit: Duration) {
    tab.until(
        limit,
        "document.getElementById('status').textContent === 'Done.'",
    )
    .await;
}

/// Names of all events that the page shows, which are numbered from 1 without a gap, and when each came, in
/// milliseconds.
async fn shown(tab: &Tab) -> Vec<(String, f64)> {
    let shown = tab
        .evaluate("Array.from(document.querySelectorAll('#events li'), (item, n) => [item.value, item.textContent, seen[n][0]])")
        .await;
    let shown = shown.as_array().unwrap().clone();
    let numbers: Vec<&Value> = shown.iter().map(|one| &one[0]).collect();
    let expected: Vec<Value> = (1..=shown.len()).map(Value::from).collect();
    assert_eq!(numbers, expected.iter().collect::<Vec<_>>(), "{shown:?}");
    let name = |one: &Value| {
        one[1]
            .as_str()
            .unwrap()
            .split(' ')
            .next()
            .unwrap()
            .to_owned()
    };
    shown
        .iter()
        .map(|one| (name(one), one[2].as_f64().unwrap()))
        .collect()
}

fn names(shown: &[(String, f64)]) -> Vec<&str> {
    shown.iter().map(|(name, _)| name.as_str()).collect()
}

const SIX_WORDS: [&str; 9] = [
    "created", "started", "message", "message", "message", "message", "message", "message", "done",
];

/// The paths of what a tab has asked of the server, with their methods, without queries.
fn asked(tab: &Tab, server: &Server) -> Vec<String> {
    let of_server = |(method, url): (String, String)| {
        let path = url.strip_prefix(&server.base)?;
        let path = path.split('?').next()?;
        let path = path
            .split('/')
            .map(|part| if part.len() == 36 { "{id}" } else { part });
        Some(format!("{method} {}", path.collect::<Vec<_>>().join("/")))
    };
    tab.requests().into_iter().filter_map(of_server).collect()
}

/// What the page asks in one way where nothing goes wrong. Preflights are no requests of the page.
fn expected(way: Way) -> Vec<&'static str> {
    match way {
        Way::Fetch => vec!["POST /stream"],
        Way::EventSource => vec![
            "POST /actions",
            "POST /actions/{id}/stream-ticket",
            "GET /actions/{id}/events",
        ],
    }
}

async fn chunks_come_live(way: Way) {
    let world = World::new().await;
    let tab = world.perform(way, "one two three four five six", 300).await;
    done(&tab, SOON).await;
    let shown = shown(&tab).await;
    assert_eq!(names(&shown), SIX_WORDS);
    // Said 300 ms apart, five pauses; what is held back somewhere comes at the end, or in bursts.
    let mut gaps: Vec<f64> = shown[2..8]
        .windows(2)
        .map(|two| two[1].1 - two[0].1)
        .collect();
    gaps.sort_by(f64::total_cmp);
    note(format!(
        "{way:?}: chunks said 300 ms apart were shown {gaps:.0?} ms apart"
    ));
    assert!(gaps[1] > 100.0, "{gaps:?}");
    let requests = asked(&tab, &world.server);
    let requests: Vec<&String> = requests
        .iter()
        .filter(|one| !one.starts_with("OPTIONS"))
        .collect();
    assert_eq!(requests, expected(way).iter().collect::<Vec<_>>());
    assert_eq!(tab.errors(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_come_live_by_fetch() {
    chunks_come_live(Way::Fetch).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_come_live_by_event_source() {
    chunks_come_live(Way::EventSource).await;
}

/// The server that streams is killed and comes back at its address; another performs meanwhile.
async fn goes_on_after_a_restart(way: Way) {
    let mut world = World::new().await;
    let performing = Server::start(DEED, &world.database).await;
    world.server.process.kill().await;
    world.start_again_without_performing().await;

    let tab = world.perform(way, "one two three four five six", 700).await;
    tab.until(SOON, "seen.length >= 3").await;
    world.server.process.kill().await;
    tab.until(
        SOON,
        "document.getElementById('status').textContent.startsWith('Connection lost')",
    )
    .await;
    let before = tab.evaluate("seen.length").await.as_u64().unwrap();
    world.start_again_without_performing().await;
    done(&tab, 2 * SOON).await;
    // Each once, in order, whatever was lost.
    assert_eq!(names(&shown(&tab).await), SIX_WORDS);
    assert!((3..9).contains(&before), "{before}");
    let requests = asked(&tab, &world.server);
    let connections = requests
        .iter()
        .filter(|one| *one == "GET /actions/{id}/events");
    let first = usize::from(way == Way::EventSource);
    assert!(connections.count() > first, "{requests:?}");
    drop(performing);
}

#[tokio::test(flavor = "multi_thread")]
async fn fetch_goes_on_after_a_restart() {
    goes_on_after_a_restart(Way::Fetch).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn event_source_goes_on_after_a_restart() {
    goes_on_after_a_restart(Way::EventSource).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_tabs_follow_side_by_side() {
    let world = World::new().await;
    let first = world
        .perform(Way::Fetch, "one two three four five six", 400)
        .await;
    let second = world
        .perform(Way::EventSource, "one two three four five six", 400)
        .await;
    first.until(SOON, "seen.length >= 3").await;
    done(&first, SOON).await;
    done(&second, SOON).await;
    for (tab, way) in [(&first, Way::Fetch), (&second, Way::EventSource)] {
        assert_eq!(names(&shown(tab).await), SIX_WORDS, "{way:?}");
        assert_eq!(tab.errors(), [""; 0], "{way:?}");
    }
}

/// What the browser itself does where the log is over: 204 closes an `EventSource` for good, while any other end makes
/// it come again.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_source_stops_at_the_end() {
    let world = World::new().await;
    let client = world.server.anonymous().with_key(&world.key);
    let body = json!({"type": "echo", "input": {"text": "x"}});
    let action = client.post("/actions", &body).send().await.json(201);
    let path = format!("/actions/{}", action["id"].as_str().unwrap());
    let ticket = client.request("POST", &format!("{path}/stream-ticket"));
    let ticket = ticket.send().await.json(201)["ticket"]
        .as_str()
        .unwrap()
        .to_owned();
    let tab = world.browser.open(&world.site.origin).await;
    let url = format!(
        "{}{path}/events?ticket={ticket}&last_event_id=4",
        world.server.base
    );
    let state = tab
        .evaluate(&format!(
            "new Promise((resolve) => {{
               const source = new EventSource('{url}');
               source.onerror = () => resolve([source.readyState, EventSource.CLOSED]);
             }})"
        ))
        .await;
    assert_eq!(
        state[0], state[1],
        "it is closed, and not about to reconnect"
    );
    assert_eq!(asked(&tab, &world.server), ["GET /actions/{id}/events"]);
}

/// A page whose origin is not on the list reads nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_page_sees_nothing() {
    let world = World::new().await;
    let foreign = Site::start().await;
    let tab = world.browser.open(&foreign.origin).await;
    tab.fill("[name=server]", &world.server.base).await;
    tab.fill("[name=key]", &world.key).await;
    tab.click("#perform").await;
    tab.until(
        SOON,
        "document.getElementById('status').textContent.includes('origin')",
    )
    .await;
    assert_eq!(
        tab.evaluate("document.querySelectorAll('#events li').length")
            .await,
        0
    );
    until(SOON, async || match asked(&tab, &world.server).as_slice() {
        [] => Err("nothing was asked"),
        _ => Ok(()),
    })
    .await;
}

/// The page's own reader of event streams, whatever its lines end with and wherever its pieces do.
#[tokio::test(flavor = "multi_thread")]
async fn the_parser_reads_what_comes_in_any_pieces() {
    let _place = beside().await;
    let site = Site::start().await;
    let browser = Browser::start().await;
    let tab = browser.open(&site.origin).await;
    let read = tab
        .evaluate(
            r#"(() => {
              const lines = ["retry: 7", "", "id: 1", "event: created", 'data: {"é":"€😀"}', "", ": alive", "",
                "data:a", "data: b", "data", "", "id: 3", "data:  x", "", "event: lost", "", "id: 9", "data: cut off"];
              const found = new Set();
              for (const end of ["\n", "\r", "\r\n"]) {
                const text = lines.join(end);
                for (let size = 1; size <= text.length; size++) {
                  const events = [], retries = [];
                  const parse = eventStreamParser((event) => events.push(event), (retry) => retries.push(retry));
                  for (let at = 0; at < text.length; at += size) { parse(text.slice(at, at + size)); parse(""); }
                  found.add(JSON.stringify({ events, retries }));
                }
              }
              return Array.from(found);
            })()"#,
        )
        .await;
    let found = read.as_array().unwrap();
    assert_eq!(found.len(), 1, "{read}");
    let found: Value = serde_json::from_str(found[0].as_str().unwrap()).unwrap();
    let event = |id: &str, name: &str, data: &str| json!({"id": id, "name": name, "data": data});
    let expected = json!({
        "events": [event("1", "created", "{\"é\":\"€😀\"}"), event("1", "message", "a\nb\n"), event("3", "message", " x")],
        "retries": [7],
    });
    assert_eq!(found, expected);
}
