//! Performs an action and prints its output.
//!
//! `DEED_API_KEY=deedk_… cargo run -p deed-client --example perform -- "hello world"`

#![expect(
    clippy::disallowed_methods,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "an example is a program of its own"
)]

use std::error::Error;

use deed_client::Client;
use deed_client::api::action::{ActionStatus, CreateAction};
use serde_json::json;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::var("DEED_URL").unwrap_or("http://127.0.0.1:8080".to_owned());
    let key = std::env::var("DEED_API_KEY").map_err(|_| "set DEED_API_KEY")?;
    let client = Client::builder(&url).api_key(key).build()?;

    let text = std::env::args().nth(1).unwrap_or("hello".to_owned());
    let echo = CreateAction::new("echo", &json!({"text": text}))?;
    // Sent again after a lost connection, it is performed once, for it bears a random `Idempotency-Key`. With one of
    // one's own (`.idempotency_key("order-1001")`) that holds when this program itself is run again, too.
    let accepted = client.create_action(&echo).await?;

    // The server waits 10 s at the most; an action that takes longer is followed to its end.
    let mut action = accepted.action;
    if !accepted.is_over {
        let mut events = client.follow(action.id);
        while let Some(event) = events.next().await {
            event?;
        }
        action = client.get_action(action.id).await?;
    }
    match (action.status, action.output, action.error) {
        (ActionStatus::Succeeded, Some(output), _) => println!("{output}"),
        (status, _, error) => eprintln!("{} is {status:?}: {error:?}", action.id),
    }
    Ok(())
}
