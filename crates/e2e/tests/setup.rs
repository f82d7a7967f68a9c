//! Faulty set-ups: each is said in one sentence with its cause and one with its mend, has an exit code of its own, and
//! shows no backtrace. `deed doctor` finds them too.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may panic"
)]

use std::path::PathBuf;
use std::process::Output;
use std::time::Duration;

use deed_e2e::database::{Database, private};
use deed_e2e::proxy::{Keeps, OldServer, Proxy};
use deed_e2e::server::{ROOT_KEY, Server, deed, open_directory};
use serde_json::Value;
use tokio::process::Command;

const DEED: &str = env!("CARGO_BIN_EXE_deed-under-test");
/// Nobody listens on port 1.
const NOWHERE: &str = "postgres://deed@127.0.0.1:1/deed";
/// No fault takes longer to be found.
const PATIENCE: Duration = Duration::from_secs(30);

/// A command line of `deed`, and what surrounds it.
struct Setup {
    command: Command,
}

impl Setup {
    fn new(arguments: &[&str]) -> Self {
        let mut command = deed(DEED);
        command.args(arguments);
        Self { command }
    }

    /// `deed serve` of this database on a port of its own.
    fn serve(url: &str) -> Self {
        Self::new(&["serve"])
            .with("DATABASE_URL", url)
            .with("DEED_LISTEN", "127.0.0.1:0")
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    async fn run(mut self) -> Output {
        self.command.kill_on_drop(true);
        tokio::time::timeout(PATIENCE, self.command.output())
            .await
            .unwrap_or_else(|_| panic!("{:?} does not end", self.command))
            .unwrap()
    }

    /// Ends with `code`, and says `parts` in two lines.
    async fn fails(self, code: i32, parts: &[&str]) {
        let output = self.run().await;
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{said}");
        for part in parts {
            assert!(said.contains(part), "{part:?} is not in {said:?}");
        }
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines.len(), 2, "{said}");
        assert!(lines[0].starts_with("deed: "), "{said}");
        assert!(lines.iter().all(|line| line.ends_with('.')), "{said}");
        for word in ["backtrace", "panicked", "hunter2"] {
            assert!(!said.contains(word), "{word} in {said}");
        }
    }
}

/// `url` with one more setting of its sessions.
fn with_option(url: &str, option: &str) -> String {
    let option = option.replace('=', "%3D").replace(' ', "%20");
    assert!(url.contains("options="), "{url}");
    url.replace("options=", &format!("options=-c{option}%20"))
}

async fn migrated() -> Database {
    let database = Database::fresh().await;
    let output = Setup::new(&["migrate", "up"])
        .with("DATABASE_URL", database.url())
        .run()
        .await;
    assert!(output.status.success(), "{output:?}");
    database
}

#[tokio::test]
async fn no_database() {
    Setup::new(&["serve"])
        .fails(10, &["DATABASE_URL is not set", "deed dev"])
        .await;
}

#[tokio::test]
async fn a_url_that_is_none() {
    Setup::serve("mysql://ada:hunter2@db/deed")
        .fails(10, &["DATABASE_URL is not valid", "postgres://"])
        .await;
    Setup::serve("postgres://ada:hunter2@127.0.0.1:notaport/x")
        .fails(10, &["DATABASE_URL is not valid"])
        .await;
    Setup::serve("postgres://ada:hunter2@db/deed?sslmode=require")
        .fails(10, &["TLS"])
        .await;
}

#[tokio::test]
async fn a_database_that_nobody_answers_for() {
    Setup::serve(NOWHERE)
        .fails(11, &["can't be reached", "refused", "Start PostgreSQL"])
        .await;
    Setup::serve("postgres://deed@/deed?host=%2Fnowhere")
        .fails(11, &["can't be reached"])
        .await;
}

#[tokio::test]
async fn a_database_that_does_not_exist() {
    let database = Database::fresh().await;
    let url = database.url().replace("/deed?", "/nonesuch?");
    Setup::serve(&url)
        .fails(12, &["\"nonesuch\" does not exist", "or create them"])
        .await;
}

#[tokio::test]
async fn a_postgresql_that_is_too_old() {
    let old = OldServer::start("14.9 (Debian 14.9-1)").await;
    for command in ["serve", "migrate"] {
        let setup = match command {
            "serve" => Setup::serve(&old.url()),
            _ => Setup::new(&["migrate", "status"]).with("DATABASE_URL", &old.url()),
        };
        setup
            .fails(13, &["PostgreSQL 14.9", "older than 15", "pg_upgrade"])
            .await;
    }
}

#[tokio::test]
async fn a_database_that_is_read_only() {
    let database = migrated().await;
    let url = with_option(database.url(), "default_transaction_read_only=on");
    Setup::serve(&url)
        .fails(14, &["read-only", "RESET default_transaction_read_only"])
        .await;
    Setup::new(&["migrate", "up"])
        .with("DATABASE_URL", &url)
        .fails(14, &["read-only"])
        .await;
}

#[tokio::test]
async fn a_database_that_is_behind() {
    let database = Database::fresh().await;
    Setup::serve(database.url())
        .fails(15, &["0001_identity", "`deed migrate up`", "--migrate"])
        .await;
}

#[tokio::test]
async fn a_database_that_may_lose_what_it_has_committed() {
    let database = migrated().await;
    let url = with_option(database.url(), "synchronous_commit=off");
    Setup::serve(&url)
        .fails(
            16,
            &["synchronous_commit is off", "SET synchronous_commit = on"],
        )
        .await;
    let cluster = private("setup-fsync", &[("fsync", "off")]);
    Setup::serve(&cluster.url())
        .fails(16, &["fsync is off", "ALTER SYSTEM SET fsync = on"])
        .await;
}

#[tokio::test]
async fn an_address_that_is_taken() {
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    Setup::serve(database.url())
        .with("DEED_LISTEN", server.address())
        .fails(20, &["is in use", "--listen (DEED_LISTEN)"])
        .await;
    Setup::serve(database.url())
        .with("DEED_LISTEN", "192.0.2.1:80")
        .fails(20, &["can't be listened on"])
        .await;
}

#[tokio::test]
async fn a_secrets_file_that_can_not_be_read() {
    for file in ["/nowhere/root.key", "/"] {
        Setup::serve(NOWHERE)
            .with("DEED_ROOT_KEY_FILE", file)
            .fails(21, &["DEED_ROOT_KEY_FILE", file, "can't be read"])
            .await;
    }
    Setup::new(&["serve"])
        .with("DATABASE_URL_FILE", "/nowhere/url")
        .fails(21, &["DATABASE_URL_FILE", "/nowhere/url"])
        .await;
}

#[tokio::test]
async fn a_database_url_from_a_file() {
    let database = Database::fresh().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{}\n", database.url())).unwrap();
    Setup::new(&["serve"])
        .with("DATABASE_URL_FILE", file.path().to_str().unwrap())
        .fails(15, &["0001_identity"])
        .await;
}

#[tokio::test]
async fn a_root_key_that_could_be_guessed() {
    for (key, reason) in [
        ("short", "32 characters"),
        ("changemechangemechangemechangeme", "repeats itself"),
    ] {
        Setup::serve(NOWHERE)
            .with("DEED_ROOT_KEY", key)
            .fails(22, &["too weak", reason, "openssl rand -hex 32"])
            .await;
    }
}

#[tokio::test]
async fn settings_that_make_no_sense() {
    Setup::serve(NOWHERE)
        .with("DEED_LISTN", "127.0.0.1:0")
        .fails(23, &["DEED_LISTN", "Did you mean DEED_LISTEN?"])
        .await;
    Setup::serve(NOWHERE)
        .with("DEED_WAIT", "2m")
        .fails(23, &["DEED_MAX_WAIT"])
        .await;
    Setup::serve(NOWHERE)
        .with("DEED_STREAM_MAX_AGE", "0s")
        .fails(23, &["DEED_STREAM_MAX_AGE", "1s or more"])
        .await;
    Setup::serve(NOWHERE)
        .with("DEED_CORS_ORIGINS", "*")
        .fails(23, &["\"*\" is no origin"])
        .await;
}

#[tokio::test]
async fn a_value_that_can_not_be_names_its_variable() {
    let output = Setup::serve(NOWHERE)
        .with("DEED_POOL_SIZE", "many")
        .run()
        .await;
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("'many'") && said.contains("variable DEED_POOL_SIZE"),
        "{said}"
    );
    let output = Setup::new(&["serve", "--pool-size", "many"]).run().await;
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!said.contains("variable DEED_POOL_SIZE"), "{said}");
}

#[tokio::test]
async fn a_data_directory_of_another_version() {
    let directory = open_directory();
    let dev = deed_e2e::server::Dev::start(DEED, directory.path()).await;
    dev.stop().await;
    let version = find(directory.path().join(".deed/pg"), "PG_VERSION");
    std::fs::write(version, "12\n").unwrap();
    let mut setup = Setup::new(&["dev", "--listen", "127.0.0.1:0"]);
    setup.command.current_dir(directory.path());
    setup
        .fails(31, &["PostgreSQL 12", "DEED_PG_BIN", "--directory"])
        .await;
}

#[tokio::test]
async fn no_postgresql_for_development() {
    let directory = open_directory();
    let mut setup = Setup::new(&["dev", "--listen", "127.0.0.1:0", "--pg-bin", "/nowhere"]);
    setup.command.current_dir(directory.path());
    setup
        .fails(30, &["/nowhere", "apt install postgresql"])
        .await;
}

/// The file of that name nearest to `directory`.
fn find(directory: PathBuf, name: &str) -> PathBuf {
    let mut directories = vec![directory];
    while !directories.is_empty() {
        let mut below = Vec::new();
        for directory in directories {
            let file = directory.join(name);
            if file.exists() {
                return file;
            }
            let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
            below.extend(
                entries
                    .map(|entry| entry.path())
                    .filter(|path| path.is_dir()),
            );
        }
        directories = below;
    }
    panic!("no {name}");
}

/// `deed doctor` on a sound set-up but for what `plant` changes.
async fn doctor(url: &str, plant: impl FnOnce(Setup) -> Setup) -> (Option<i32>, Vec<String>) {
    let setup = Setup::new(&["doctor", "--format", "json"])
        .with("DATABASE_URL", url)
        .with("DEED_LISTEN", "127.0.0.1:0")
        .with("DEED_ROOT_KEY", ROOT_KEY);
    let output = plant(setup).run().await;
    let report: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    let findings = report["findings"].as_array().unwrap();
    let faults = findings
        .iter()
        .filter(|finding| finding["verdict"] == "fault");
    let faults: Vec<String> = faults
        .map(|fault| {
            assert!(
                fault["mend"].as_str().is_some_and(|mend| !mend.is_empty()),
                "{fault}"
            );
            fault["check"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(report["is_well"], faults.is_empty());
    (output.status.code(), faults)
}

async fn finds(check: &str, url: &str, plant: impl FnOnce(Setup) -> Setup) {
    let (code, faults) = doctor(url, plant).await;
    assert_eq!((code, faults), (Some(3), vec![check.to_owned()]));
}

/// A database that a server has run on.
async fn served() -> Database {
    let database = Database::fresh().await;
    drop(Server::start(DEED, &database).await);
    database
}

#[tokio::test]
async fn the_doctor_is_silent_when_all_is_well() {
    let database = served().await;
    assert_eq!(doctor(database.url(), |it| it).await, (Some(0), vec![]));
    let output = Setup::new(&["doctor", "-q"])
        .with("DATABASE_URL", database.url())
        .with("DEED_LISTEN", "127.0.0.1:0")
        .run()
        .await;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(
        (output.stdout.len(), output.stderr.len()),
        (0, 0),
        "{output:?}"
    );
}

#[tokio::test]
async fn the_doctor_finds_faults_of_the_settings() {
    let database = served().await;
    let url = database.url();
    finds("variables", url, |it| it.with("DEED_POOLSIZE", "3")).await;
    finds("settings", url, |it| it.with("DEED_WAIT", "2m")).await;
    finds("root key", url, |it| {
        it.with("DEED_ROOT_KEY", &"k".repeat(40))
    })
    .await;
    finds("connections", url, |it| it.with("DEED_POOL_SIZE", "1000")).await;
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = other.local_addr().unwrap().to_string();
    finds("address", url, |it| it.with("DEED_LISTEN", &taken)).await;
    let server = Server::start(DEED, &database).await;
    let beside = doctor(url, |it| it.with("DEED_LISTEN", server.address())).await;
    assert_eq!(beside, (Some(0), vec![]), "a server of ours is no fault");
}

#[tokio::test]
async fn the_doctor_finds_a_low_limit_of_open_files() {
    let database = served().await;
    let mut command = Command::new("sh");
    command
        .env_clear()
        .env("DATABASE_URL", database.url())
        .env("DEED_LISTEN", "127.0.0.1:0")
        .args(["-c", "ulimit -n 256 && exec \"$0\" doctor -q", DEED]);
    let output = Setup { command }.run().await;
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(
        said.contains("open files") && said.contains("256"),
        "{said}"
    );
}

#[tokio::test]
async fn the_doctor_finds_faults_of_the_database() {
    let database = served().await;
    let url = database.url();
    finds("database", NOWHERE, |it| it).await;
    let old = OldServer::start("13.4").await;
    finds("database", &old.url(), |it| it).await;
    let read_only = with_option(url, "default_transaction_read_only=on");
    finds("database is writable", &read_only, |it| it).await;
    let careless = with_option(url, "synchronous_commit=off");
    finds("durability", &careless, |it| it).await;
    let proxy = Proxy::before(url, Keeps::Notifications).await;
    finds("LISTEN", &proxy.url(url), |it| it).await;
    let proxy = Proxy::before(url, Keeps::Settings).await;
    finds("sessions", &proxy.url(url), |it| it).await;

    let client = database.connect().await;
    let clock = "CREATE FUNCTION clock_timestamp() RETURNS timestamptz LANGUAGE sql
        AS 'SELECT pg_catalog.clock_timestamp() + interval ''1 hour'''";
    client.batch_execute(clock).await.unwrap();
    // What stands before pg_catalog hides what is in it.
    let wrong = url.replace("search_path%3D", "search_path%3D%22$user%22,");
    let wrong = wrong.replace("&application_name", ",pg_catalog&application_name");
    finds("clock", &wrong, |it| it).await;

    let partitions = "SELECT inhrelid::regclass::text FROM pg_inherits
        WHERE inhparent = 'action_events'::regclass ORDER BY 1 LIMIT 1";
    let row = client.query_one(partitions, &[]).await.unwrap();
    let drop = format!("DROP TABLE {}", row.get::<_, &str>(0));
    client.batch_execute(&drop).await.unwrap();
    finds("partitions", url, |it| it).await;

    let behind = Database::fresh().await;
    finds("migrations", behind.url(), |it| it).await;
}

#[tokio::test]
async fn a_healthy_server_is_told_from_one_that_is_not() {
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    let check = |address: &str, flags: &[&str]| {
        let all: Vec<&str> = ["healthcheck"].iter().chain(flags).copied().collect();
        Setup::new(&all).with("DEED_LISTEN", address)
    };
    for flags in [&[][..], &["--live"]] {
        let output = check(server.address(), flags).run().await;
        assert!(output.status.success(), "{output:?}");
        assert_eq!(output.stdout, b"ok\n");
    }
    let client = database.connect().await;
    // Readiness sees a database that lacks what this binary needs; the process lives all the same.
    client
        .batch_execute("DELETE FROM __diesel_schema_migrations WHERE version = '0002'")
        .await
        .unwrap();
    check(server.address(), &[])
        .fails(3, &["/readyz answers 503", "deed doctor"])
        .await;
    assert!(
        check(server.address(), &["--live"])
            .run()
            .await
            .status
            .success()
    );
    check("127.0.0.1:1", &[])
        .fails(40, &["No server answers"])
        .await;
}
