//! `deed healthcheck`: whether the server on this machine is well, for images that have no curl.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;

use crate::fault::{Exit, Fault};
use crate::probe;
use crate::settings::{LISTEN, duration};
use crate::terminal::say;

const EXAMPLES: &str = "\
Examples:
  deed healthcheck                        exit code 0 if the server at DEED_LISTEN is ready
  deed healthcheck --live                 the same if its process lives, whatever the database does
  HEALTHCHECK CMD [\"deed\", \"healthcheck\"]  in a Dockerfile";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Where the server listens
    #[arg(
        long,
        env = "DEED_LISTEN",
        default_value = LISTEN,
        value_name = "ADDRESS"
    )]
    listen: SocketAddr,

    /// Ask whether the process lives (/livez), not whether it can serve (/readyz)
    #[arg(long)]
    live: bool,

    /// How long the answer may take
    #[arg(long, default_value = "3s", value_parser = duration, value_name = "DURATION")]
    timeout: Duration,
}

pub(crate) async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let path = if arguments.live { "/livez" } else { "/readyz" };
    let address = probe::reachable(arguments.listen);
    let answer = probe::get(address, path, arguments.timeout)
        .await
        .map_err(|error| {
            Fault::new(
                Exit::ServerUnreachable,
                format!("No server answers at http://{address}{path}: {error}"),
                "Start it with `deed serve`, or name its address with --listen (DEED_LISTEN)",
            )
        })?;
    if answer.status == 200 {
        say("ok");
        return Ok(());
    }
    let fault = Fault::new(
        Exit::Unwell,
        format!(
            "http://{address}{path} answers {}{}",
            answer.status,
            message(&answer.body)
        ),
        "`deed doctor` says what is wrong, and the server's log since when",
    );
    Err(fault.into())
}

/// What the answer says for people, if it is one of ours.
fn message(body: &str) -> String {
    let problem: Option<serde_json::Value> = serde_json::from_str(body).ok();
    problem
        .as_ref()
        .and_then(|problem| problem.get("message")?.as_str())
        .map_or_else(String::new, |message| {
            format!(
                ": {}",
                crate::output::printable(message.trim_end_matches('.'))
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_own_words_are_told() {
        assert_eq!(
            message(r#"{"message":"The server is draining."}"#),
            ": The server is draining"
        );
        assert_eq!(message("<html>"), "");
        assert_eq!(message(r#"{"message":7}"#), "");
    }
}
