//! The operators' pages: their commands are run as they stand, on a PostgreSQL of their own.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use deed_e2e::client::Client;
use deed_e2e::process::{Output, Process};
use deed_e2e::server::{DRAIN, ROOT_KEY, deed, open_directory};
use deed_e2e::variable;
use deed_e2e::wait::SOON;
use local_postgres::{Cluster, Installation, Options};
use rustix::process::Signal;
use serde_json::json;
use tokio_postgres::NoTls;

const DEED: &str = env!("CARGO_BIN_EXE_deed-under-test");

/// A machine that somebody operates: a PostgreSQL with an empty database, and `deed` among its programs.
struct Machine {
    cluster: Cluster,
    path: OsString,
    directory: tempfile::TempDir,
}

impl Machine {
    async fn new() -> Self {
        let directory = open_directory();
        let bin = variable("DEED_PG_BIN").map(PathBuf::from);
        let installation = Installation::find(bin.as_deref()).unwrap();
        let programs = directory.path().join("bin");
        fs::create_dir(&programs).unwrap();
        symlink(DEED, programs.join("deed")).unwrap();
        let mut path = vec![programs, installation.bin().to_owned()];
        path.extend(std::env::split_paths(&variable("PATH").unwrap()));
        let options = Options {
            user: "deed".to_owned(),
            database: "deed".to_owned(),
            ..Options::new(directory.path().join("postgres"))
        };
        let start = move || Cluster::start(&installation, &options, &mut |_| {}).unwrap();
        Self {
            cluster: tokio::task::spawn_blocking(start).await.unwrap(),
            path: std::env::join_paths(path).unwrap(),
            directory,
        }
    }

    fn url(&self) -> String {
        self.cluster.url()
    }

    /// Runs a script, and answers what it prints. Every command has to succeed.
    async fn run(&self, script: &str, variables: &[(&str, &str)]) -> String {
        let mut bash = deed("bash");
        bash.args(["-euo", "pipefail", "-c", script])
            .env("PATH", &self.path)
            .env("DATABASE_URL", self.url())
            .envs(variables.iter().copied())
            .current_dir(self.directory.path());
        let mut process = Process::start(&mut bash);
        let status = process.ended(3 * SOON).await;
        assert!(status.success(), "{script}\n{status}");
        process.lines(Output::Stdout).join("\n")
    }

    /// A server on this machine's database, and where it serves.
    async fn serve(&self) -> (Process, String) {
        let mut command = deed(DEED);
        command
            .args(["serve", "--listen", "127.0.0.1:0"])
            .env("DATABASE_URL", self.url())
            .env("DEED_METRICS_LISTEN", "off")
            .env("DEED_POOL_SIZE", "4")
            .env("DEED_ROOT_KEY", ROOT_KEY);
        let process = Process::start(&mut command);
        let base = process
            .line(SOON, |_, line| {
                let (_, rest) = line.split_once("listening on ")?;
                Some(rest.split(['"', ' ']).next()?.to_owned())
            })
            .await;
        (process, base)
    }

    async fn connect(&self) -> tokio_postgres::Client {
        let (client, connection) = tokio_postgres::connect(&self.url(), NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }
}

/// The blocks of `language` on a page, one after the other.
fn script(page: &str, language: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let text = fs::read_to_string(root.join("docs/operations").join(page)).unwrap();
    let mut script = String::new();
    let mut is_inside = false;
    for line in text.lines() {
        match line.trim_start().strip_prefix("```") {
            Some(found) => is_inside = !is_inside && found == language,
            None if is_inside => {
                script.push_str(line);
                script.push('\n');
            }
            None => {}
        }
    }
    assert!(!script.is_empty(), "{page} has no block of {language}");
    script
}

async fn stop(mut server: Process) {
    server.signal(Signal::TERM);
    assert!(server.ended(DRAIN).await.success(), "{}", server.output());
}

#[tokio::test]
async fn the_drill_restores_what_was_there() {
    let machine = Machine::new().await;
    let made = machine
        .run(
            "deed migrate up
             deed users create --email ada@example.com --name Ada
             createdb --maintenance-db=\"$DATABASE_URL\" restored",
            &[],
        )
        .await;
    assert!(!made.is_empty());
    let (server, base) = machine.serve().await;
    let root = Client::anonymous(&base).with_key(ROOT_KEY);
    let user = root.new_user().await;
    let ada = root
        .new_key(&user, &["actions:read", "actions:write"])
        .await;
    for text in ["one", "two", "three"] {
        let body = json!({"type": "echo", "input": {"text": text}});
        ada.post("/actions", &body).send().await.json(201);
    }
    stop(server).await;

    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port().to_string();
    drop(free);
    let drill = script("backup.md", "sh");
    assert_eq!(drill.matches("8089").count(), 3, "{drill}");
    let restored = machine.cluster.url_for("restored");
    let said = machine
        .run(
            &drill.replace("8089", &port),
            &[
                ("RESTORED_URL", &restored),
                ("KEY", ada.key().unwrap()),
                ("DEED_METRICS_LISTEN", "off"),
            ],
        )
        .await;
    // Two users: the one of the command line, and this one. An echo of one word has four events.
    let counts = "events|12\nfinished actions|3\nusers|2";
    assert_eq!(said.matches(counts).count(), 2, "{said}");
    assert!(said.contains(&format!("\"id\":\"{user}\"")), "{said}");
    assert!(
        machine.directory.path().join("base/PG_VERSION").is_file(),
        "there is no base backup"
    );
}

#[tokio::test]
async fn the_commands_of_an_upgrade_are_so() {
    let machine = Machine::new().await;
    let script = script("upgrade.md", "sh");
    assert!(script.contains("deed migrate validate") && script.contains("down --yes"));
    let said = machine.run(&script, &[]).await;
    // What would be taken back is what was.
    let would = said
        .lines()
        .find_map(|line| line.strip_prefix("would take back "))
        .unwrap();
    assert!(said.contains(&format!("took back {would}")), "{said}");

    let refused = deed(DEED)
        .args(["migrate", "validate"])
        .env("DATABASE_URL", machine.url())
        .output()
        .await
        .unwrap();
    assert_eq!(refused.status.code(), Some(3), "{refused:?}");
    // The page tells of every migration what its way back deletes.
    let migrations = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../migrations");
    let page = fs::read_to_string(migrations.join("../docs/operations/upgrade.md")).unwrap();
    for entry in fs::read_dir(migrations).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(
            page.contains(&format!("| `{name}` |")),
            "upgrade.md does not say what taking {name} back deletes"
        );
    }
}

#[tokio::test]
async fn a_server_takes_what_the_page_on_sizes_says() {
    let machine = Machine::new().await;
    machine.run("deed migrate up", &[]).await;
    let (server, base) = machine.serve().await;
    let root = Client::anonymous(&base).with_key(ROOT_KEY);
    let user = root.new_user().await;
    let client = root
        .new_key(&user, &["actions:read", "actions:write"])
        .await;
    let watcher = machine.connect().await;
    let body = json!({"type": "echo", "input": {"text": "a b", "delay_ms": 20}});
    let requests = (0..60).map(|_| client.post("/actions", &body).send());
    let load = futures_util::future::join_all(requests);
    let mut most = 0;
    let watching = async {
        let statement = "SELECT count(*) FROM pg_stat_activity
            WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
        loop {
            let count: i64 = watcher.query_one(statement, &[]).await.unwrap().get(0);
            most = most.max(count);
        }
    };
    tokio::select! {
        answers = load => assert!(answers.iter().all(|answer| answer.status == 201)),
        () = watching => panic!("nobody watches any more"),
    }
    // The pool's four, and the one that listens.
    assert!((2..=5).contains(&most), "{most} connections");

    let said = machine.run(&script("sizing.md", "sh"), &[]).await;
    let months = said
        .lines()
        .filter(|line| line.contains(" actions "))
        .count();
    assert_eq!(months, 4, "{said}");
    stop(server).await;
}

#[tokio::test]
async fn a_role_that_has_the_settings_has_them_without_start_up_options() {
    let machine = Machine::new().await;
    machine
        .connect()
        .await
        .batch_execute(&script("pgbouncer.md", "sql"))
        .await
        .unwrap();
    let session = machine.connect().await;
    for (name, expected) in [
        ("jit", "off"),
        ("plan_cache_mode", "force_generic_plan"),
        ("enable_seqscan", "off"),
        ("statement_timeout", "5s"),
        ("lock_timeout", "2s"),
        ("idle_in_transaction_session_timeout", "10s"),
    ] {
        let row = session.query_one(&format!("SHOW {name}"), &[]).await;
        assert_eq!(row.unwrap().get::<_, String>(0), expected, "{name}");
    }
    // What the server asks for itself is in the page, each of it.
    let pool = Path::new(env!("CARGO_MANIFEST_DIR")).join("../adapters/src/postgres/pool.rs");
    let source = fs::read_to_string(pool).unwrap();
    let (_, rest) = source.split_once("const SESSION: &str = \"").unwrap();
    let options = rest.split_once("\";").unwrap().0.split("-c ").skip(1);
    let page = script("pgbouncer.md", "sql");
    let names: Vec<&str> = options
        .map(|option| option.split_once('=').unwrap().0)
        .collect();
    assert!(names.len() > 3, "{names:?}");
    for name in names {
        assert!(page.contains(&format!(" SET {name} = ")), "{name}");
    }
}
