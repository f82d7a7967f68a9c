//! `deed keys`.

use std::process::Stdio;

use deed_e2e::database::Database;
use deed_e2e::server::{Server, deed};
use deed_e2e::wait::{SOON, until};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use super::{DEED, NOWHERE, answers, fails, prints, run};

/// A user with a key: the secret, and the key as it was answered.
async fn issue(database: &Database) -> (String, serde_json::Value) {
    let url = database.url();
    let create = [
        "users",
        "create",
        "--email",
        "ada@example.com",
        "--name",
        "Ada",
    ];
    prints(url, &create).await;
    let arguments = [
        "keys",
        "create",
        "--user",
        "ada@example.com",
        "--name",
        "ci",
        "--scope",
        "actions:write",
    ];
    let mut key = answers(url, &arguments).await;
    let secret = key["secret"].take().as_str().unwrap().to_owned();
    key.as_object_mut().unwrap().remove("secret");
    (secret, key)
}

#[tokio::test]
async fn a_key_is_issued_listed_and_revoked() {
    let database = Database::fresh().await;
    let server = Server::start(DEED, &database).await;
    let url = database.url();
    let (secret, key) = issue(&database).await;
    assert!(secret.starts_with("deedk_"));
    let client = server.anonymous().with_key(&secret);
    let current = client.get("/api-keys/current").send().await.json(200);
    assert_eq!(
        (&current["id"], &current["scopes"]),
        (&key["id"], &json!(["actions:write"]))
    );

    for filter in [&[][..], &["--user", "ada@example.com"], &["--all"]] {
        let listed = answers(url, &[&["keys", "list"], filter].concat()).await;
        assert_eq!(
            (&listed["items"][0]["id"], &listed["has_more"]),
            (&key["id"], &json!(false))
        );
        assert!(!listed.to_string().contains(&secret[10..]));
    }
    let id = key["id"].as_str().unwrap();
    let table = prints(url, &["keys", "list"]).await;
    assert!(table.contains(id) && table.contains("valid"), "{table}");

    let said = prints(url, &["keys", "revoke", id]).await;
    assert!(said.contains("within 1 s"), "{said}");
    until(SOON, async || {
        match client.get("/api-keys/current").send().await.status {
            401 => Ok(()),
            status => Err(status),
        }
    })
    .await;
    let again = answers(url, &["keys", "revoke", id]).await;
    assert_eq!(again["changed"], false);
    assert!(again["revoked_at"].is_string());
    let table = prints(url, &["keys", "list"]).await;
    assert!(table.contains("revoked"), "{table}");
}

#[tokio::test]
async fn a_key_of_a_disabled_user_is_issued_with_a_warning() {
    let database = Database::fresh().await;
    let url = database.url();
    prints(url, &["migrate", "up"]).await;
    issue(&database).await;
    let ada = "ada@example.com";
    let create = [
        "keys",
        "create",
        "--user",
        ada,
        "--name",
        "k",
        "--scope",
        "users:read",
    ];
    let said = async || {
        let output = run(url, &create).await;
        assert!(output.status.success(), "{output:?}");
        assert!(output.stdout.starts_with(b"deedk_"), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let said_before = said().await;
    assert!(!said_before.contains("disabled"), "{said_before}");
    prints(url, &["users", "disable", ada]).await;
    let said_then = said().await;
    assert!(said_then.contains("deed users enable"), "{said_then}");
}

#[tokio::test]
async fn what_is_wrong_with_a_key_is_said_with_a_code_of_its_own() {
    let database = Database::fresh().await;
    let url = database.url();
    prints(url, &["migrate", "up"]).await;
    let create = |user, scope| {
        [
            "keys", "create", "--user", user, "--name", "k", "--scope", scope,
        ]
    };
    let nobody = "00000000-0000-7000-8000-000000000000";
    for (code, arguments, part) in [
        (2, &create("a@b.co", "all")[..], "--scope"),
        (4, &create("nobody@b.co", "users:read"), "No user"),
        (4, &create(nobody, "users:read"), nobody),
        (4, &["keys", "revoke", nobody], nobody),
        (2, &["keys", "revoke", "ci"], "<KEY>"),
        (4, &["keys", "list", "--user", "nobody@b.co"], "No user"),
    ] {
        let said = fails(url, code, arguments).await;
        assert!(said.contains(part), "{arguments:?}: {said}");
    }
}

/// What `deed keys hash` answers to `input` on its standard input: exit code, output, what it said.
async fn hash(arguments: &[&str], input: &str) -> (Option<i32>, String, String) {
    let mut child = deed(DEED)
        .args(["keys", "hash"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // One that refuses its arguments reads nothing.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let output = child.wait_with_output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[tokio::test]
async fn a_digest_is_the_one_that_the_database_keeps() {
    let database = Database::fresh().await;
    prints(database.url(), &["migrate", "up"]).await;
    let (secret, _) = issue(&database).await;
    let kept = "SELECT encode(digest, 'hex') FROM api_key_secrets";
    let kept: String = database
        .connect()
        .await
        .query_one(kept, &[])
        .await
        .unwrap()
        .get(0);
    let (code, digest, _) = hash(&[], &format!("{secret}\n")).await;
    assert_eq!((code, digest.trim()), (Some(0), kept.as_str()));
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("secret");
    std::fs::write(&file, &secret).unwrap();
    let (_, digest, _) = hash(&["--file", file.to_str().unwrap(), "--format", "json"], "").await;
    let answer: serde_json::Value = serde_json::from_str(&digest).unwrap();
    assert_eq!(answer, json!({"sha256": kept}));
}

#[tokio::test]
async fn a_mistyped_secret_has_no_digest_and_is_not_repeated() {
    let mistyped = "deedk_ABCDEFGHIJKLMNOPQRSTUVWXYZ0123_AAAAAA";
    let (code, printed, said) = hash(&[], mistyped).await;
    assert_eq!((code, printed.as_str()), (Some(2), ""));
    assert!(
        said.contains("checksum") && !said.contains("ABCDEF"),
        "{said}"
    );
    // An argument could be read by every user of the machine.
    let (code, _, _) = hash(&[mistyped], "").await;
    assert_eq!(code, Some(2));
    let said = fails(NOWHERE, 21, &["keys", "hash", "--file", "/nowhere"]).await;
    assert!(said.contains("/nowhere"), "{said}");
    let (code, _, said) = hash(&[], &"k".repeat(1_000_000)).await;
    assert_eq!(code, Some(21));
    assert!(said.contains("larger"), "{said}");
}
