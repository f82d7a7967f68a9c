//! A worker. It says the words of `input.text` one by one, and takes over from others where they have stopped.
//!
//! `DEED_API_KEY=deedk_… cargo run -p deed-client --example worker -- demo.words`

#![expect(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "an example is a program of its own"
)]

use std::error::Error;
use std::time::Duration;

use deed_client::{Client, Failure, Job};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

#[derive(Deserialize)]
struct Text {
    text: String,
    #[serde(default)]
    delay_ms: u64,
}

/// What the next attempt has to know.
#[derive(Default, Serialize, Deserialize)]
struct Said {
    said: usize,
}

/// What this worker is for: put your own work here.
async fn say_words(job: Job, input: Text) -> Result<Said, Failure> {
    let Said { mut said } = job.checkpoint()?.unwrap_or_default();
    let words = input.text.split(' ').filter(|word| !word.is_empty());
    for word in words.skip(said) {
        tokio::select! {
            () = sleep(Duration::from_millis(input.delay_ms)) => {}
            () = job.cancelled() => return Err(Failure::retryable("failed", "stopped")),
        }
        said += 1;
        job.emit_with_checkpoint(&json!({"text": word}), &Said { said })
            .await?;
    }
    Ok(Said { said })
}

async fn perform(job: Job, input: Text) -> Result<serde_json::Value, Failure> {
    let id = job.id();
    let result = say_words(job, input).await;
    match &result {
        Ok(_) => eprintln!("{id} complete"),
        Err(failure) => eprintln!("{id} fail: {failure}"),
    }
    result.map(|Said { said }| json!({"words": said}))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let variable = |name: &str, default: &str| std::env::var(name).unwrap_or(default.to_owned());
    let key = std::env::var("DEED_API_KEY").map_err(|_| "set DEED_API_KEY")?;
    let lease = variable("LEASE_SECONDS", "30").parse()?;
    let client = Client::builder(&variable("DEED_URL", "http://127.0.0.1:8080"))
        .api_key(key)
        .build()?;

    let mut worker = client
        .worker(format!("rust-{}", std::process::id()))
        .lease(Duration::from_secs(lease))
        // What takes longer than a service manager waits is better given back at once.
        .grace(Duration::ZERO)
        .on_trouble(|trouble| eprintln!("{trouble}"));
    for action_type in std::env::args().skip(1) {
        worker = worker.on(action_type, perform);
    }
    let mut terminated = signal(SignalKind::terminate())?;
    // Ctrl-C.
    let mut interrupted = signal(SignalKind::interrupt())?;
    let stop = async move {
        tokio::select! {
            _ = terminated.recv() => {}
            _ = interrupted.recv() => {}
        }
    };
    Ok(worker.run(stop).await?)
}
