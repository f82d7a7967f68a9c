//! PostgreSQL that is there and refuses: no room, no writing, no more clients.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use deed_e2e::client::{Answer, Client};
use deed_e2e::cluster::OwnPostgres;
use deed_e2e::server::{Server, open_directory};
use deed_e2e::unique;
use deed_e2e::wait::{SOON, until};
use futures_util::future::join_all;
use serde_json::json;
use tempfile::TempDir;

use crate::{ACTIONS, DEED, alone, beside, check_honest, note};

const PROMISED: Duration = Duration::from_millis(2_500);
const BACK: Duration = Duration::from_secs(3);

async fn submit(client: &Client, text: &str) -> Answer {
    let body = json!({"type": "echo", "input": {"text": text}});
    let request = client.post("/actions", &body);
    request.header("Prefer", "respond-async").send().await
}

/// Waits until writing is possible again, and notes when.
async fn check_back(fault: &str, client: &Client) {
    let start = Instant::now();
    until(BACK, async || {
        let answer = submit(client, "back").await;
        check_honest(&answer, &[202]);
        if answer.status == 202 {
            Ok(())
        } else {
            Err(answer)
        }
    })
    .await;
    note(
        fault,
        format!(
            "503 meanwhile; back after {} ms",
            start.elapsed().as_millis()
        ),
    );
}

#[tokio::test]
async fn a_database_that_only_reads_is_read_and_not_written() {
    let _machine = beside().await;
    let postgres = OwnPostgres::start("read-only", &[]).await;
    let database = postgres.database();
    let server = Server::start(DEED, &database).await;
    let client = server.user(&ACTIONS).await;
    let admin = database.connect().await;
    let set = async |value: &str| {
        let statement = format!("ALTER SYSTEM SET default_transaction_read_only = {value}");
        // Each a transaction of its own, and this session may always write.
        admin
            .batch_execute("SET default_transaction_read_only = off")
            .await
            .unwrap();
        admin.batch_execute(&statement).await.unwrap();
        admin
            .batch_execute("SELECT pg_reload_conf()")
            .await
            .unwrap();
    };
    set("on").await;
    until(SOON, async || {
        let answer = submit(&client, "a").await;
        check_honest(&answer, &[202]);
        if answer.status == 503 {
            Ok(())
        } else {
            Err(answer)
        }
    })
    .await;
    for _ in 0..10 {
        let start = Instant::now();
        check_honest(&submit(&client, "a").await, &[]);
        assert!(start.elapsed() <= PROMISED, "{:?}", start.elapsed());
        client.get("/actions").send().await.json(200);
    }
    set("off").await;
    check_back("PostgreSQL read-only", &client).await;
}

#[tokio::test]
async fn without_room_for_another_client_the_answer_is_503() {
    let _machine = beside().await;
    let postgres = OwnPostgres::start("too-many", &[("max_connections", "20")]).await;
    let database = postgres.database();
    let server = Server::start(DEED, &database).await;
    let client = server.user(&ACTIONS).await;
    // Others take every place that there is, and those that the server loses.
    let mut others = Vec::new();
    until(SOON, async || {
        loop {
            match database.try_connect().await {
                Ok(other) => others.push(other),
                Err(error) if error.contains("too many clients") => break,
                Err(error) => panic!("{error}"),
            }
        }
        let own = others.first().unwrap();
        let statement = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
            WHERE application_name LIKE 'e2e_%'";
        let ended: i64 = own.query_one(statement, &[]).await.unwrap().get(0);
        if ended == 0 { Ok(()) } else { Err(ended) }
    })
    .await;
    let ask = async |number: usize| {
        let start = Instant::now();
        let answer = match number % 2 {
            0 => client.get("/actions").send().await,
            _ => submit(&client, "a").await,
        };
        (answer, start.elapsed())
    };
    for (answer, taken) in join_all((0..20).map(ask)).await {
        check_honest(&answer, &[]);
        assert!(taken <= PROMISED, "{taken:?}");
    }
    drop(others);
    check_back("too many clients", &client).await;
}

/// A file system of a few megabytes; unmounted when dropped.
struct Small {
    directory: TempDir,
}

impl Small {
    /// Mounts it for the owner of `of`; `None` where that is not allowed.
    fn mount(of: &PathBuf) -> Option<Self> {
        let owner = std::fs::metadata(of).unwrap();
        let directory = open_directory();
        let options = format!("size=6m,mode=700,uid={},gid={}", owner.uid(), owner.gid());
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "deed-e2e"]);
        let output = mount.arg(directory.path()).output().ok()?;
        output.status.success().then_some(Self { directory })
    }

    fn grow(&self) {
        let mut mount = Command::new("mount");
        mount.args(["-o", "remount,size=64m"]);
        let status = mount.arg(self.directory.path()).status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let mut unmount = Command::new("umount");
        // Lazily: PostgreSQL is still there.
        let status = unmount.arg("-l").arg(self.directory.path()).status();
        assert!(status.unwrap().success());
    }
}

#[tokio::test]
async fn a_full_disk_is_said_to_be_none_of_the_clients_business() {
    let _machine = alone().await;
    let postgres = OwnPostgres::start("full", &[("checkpoint_timeout", "30s")]).await;
    let Some(small) = Small::mount(&postgres.data_directory()) else {
        note(
            "disk full",
            "LEFT OUT: a small file system can't be mounted here; run the tests as root",
        );
        return;
    };
    let database = postgres.database();
    let admin = database.connect().await;
    let location = small.directory.path().display();
    admin
        .batch_execute(&format!("CREATE TABLESPACE small LOCATION '{location}'"))
        .await
        .unwrap();
    admin
        .batch_execute("ALTER ROLE deed SET default_tablespace = small")
        .await
        .unwrap();
    let server = Server::start(DEED, &database).await;
    let client = server.user(&ACTIONS).await;
    // Nothing that compresses.
    let text: String = (0..4_000).map(|_| unique()).collect();
    let mut stored = Vec::new();
    let mut refused = 0;
    until(SOON, async || {
        let start = Instant::now();
        let answer = submit(&client, &text).await;
        assert!(start.elapsed() <= PROMISED, "{:?}", start.elapsed());
        check_honest(&answer, &[202]);
        if answer.status == 202 {
            stored.push(answer.json(202)["id"].as_str().unwrap().to_owned());
            return Err(refused);
        }
        refused += 1;
        if refused >= 20 { Ok(()) } else { Err(refused) }
    })
    .await;
    client.get("/actions").send().await.json(200);
    small.grow();
    check_back("disk full", &client).await;
    for id in stored {
        until(SOON, async || {
            let action = client.get(&format!("/actions/{id}")).send().await.json(200);
            if action["status"] == "succeeded" {
                Ok(())
            } else {
                Err(action["status"].clone())
            }
        })
        .await;
    }
    drop(server);
    drop(postgres);
}
