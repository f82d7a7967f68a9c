//! `deed migrate`.

use std::time::Duration;

use deed_e2e::database::Database;
use deed_e2e::process::Process;
use deed_e2e::server::deed;
use deed_e2e::wait::{SOON, until, within};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio_postgres::Client;

use super::{DEED, NOWHERE, answers, fails, prints, run};

/// The names of all migrations, oldest first.
async fn names() -> Vec<String> {
    let database = Database::fresh().await;
    let status = answers(database.url(), &["migrate", "status"]).await;
    let migrations = status["migrations"].as_array().unwrap().clone();
    migrations
        .iter()
        .map(|migration| migration["name"].as_str().unwrap().to_owned())
        .collect()
}

/// The tables and views of the database, in order.
async fn relations(database: &Database) -> Vec<String> {
    let sql =
        "SELECT relname::text FROM pg_class WHERE relnamespace = current_schema()::regnamespace
               AND relkind IN ('r', 'p', 'v', 'i', 'I') ORDER BY 1";
    let rows = database.connect().await.query(sql, &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// Every column and index of the database, with what the catalogue says of it.
async fn shape(database: &Database) -> Vec<String> {
    let sql = "SELECT concat_ws(' ', table_name, column_name, data_type, is_nullable, column_default)
                 FROM information_schema.columns WHERE table_schema = current_schema()
               UNION ALL SELECT replace(indexdef, current_schema() || '.', '') FROM pg_indexes WHERE schemaname = current_schema()
               UNION ALL SELECT conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint
                 WHERE connamespace = current_schema()::regnamespace ORDER BY 1";
    let rows = database.connect().await.query(sql, &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn migrations_go_up_and_down_and_say_where_they_are() {
    let database = Database::fresh().await;
    let url = database.url();
    let status = prints(url, &["migrate", "status"]).await;
    assert!(
        status.lines().count() > 0 && status.lines().all(|line| line.starts_with("pending ")),
        "{status}"
    );

    let up = prints(url, &["migrate", "up"]).await;
    assert_eq!(up.lines().count(), status.lines().count(), "{up}");
    let done = prints(url, &["migrate", "status"]).await;
    assert!(
        done.lines().all(|line| line.starts_with("applied ")),
        "{done}"
    );
    let again = prints(url, &["migrate", "up"]).await;
    assert!(again.starts_with("nothing to do"), "{again}");

    let one = prints(url, &["migrate", "down", "--yes"]).await;
    assert_eq!(one.lines().count(), 1, "{one}");
    let rest = prints(url, &["migrate", "down", "--yes", "--steps", "100"]).await;
    assert!(rest.lines().all(|line| line.starts_with("took back ")));
    assert_eq!(rest.lines().count() + 1, status.lines().count(), "{rest}");
    let none = prints(url, &["migrate", "down"]).await;
    assert!(none.starts_with("nothing to do"), "{none}");
    assert_eq!(prints(url, &["migrate", "status"]).await, status);
}

#[tokio::test]
async fn a_dry_run_says_what_would_be_and_changes_nothing() {
    let database = Database::fresh().await;
    let url = database.url();
    let all = names().await;
    let dry = prints(url, &["migrate", "up", "--dry-run"]).await;
    let expected: String = all
        .iter()
        .map(|name| format!("would apply {name}\n"))
        .collect();
    assert_eq!(dry, expected);
    assert_eq!(relations(&database).await, Vec::<String>::new());
    assert_eq!(
        answers(url, &["migrate", "up", "--dry-run"]).await,
        json!({"dry_run": true, "migrations": all})
    );

    assert_eq!(
        answers(url, &["migrate", "up"]).await,
        json!({"dry_run": false, "migrations": all})
    );
    let before = relations(&database).await;
    let dry = prints(url, &["migrate", "down", "--dry-run"]).await;
    assert_eq!(dry, format!("would take back {}\n", all.last().unwrap()));
    assert_eq!(relations(&database).await, before);
}

#[tokio::test]
async fn nothing_is_taken_back_without_a_yes() {
    let database = Database::fresh().await;
    let url = database.url();
    prints(url, &["migrate", "up"]).await;
    let said = fails(url, 2, &["migrate", "down"]).await;
    assert!(said.contains("`deed migrate down --yes`"), "{said}");
    let said = fails(url, 2, &["migrate", "down", "--steps", "2"]).await;
    assert!(
        said.contains("`deed migrate down --steps 2 --yes`"),
        "{said}"
    );
    let status = answers(url, &["migrate", "status"]).await;
    assert_eq!(status["is_current"], true);
}

#[tokio::test]
async fn sql_run_by_hand_does_what_migrate_does() {
    let by_us = Database::fresh().await;
    prints(by_us.url(), &["migrate", "up"]).await;
    let by_hand = Database::fresh().await;
    let url = by_hand.url();
    let script = prints(url, &["migrate", "sql"]).await;
    assert_eq!(prints(NOWHERE, &["migrate", "sql", "--all"]).await, script);
    let client = by_hand.connect().await;
    client.batch_execute(&script).await.unwrap();
    assert_eq!(shape(&by_hand).await, shape(&by_us).await);
    prints(url, &["migrate", "validate"]).await;
    let again = prints(url, &["migrate", "up"]).await;
    assert!(again.starts_with("nothing to do"), "{again}");

    // The same script again fails at its first step and changes nothing.
    let fresh = by_hand.connect().await;
    assert!(fresh.batch_execute(&script).await.is_err());
    drop(fresh);
    assert_eq!(shape(&by_hand).await, shape(&by_us).await);

    let back = prints(url, &["migrate", "sql", "--all", "--down"]).await;
    client.batch_execute(&back).await.unwrap();
    let left = relations(&by_hand).await;
    assert_eq!(
        left,
        [
            "__diesel_schema_migrations",
            "__diesel_schema_migrations_pkey"
        ]
    );
}

#[tokio::test]
async fn sql_is_of_what_is_missing_or_of_what_comes_after_a_name() {
    let database = Database::fresh().await;
    let url = database.url();
    let all = names().await;
    prints(url, &["migrate", "up"]).await;
    prints(url, &["migrate", "down", "--yes"]).await;
    let last = all.last().unwrap();
    let before = &all[all.len() - 2];
    let missing = prints(url, &["migrate", "sql"]).await;
    assert!(
        missing.contains(&format!("-- {last}\n")) && !missing.contains(&format!("-- {before}\n"))
    );
    let after = prints(NOWHERE, &["migrate", "sql", "--from", before]).await;
    assert_eq!(after, missing);
    let back = prints(url, &["migrate", "sql", "--down"]).await;
    assert!(back.contains(&format!("-- {before}\n")), "{back}");
    let said = fails(NOWHERE, 4, &["migrate", "sql", "--from", "0999_other"]).await;
    assert!(said.contains("0999_other"), "{said}");
    prints(url, &["migrate", "up"]).await;
    assert_eq!(prints(url, &["migrate", "sql"]).await, "");
}

#[tokio::test]
async fn a_step_whose_forerunner_failed_is_refused() {
    let database = Database::fresh().await;
    let url = database.url();
    let script = prints(url, &["migrate", "sql"]).await;
    // psql goes on after an error unless it is told otherwise: each statement on its own, as it does.
    let client = database.connect().await;
    let (first, rest) = script.split_once("\n-- 0002").unwrap();
    let rest = format!("-- 0002{rest}");
    client.batch_execute(first).await.unwrap();
    let second = rest.split("\n-- 0003").next().unwrap();
    let third = format!("-- 0003{}", rest.split_once("\n-- 0003").unwrap().1);
    let third = third.split("\n-- 0004").next().unwrap().to_owned();
    let refused = client.batch_execute(&third).await.unwrap_err();
    let message = refused.as_db_error().unwrap().message().to_owned();
    assert!(message.contains("0002_actions, has failed"), "{message}");
    client.batch_execute("ROLLBACK").await.unwrap();
    client.batch_execute(second).await.unwrap();
    client.batch_execute(&third).await.unwrap();
}

#[tokio::test]
async fn validate_tells_by_its_exit_code() {
    let database = Database::fresh().await;
    let url = database.url();
    let said = fails(url, 3, &["migrate", "validate"]).await;
    assert!(
        said.contains("0001_identity") && said.contains("deed migrate up"),
        "{said}"
    );
    prints(url, &["migrate", "up"]).await;
    prints(url, &["migrate", "down", "--yes"]).await;
    let last = names().await.pop().unwrap();
    let said = fails(url, 3, &["migrate", "validate"]).await;
    assert!(said.contains(&format!("a migration: {last}")), "{said}");
    let output = run(url, &["migrate", "validate", "--format", "json"]).await;
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (output.status.code(), &answer["is_current"]),
        (Some(3), &json!(false))
    );

    prints(url, &["migrate", "up"]).await;
    let said = prints(url, &["migrate", "validate"]).await;
    assert_eq!(said, format!("up to date: {last}\n"));
}

#[tokio::test]
async fn a_database_that_is_ahead_is_fine_but_has_no_way_back() {
    let database = Database::fresh().await;
    let url = database.url();
    prints(url, &["migrate", "up"]).await;
    let newer = "INSERT INTO __diesel_schema_migrations (version) VALUES ('9999')";
    database.connect().await.batch_execute(newer).await.unwrap();
    let said = prints(url, &["migrate", "validate"]).await;
    assert!(said.contains("a newer deed has gone on to 9999"), "{said}");
    let status = answers(url, &["migrate", "status"]).await;
    assert_eq!(
        (&status["is_current"], &status["unknown"]),
        (&json!(true), &json!(["9999"]))
    );
    let up = prints(url, &["migrate", "up"]).await;
    assert!(up.starts_with("nothing to do"), "{up}");
    let said = fails(url, 5, &["migrate", "down", "--yes"]).await;
    assert!(
        said.contains("9999") && said.contains("the binary that brought it"),
        "{said}"
    );
}

/// Holds what keeps others from migrating this database.
async fn hold(database: &Database) -> Client {
    let client = database.connect().await;
    let lock =
        "SELECT pg_advisory_lock(hashtextextended('deed migrations in ' || current_schema(), 0))";
    client.batch_execute(lock).await.unwrap();
    client
}

#[tokio::test]
async fn who_migrates_waits_for_another_but_not_for_ever() {
    let database = Database::fresh().await;
    let url = database.url();
    let holder = hold(&database).await;
    let said = fails(url, 5, &["migrate", "up", "--lock-wait", "300ms"]).await;
    assert!(
        said.contains("longer than 300ms") && said.contains("pg_stat_activity"),
        "{said}"
    );
    assert_eq!(relations(&database).await, Vec::<String>::new());

    let mut command = deed(DEED);
    command.args(["migrate", "up"]).env("DATABASE_URL", url);
    let mut waiting = Process::start(&mut command);
    // It says so, and does so.
    waiting
        .line(SOON, |_, line| {
            line.contains("waiting for it").then_some(())
        })
        .await;
    drop(holder);
    assert!(waiting.ended(SOON).await.success(), "{}", waiting.output());
    prints(url, &["migrate", "validate"]).await;
}

#[tokio::test]
async fn two_at_once_migrate_once() {
    let database = Database::fresh().await;
    let url = database.url();
    let (one, other) = tokio::join!(
        answers(url, &["migrate", "up"]),
        answers(url, &["migrate", "up"])
    );
    let count = |answer: &Value| answer["migrations"].as_array().unwrap().len();
    assert_eq!(count(&one).min(count(&other)), 0, "{one} {other}");
    assert_eq!(count(&one).max(count(&other)), names().await.len());
}

#[tokio::test]
async fn two_that_take_the_same_back_take_it_back_once() {
    let database = Database::fresh().await;
    let url = database.url();
    prints(url, &["migrate", "up"]).await;
    let holder = hold(&database).await;
    let mut both = [0; 2].map(|_| {
        let mut command = deed(DEED);
        command.args(["migrate", "down", "--yes"]);
        Process::start(command.env("DATABASE_URL", url))
    });
    for one in &both {
        one.line(SOON, |_, line| {
            line.contains("waiting for it").then_some(())
        })
        .await;
    }
    drop(holder);
    let mut codes = Vec::new();
    for one in &mut both {
        codes.push(one.ended(SOON).await.code());
    }
    codes.sort();
    let [one, other] = &both;
    assert_eq!(
        codes,
        [Some(0), Some(5)],
        "{}{}",
        one.output(),
        other.output()
    );
    let status = answers(url, &["migrate", "status"]).await;
    let applied: Vec<bool> = status["migrations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["applied"].as_bool().unwrap())
        .collect();
    assert_eq!(applied.iter().filter(|applied| !**applied).count(), 1);
}

/// Reads from a terminal until `what` was written to it.
fn read_until(terminal: &mut std::fs::File, what: &str) -> String {
    use std::io::Read as _;
    let mut text = Vec::new();
    let mut part = [0; 1024];
    loop {
        let count = terminal.read(&mut part).unwrap();
        text.extend_from_slice(&part[..count]);
        let text = String::from_utf8_lossy(&text);
        if text.contains(what) {
            return text.into_owned();
        }
    }
}

#[tokio::test]
async fn ctrl_c_at_the_question_is_a_no() {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let database = Database::fresh().await;
    let url = database.url();
    prints(url, &["migrate", "up"]).await;
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap();
    let inside = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(name.to_str().unwrap())
        .unwrap();
    let mut child = deed(DEED)
        .args(["migrate", "down"])
        .env("DATABASE_URL", url)
        .stdin(inside.try_clone().unwrap())
        .stderr(inside)
        .stdout(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut terminal = std::fs::File::from(terminal);
    let asked = tokio::task::spawn_blocking(move || {
        let text = read_until(&mut terminal, "[y/N]");
        (terminal, text)
    });
    let (_terminal, text) = within(SOON, "the question", asked).await.unwrap();
    assert!(text.contains("Taking back"), "{text}");
    let pid = i32::try_from(child.id().unwrap()).unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), Signal::INT)
        .unwrap();
    let status = within(SOON, "the end", child.wait()).await.unwrap();
    assert_eq!(status.code(), Some(130));
    prints(url, &["migrate", "validate"]).await;
}

/// Stops a migration by Ctrl-C where it waits for `table`, which somebody holds in that mode.
async fn check_ctrl_c(table: &str, mode: &str) {
    let database = Database::fresh().await;
    let url = database.url();
    prints(url, &["migrate", "up"]).await;
    let there = async || {
        relations(&database)
            .await
            .contains(&"user_deletions".to_owned())
    };
    while there().await {
        prints(url, &["migrate", "down", "--yes"]).await;
    }
    let before = shape(&database).await;
    let holder = database.connect().await;
    let hold = format!("BEGIN; LOCK TABLE {table} IN {mode} MODE");
    holder.batch_execute(&hold).await.unwrap();

    let mut command = deed(DEED);
    command.args(["migrate", "up"]).env("DATABASE_URL", url);
    let mut migrating = Process::start(&mut command);
    let blocked = format!(
        "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = '{table}'::regclass"
    );
    let waiters = async |expected: i64| {
        until(SOON, async || {
            let count: i64 = holder.query_one(&blocked, &[]).await.unwrap().get(0);
            if count == expected {
                Ok(())
            } else {
                Err(count)
            }
        })
        .await;
    };
    waiters(1).await;
    migrating.signal(Signal::INT);
    let status = migrating.ended(Duration::from_secs(5)).await;
    let said = migrating.output();
    assert_eq!(status.code(), Some(130), "{said}");
    assert!(said.contains("deed migrate status"), "{said}");
    // PostgreSQL has noticed before the table is free again.
    waiters(0).await;
    holder.batch_execute("COMMIT").await.unwrap();
    assert_eq!(shape(&database).await, before);
    prints(url, &["migrate", "up"]).await;
    prints(url, &["migrate", "validate"]).await;
}

#[tokio::test]
async fn ctrl_c_in_a_migration_takes_it_back() {
    check_ctrl_c("idempotency_keys", "ACCESS EXCLUSIVE").await;
}

#[tokio::test]
async fn ctrl_c_before_a_migration_is_noted_takes_it_back() {
    check_ctrl_c("__diesel_schema_migrations", "SHARE").await;
}

#[tokio::test]
async fn a_migration_that_meets_a_lock_gives_up_and_says_so() {
    let database = Database::fresh().await;
    let url = database.url();
    prints(url, &["migrate", "up"]).await;
    prints(url, &["migrate", "down", "--yes"]).await;
    let holder = database.connect().await;
    // Whichever the newest migration changes; not those in which it is noted what was run.
    let hold = "BEGIN;
        DO $$
        DECLARE held regclass;
        BEGIN
          FOR held IN SELECT oid FROM pg_class WHERE relkind IN ('r', 'p') AND relname NOT LIKE '\\_%'
                      AND relnamespace = current_schema()::regnamespace AND NOT relispartition LOOP
            EXECUTE 'LOCK TABLE ' || held || ' IN ACCESS EXCLUSIVE MODE';
          END LOOP;
        END $$";
    holder.batch_execute(hold).await.unwrap();
    let said = fails(url, 5, &["migrate", "up", "--lock-wait", "2s"]).await;
    assert!(
        said.contains("for a table that somebody else holds")
            && said.contains("again when less is going on"),
        "{said}"
    );
    holder.batch_execute("COMMIT").await.unwrap();
    prints(url, &["migrate", "up"]).await;
}
