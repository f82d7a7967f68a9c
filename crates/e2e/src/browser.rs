//! Chromium without a window, driven over its debugging protocol through a pipe. It reaches this machine alone.

use std::collections::HashMap;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::oneshot;

use crate::environment::variable;
use crate::wait::{SOON, until, within};

/// How long Chromium may take to start on a machine that does much else.
const START: Duration = Duration::from_secs(60);

/// What keeps it quick, quiet and at home: no name leads anywhere but to loopback.
const FLAGS: [&str; 14] = [
    "--headless",
    "--remote-debugging-pipe",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-timer-throttling",
    "--disable-renderer-backgrounding",
    "--no-first-run",
];

/// A running Chromium with a profile of its own.
pub struct Browser {
    pipe: Arc<Pipe>,
    _process: Child,
    _profile: TempDir,
}

/// A tab.
pub struct Tab {
    pipe: Arc<Pipe>,
    session: String,
}

/// Messages to Chromium, and what has come of them.
struct Pipe {
    to: tokio::sync::Mutex<ChildStdin>,
    next: AtomicU64,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Value>>>,
    /// All that was told without being asked.
    events: Mutex<Vec<Value>>,
}

impl Browser {
    /// Starts it.
    pub async fn start() -> Self {
        let profile = tempfile::tempdir().unwrap();
        // Chromium reads its third and writes its fourth file: they are this process's ends of the pipes.
        let mut command = Command::new("sh");
        command
            .args(["-c", "exec \"$@\" 3<&0 4>&1 </dev/null >&2", "sh"])
            .arg("chromium")
            .args(FLAGS)
            .arg(format!("--user-data-dir={}", profile.path().display()));
        if rustix::process::geteuid().is_root() {
            // Its sandbox takes another user. What is shown here is this repository's own.
            command.arg("--no-sandbox");
        }
        command
            .env_clear()
            .env("PATH", variable("PATH").unwrap_or_default())
            .env("HOME", profile.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        let mut process = command.spawn().unwrap();
        let pipe = Arc::new(Pipe {
            to: tokio::sync::Mutex::new(process.stdin.take().unwrap()),
            next: AtomicU64::new(1),
            waiting: Mutex::default(),
            events: Mutex::default(),
        });
        let mut from = BufReader::new(process.stdout.take().unwrap());
        let reading = Arc::clone(&pipe);
        tokio::spawn(async move {
            let mut message = Vec::new();
            while from.read_until(0, &mut message).await.is_ok_and(|n| n > 0) {
                message.pop();
                reading.take(serde_json::from_slice(&message).unwrap());
                message.clear();
            }
            // Whoever still waits hears that there is nobody.
            reading.waiting.lock().unwrap().clear();
        });
        let version = pipe.call(None, "Browser.getVersion", json!({}));
        tokio::time::timeout(START, version)
            .await
            .unwrap_or_else(|_| panic!("chromium does not answer within {START:?}"));
        Self {
            pipe,
            _process: process,
            _profile: profile,
        }
    }

    /// Opens a tab with a page, whose scripts have run when this returns.
    pub async fn open(&self, url: &str) -> Tab {
        let blank = json!({"url": "about:blank"});
        let target = self.pipe.call(None, "Target.createTarget", blank).await;
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let session = self.pipe.call(None, "Target.attachToTarget", attach).await;
        let tab = Tab {
            pipe: Arc::clone(&self.pipe),
            session: session["sessionId"].as_str().unwrap().to_owned(),
        };
        for domain in ["Page", "Runtime", "Network", "Log"] {
            tab.call(&format!("{domain}.enable"), json!({})).await;
        }
        let went = tab.call("Page.navigate", json!({"url": url})).await;
        assert_eq!(went["errorText"], Value::Null, "{url}: {went}");
        tab.until(
            SOON,
            "document.readyState === 'complete' && location.href !== 'about:blank'",
        )
        .await;
        tab
    }
}

impl Tab {
    async fn call(&self, method: &str, parameters: Value) -> Value {
        self.pipe
            .call(Some(&self.session), method, parameters)
            .await
    }

    /// The value of an expression in the page, awaited where it is a promise. Fails when it throws.
    pub async fn evaluate(&self, expression: &str) -> Value {
        let parameters =
            json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let result = self.call("Runtime.evaluate", parameters).await;
        assert_eq!(result["exceptionDetails"], Value::Null, "{expression}");
        result["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    pub async fn until(&self, limit: Duration, expression: &str) {
        until(limit, async || match self.evaluate(expression).await {
            Value::Bool(true) => Ok(()),
            other => Err(format!("{expression}: {other}")),
        })
        .await;
    }

    /// Types into the element that a selector finds, as a person does.
    pub async fn fill(&self, selector: &str, text: &str) {
        let focus = format!(
            "document.querySelector({0}).focus(), document.querySelector({0}).select()",
            json!(selector)
        );
        self.evaluate(&focus).await;
        self.call("Input.insertText", json!({"text": text})).await;
    }

    /// Clicks on the element that a selector finds.
    pub async fn click(&self, selector: &str) {
        let click = format!("document.querySelector({}).click()", json!(selector));
        self.evaluate(&click).await;
    }

    /// What was told without being asked, of one kind.
    fn told(&self, method: &str) -> Vec<Value> {
        let events = self.pipe.events.lock().unwrap();
        events
            .iter()
            .filter(|event| event["sessionId"] == self.session && event["method"] == method)
            .map(|event| event["params"].clone())
            .collect()
    }

    /// Method and address of every request that it has sent, in order; those for data of its own apart.
    #[must_use]
    pub fn requests(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        self.told("Network.requestWillBeSent")
            .iter()
            .map(|told| {
                (
                    text(&told["request"]["method"]),
                    text(&told["request"]["url"]),
                )
            })
            .filter(|(_, url)| !url.starts_with("data:"))
            .collect()
    }

    /// What went wrong in it: errors on the console, in its scripts, and of its content security policy.
    #[must_use]
    pub fn errors(&self) -> Vec<String> {
        let console = self.told("Runtime.consoleAPICalled");
        let console = console.iter().filter(|told| told["type"] == "error");
        let log = self.told("Log.entryAdded");
        let log = log.iter().filter(|told| told["entry"]["level"] == "error");
        let thrown = self.told("Runtime.exceptionThrown");
        console
            .chain(log)
            .chain(&thrown)
            .map(Value::to_string)
            .collect()
    }
}

impl Pipe {
    async fn call(&self, session: Option<&str>, method: &str, parameters: Value) -> Value {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        self.waiting.lock().unwrap().insert(id, sender);
        let mut message = json!({"id": id, "method": method, "params": parameters});
        if let Some(session) = session {
            message["sessionId"] = json!(session);
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        // Where it has ended nobody answers, and that says more.
        drop(self.to.lock().await.write_all(&bytes).await);
        let Ok(answer) = within(START, method, answer).await else {
            panic!("chromium has ended, or is not installed: `cargo xtask browser` installs it");
        };
        assert_eq!(answer["error"], Value::Null, "{method}: {answer}");
        answer["result"].clone()
    }

    fn take(&self, message: Value) {
        match message["id"].as_u64() {
            Some(id) => {
                if let Some(waiting) = self.waiting.lock().unwrap().remove(&id) {
                    drop(waiting.send(message));
                }
            }
            None => self.events.lock().unwrap().push(message),
        }
    }
}
