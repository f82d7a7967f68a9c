//! Performs an action and prints what it says, while it says it, over as many connections as it takes.
//!
//! `DEED_API_KEY=deedk_… cargo run -p deed-client --example follow -- "one two three"`

#![expect(
    clippy::disallowed_methods,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "an example is a program of its own"
)]

use std::error::Error;
use std::time::Duration;

use deed_client::api::action::CreateAction;
use deed_client::{Client, EventKind, Outcome};
use serde_json::json;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::var("DEED_URL").unwrap_or("http://127.0.0.1:8080".to_owned());
    let key = std::env::var("DEED_API_KEY").map_err(|_| "set DEED_API_KEY")?;
    let client = Client::builder(&url).api_key(key).build()?;

    let text = std::env::args()
        .nth(1)
        .unwrap_or("one two three".to_owned());
    let echo = CreateAction::new("echo", &json!({"text": text, "delay_ms": 100}))?;
    let mut events = client
        .perform_and_follow(&echo)
        .await?
        .give_up_after(Duration::from_secs(60))
        .on_reconnect(|lost| eprintln!("{lost}"));
    eprintln!("action {}", events.action_id());

    while let Some(event) = events.next().await {
        match event?.kind()? {
            EventKind::Message(chunk) => println!("{chunk}"),
            EventKind::Retry { reason, .. } => eprintln!("another attempt follows: {reason:?}"),
            EventKind::Done(Outcome::Succeeded(output)) => eprintln!("succeeded: {output}"),
            EventKind::Done(other) => eprintln!("{other:?}"),
            // There may come to be other events; they are to be ignored.
            _ => {}
        }
    }
    Ok(())
}
