//! `deed users`.

use deed_e2e::database::Database;
use deed_e2e::process::Process;
use deed_e2e::server::{Server, deed};
use deed_e2e::wait::{SOON, until, within};
use rustix::process::Signal;
use serde_json::json;

use super::{DEED, answers, fails, prints, run};

/// A migrated database.
async fn migrated() -> Database {
    let database = Database::fresh().await;
    prints(database.url(), &["migrate", "up"]).await;
    database
}

/// Registers somebody and answers the id.
async fn create(database: &Database, name: &str) -> String {
    let email = format!("{name}@example.com");
    let arguments = ["users", "create", "--email", &email, "--name", name];
    prints(database.url(), &arguments).await.trim().to_owned()
}

#[tokio::test]
async fn a_user_is_created_shown_and_listed() {
    let database = migrated().await;
    let url = database.url();
    let arguments = [
        "users",
        "create",
        "--email",
        "Ada@example.com",
        "--name",
        "Ada",
        "--external-id",
        "crm-1",
    ];
    let ada = answers(url, &arguments).await;
    assert_eq!(
        (
            &ada["email"],
            &ada["name"],
            &ada["status"],
            &ada["external_id"]
        ),
        (
            &json!("Ada@example.com"),
            &json!("Ada"),
            &json!("active"),
            &json!("crm-1")
        )
    );
    let id = ada["id"].as_str().unwrap();
    for name in [id, "ada@EXAMPLE.com"] {
        let mut expected = ada.clone();
        expected["api_keys"] = json!(0);
        expected["actions"] = json!(0);
        assert_eq!(answers(url, &["users", "show", name]).await, expected);
        let text = prints(url, &["users", "show", name]).await;
        assert!(
            text.contains(id) && text.contains("Ada@example.com"),
            "{text}"
        );
    }
    let bea = create(&database, "bea").await;
    let table = prints(url, &["users", "list"]).await;
    let lines: Vec<&str> = table.lines().collect();
    assert!(
        lines[0].starts_with("ID ") && lines[0].contains("E-MAIL"),
        "{table}"
    );
    assert!(
        lines[1].starts_with(&bea) && lines[2].starts_with(id),
        "{table}"
    );
    for filter in [["--email", "ada@example.com"], ["--external-id", "crm-1"]] {
        let listed = answers(url, &[&["users", "list"], &filter[..]].concat()).await;
        assert_eq!(listed, json!({"items": [ada], "has_more": false}));
    }
    let none = answers(url, &["users", "list", "--status", "disabled"]).await;
    assert_eq!(none, json!({"items": [], "has_more": false}));
}

#[tokio::test]
async fn a_list_ends_at_its_limit_and_says_so() {
    let database = migrated().await;
    let url = database.url();
    let sql = "INSERT INTO users (id, email, email_key, name, status, password_hash, created_at, updated_at)
               SELECT gen_random_uuid(), n || '@example.com', n || '@example.com', 'N', 'active', '$', now(), now()
               FROM generate_series(1, 230) n";
    database.connect().await.batch_execute(sql).await.unwrap();
    let output = run(url, &["users", "list"]).await;
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 51);
    assert!(String::from_utf8_lossy(&output.stderr).contains("--all"));
    let some = answers(url, &["users", "list", "--limit", "210"]).await;
    assert_eq!(
        (some["items"].as_array().unwrap().len(), &some["has_more"]),
        (210, &json!(true))
    );
    let all = answers(url, &["users", "list", "--all"]).await;
    assert_eq!(
        (all["items"].as_array().unwrap().len(), &all["has_more"]),
        (230, &json!(false))
    );
}

#[tokio::test]
async fn what_is_wrong_with_a_user_is_said_with_a_code_of_its_own() {
    let database = migrated().await;
    let url = database.url();
    create(&database, "ada").await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("password");
    std::fs::write(&file, "only ten c\n").unwrap();
    let file = file.to_str().unwrap();
    let with_file = |file| {
        [
            "users",
            "create",
            "--email",
            "b@b.co",
            "--name",
            "B",
            "--password-file",
            file,
        ]
    };
    let nobody = "00000000-0000-7000-8000-000000000000";
    for (code, arguments, part) in [
        (
            2,
            &["users", "create", "--email", "nobody", "--name", "A"][..],
            "--email",
        ),
        (
            2,
            &["users", "create", "--email", "a@b.co", "--name", ""],
            "--name",
        ),
        (21, &with_file("/nowhere"), "/nowhere"),
        (
            22,
            &[&with_file(file)[..], &["--password-min", "11"]].concat(),
            "DEED_PASSWORD_MIN",
        ),
        (
            5,
            &[
                "users",
                "create",
                "--email",
                "ADA@example.com",
                "--name",
                "A",
            ],
            "already exists",
        ),
        (
            4,
            &["users", "show", "nobody@b.co"],
            "No user has this e-mail address",
        ),
        (4, &["users", "disable", nobody], nobody),
        (4, &["users", "delete", nobody, "--yes"], nobody),
        (
            2,
            &["users", "show", "ada"],
            "neither an id nor an e-mail address",
        ),
    ] {
        let said = fails(url, code, arguments).await;
        assert!(said.contains(part), "{arguments:?}: {said}");
    }
    prints(url, &with_file(file)).await;
    let mut command = deed(DEED);
    command
        .args([
            "users",
            "create",
            "--email",
            "c@b.co",
            "--name",
            "C",
            "--password-file",
            file,
        ])
        .env("DATABASE_URL", url)
        .env("DEED_PASSWORD_MIN", "11");
    let refused = command.output().await.unwrap();
    assert_eq!(refused.status.code(), Some(22));
}

#[tokio::test]
async fn disabling_ends_a_users_keys_and_is_said_twice_alike() {
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    let url = database.url();
    let id = create(&database, "ada").await;
    let key = [
        "keys",
        "create",
        "--user",
        &id,
        "--name",
        "k",
        "--scope",
        "actions:write",
    ];
    let secret = prints(url, &key).await;
    let client = server.anonymous().with_key(secret.trim());
    client.get("/users/me").send().await.json(200);

    let said = prints(url, &["users", "disable", "ada@example.com"]).await;
    assert!(said.contains("within 1 s") && said.contains(&id), "{said}");
    let me = async |expected| {
        until(SOON, async || {
            match client.get("/users/me").send().await.status {
                status if status == expected => Ok(()),
                status => Err(status),
            }
        })
        .await;
    };
    me(401).await;
    let again = prints(url, &["users", "disable", &id]).await;
    assert_eq!(again, format!("User {id} is disabled already.\n"));
    let answer = answers(url, &["users", "enable", &id]).await;
    assert_eq!(
        (&answer["status"], &answer["changed"]),
        (&json!("active"), &json!(true))
    );
    me(200).await;
    let answer = answers(url, &["users", "enable", &id]).await;
    assert_eq!(answer["changed"], false);
}

#[tokio::test]
async fn a_deleted_user_is_gone_with_all_that_it_did() {
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    let url = database.url();
    let id = create(&database, "ada").await;
    let key = [
        "keys",
        "create",
        "--user",
        &id,
        "--name",
        "k",
        "--scope",
        "actions:write",
        "--scope",
        "actions:read",
    ];
    let secret = prints(url, &key).await;
    let client = server.anonymous().with_key(secret.trim());
    let body = json!({"type": "echo", "input": {"text": "a secret word"}});
    client.post("/actions", &body).send().await.json(201);
    // One is being performed, and followed, while its user goes.
    let body = json!({"type": "wait", "input": {"seconds": 60}});
    let mut stream = client.post("/stream", &body).stream().await;
    stream.event_named("started").await;

    let said = fails(url, 2, &["users", "delete", "ada@example.com"]).await;
    assert!(
        said.contains("1 API key and 2 actions")
            && said.contains(&format!("`deed users delete {id} --yes`")),
        "{said}"
    );
    let answer = answers(url, &["users", "delete", "ada@example.com", "--yes"]).await;
    assert_eq!(
        (&answer["id"], &answer["api_keys"], &answer["actions"]),
        (&json!(id), &json!(1), &json!(2))
    );
    assert!(
        answer["stays"].as_array().unwrap()[0]
            .as_str()
            .unwrap()
            .contains("audit")
    );

    within(SOON, "the end of the stream", stream.rest()).await;
    until(SOON, async || {
        match client.get("/users/me").send().await.status {
            401 => Ok(()),
            status => Err(status),
        }
    })
    .await;
    fails(url, 4, &["users", "show", "ada@example.com"]).await;
    let left = "SELECT (SELECT count(*) FROM users) + (SELECT count(*) FROM api_keys) + (SELECT count(*) FROM actions)
                     + (SELECT count(*) FROM action_events) + (SELECT count(*) FROM action_results)
                     + (SELECT count(*) FROM action_queue) + (SELECT count(*) FROM action_leases)";
    let count: i64 = database
        .connect()
        .await
        .query_one(left, &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(count, 0);
    // The address is free, and means somebody else now.
    assert_ne!(create(&database, "ada").await, id);
    server.anonymous().get("/readyz").send().await.json(200);
}

#[tokio::test]
async fn an_interrupted_deletion_is_gone_on_with() {
    let database = migrated().await;
    let url = database.url();
    let id = create(&database, "ada").await;
    let client = database.connect().await;
    let seed = format!(
        "INSERT INTO action_types (name, performed_by, max_attempts, attempt_timeout_ms, lease_ms, retry_initial_ms, retry_factor, retry_max_ms)
           VALUES ('t', 'handler', 3, 1000, 1000, 0, 1, 0);
         CREATE TABLE actions_all PARTITION OF actions DEFAULT;
         CREATE TABLE action_events_all PARTITION OF action_events DEFAULT;
         CREATE TABLE action_results_all PARTITION OF action_results DEFAULT;
         INSERT INTO actions (id, user_id, type_id, priority, max_attempts, input)
           SELECT gen_random_uuid(), '{id}', t.id, 5, 3, '{{}}' FROM action_types t, generate_series(1, 900);
         INSERT INTO action_results (action_id, user_id, last_seq, attempt, status) SELECT id, user_id, 1, 1, 'succeeded' FROM actions;
         INSERT INTO action_events (action_id, seq, event, data) SELECT id, 1, 'done', '{{}}' FROM actions"
    );
    client.batch_execute(&seed).await.unwrap();
    // Somebody holds one of the actions, so that the deletion stops in the middle of the work.
    let last = "SELECT min(id::text) FROM actions";
    let held: String = client.query_one(last, &[]).await.unwrap().get(0);
    let hold = format!("BEGIN; SELECT FROM actions WHERE id = '{held}' FOR UPDATE");
    client.batch_execute(&hold).await.unwrap();
    let mut command = deed(DEED);
    // No limit of a request ends it before the signal does.
    let patient = "options=-clock_timeout%3D0%20-cstatement_timeout%3D0%20-csearch_path";
    command.args(["users", "delete", &id, "--yes"]).env(
        "DATABASE_URL",
        url.replace("options=-csearch_path", patient),
    );
    let mut deleting = Process::start(&mut command);
    let observer = database.connect().await;
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name = current_setting('application_name')";
    until(SOON, async || {
        let count: i64 = observer.query_one(waiting, &[]).await.unwrap().get(0);
        if count >= 1 { Ok(()) } else { Err(count) }
    })
    .await;
    deleting.signal(Signal::INT);
    let status = deleting.ended(SOON).await;
    assert_eq!(status.code(), Some(130), "{}", deleting.output());
    assert!(
        deleting
            .output()
            .contains("removed by the next server that runs"),
        "{}",
        deleting.output()
    );
    // It is nobody already.
    fails(url, 4, &["users", "show", &id]).await;
    client.batch_execute("COMMIT").await.unwrap();

    // The same command again goes on; the time after that there is nothing.
    let answer = answers(url, &["users", "delete", &id, "--yes"]).await;
    assert_eq!(answer["id"], json!(id));
    let left = "SELECT (SELECT count(*) FROM actions) + (SELECT count(*) FROM action_events)";
    let count: i64 = client.query_one(left, &[]).await.unwrap().get(0);
    assert_eq!(count, 0);
    fails(url, 4, &["users", "delete", &id, "--yes"]).await;
}
