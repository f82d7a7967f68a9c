//! What becomes of actions with age.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use deed_e2e::client::Client;
use deed_e2e::database::Database;
use deed_e2e::server::{DRAIN, Server};
use deed_e2e::wait::{SOON, until};
use serde_json::{Value, json};

const DEED: &str = env!("CARGO_BIN_EXE_deed-under-test");
const ACTIONS: [&str; 2] = ["actions:read", "actions:write"];

/// Makes the partitions of the month so many months ago, and in its middle a copy of `action` with an id of that
/// time: finished, or scheduled for next month. Answers its id.
async fn copy(database: &Database, action: &str, months: u32, is_over: bool) -> String {
    let client = database.connect().await;
    let row = client
        .query_one(
            &format!(
                "SELECT to_char(month, 'YYYYMM'), month::text, (month + interval '1 month')::text,
                        substr(uuid_floor(month + interval '14 days')::text, 1, 14) || '7' || substr(gen_random_uuid()::text, 16)
                 FROM (SELECT date_trunc('month', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' - interval '{months} months' AS month) m"
            ),
            &[],
        )
        .await
        .unwrap();
    let [name, from, to, id]: [String; 4] = std::array::from_fn(|at| row.get(at));
    for table in ["actions", "action_results", "action_events"] {
        let sql = format!(
            "CREATE TABLE {table}_{name} (LIKE {table} INCLUDING ALL);
             DO $$ BEGIN EXECUTE format('ALTER TABLE {table} ATTACH PARTITION {table}_{name} FOR VALUES FROM (%L) TO (%L)',
                                        uuid_floor('{from}'), uuid_floor('{to}')); END $$"
        );
        client.batch_execute(&sql).await.unwrap();
    }
    let rest = if is_over {
        format!(
            "INSERT INTO action_results (action_id, user_id, last_seq, attempt, status, output)
             SELECT '{id}', user_id, last_seq, attempt, status, output FROM action_results WHERE action_id = '{action}'"
        )
    } else {
        format!(
            "INSERT INTO action_queue (action_id, user_id, rank, run_at, type_id, next_seq, priority, attempt, max_attempts)
             SELECT '{id}', user_id, 1, now() + interval '1 month', type_id, 2, priority, 0, max_attempts FROM actions WHERE id = '{action}'"
        )
    };
    let sql = format!(
        "INSERT INTO actions (id, user_id, type_id, priority, max_attempts, input)
         SELECT '{id}', user_id, type_id, priority, max_attempts, input FROM actions WHERE id = '{action}';
         INSERT INTO action_events (action_id, seq, event, data)
         SELECT '{id}', seq, event, data FROM action_events WHERE action_id = '{action}';
         {rest}"
    );
    client.batch_execute(&sql).await.unwrap();
    id
}

async fn status(client: &Client, id: &str) -> u16 {
    client.get(&format!("/actions/{id}")).send().await.status
}

async fn listed(client: &Client) -> Vec<String> {
    let list = client.get("/actions").send().await.json(200);
    assert_eq!(list["next_cursor"], Value::Null);
    let items = list["items"].as_array().unwrap();
    items
        .iter()
        .map(|item| item["id"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn old_months_go_and_their_actions_are_gone_but_for_what_is_not_over() {
    let database = Database::fresh().await;
    let before = Server::setup(&database)
        .environment("DEED_RETENTION", "3650d")
        .start(DEED)
        .await;
    let client = before.user(&ACTIONS).await;
    let body = json!({"type": "echo", "input": {"text": "a b"}});
    let new = client.post("/actions", &body).send().await.json(201);
    let new = new["id"].as_str().unwrap();
    let old = copy(&database, new, 3, true).await;
    let scheduled = copy(&database, new, 4, false).await;
    assert_eq!(status(&client, &old).await, 200);
    assert_eq!(listed(&client).await, [new, &old, &scheduled]);
    let mut before = before;
    before.terminate();
    before.process.ended(DRAIN).await;
    // It has handed the housekeeping over: else nobody would be the next before half a minute is over.
    let after = Server::start(DEED, &database).await;
    let client = Client::anonymous(&after.base).with_key(client.key().unwrap());
    until(SOON, async || match status(&client, &old).await {
        200 => Err("it is there still"),
        _ => Ok(()),
    })
    .await;
    let gone = client
        .get(&format!("/actions/{old}"))
        .send()
        .await
        .json(410);
    assert_eq!(gone["error"], "action_gone");
    let events = format!("/actions/{old}/events");
    let stream = client.get(&events).header("Last-Event-ID", "2");
    assert_eq!(stream.send().await.json(410)["error"], "action_gone");
    // What is not over is kept, with what stands in its month.
    assert_eq!(status(&client, &scheduled).await, 200);
    assert_eq!(listed(&client).await, [new, &scheduled]);
}
