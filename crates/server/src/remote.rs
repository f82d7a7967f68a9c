//! A Deed server that is spoken to over HTTP, and what its answers mean at the command line.

use std::error::Error as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use deed_client::api::problem::{Fault as Wrong, Problem};
use deed_client::{Client, Error, Refusal, Retry};
use uuid::Uuid;

use crate::fault::{Exit, Fault};
use crate::output::printable;
use crate::settings::Secret;

/// When a command's requests are sent again: somebody waits for the answer.
const RETRY: Retry = Retry {
    times: 6,
    first: Duration::from_millis(100),
    longest: Duration::from_secs(2),
    deadline: Duration::from_secs(5),
};

/// The error code of a path that no operation has.
const NO_ROUTE: &str = "not_found";
const CHECK_URL: &str = "Check --url (DEED_URL), and what stands between here and the server";

/// Which server, and who calls.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Server")]
pub(crate) struct ServerArguments {
    /// Where the server is
    #[arg(
        long,
        env = "DEED_URL",
        default_value = "http://127.0.0.1:8080",
        value_name = "URL"
    )]
    url: String,

    /// The secret of the API key to call with; better given by variable or file
    #[arg(
        long,
        env = "DEED_API_KEY",
        hide_env_values = true,
        value_name = "SECRET"
    )]
    api_key: Option<Secret>,

    /// File that holds the secret; --api-key wins
    #[arg(long, env = "DEED_API_KEY_FILE", value_name = "FILE")]
    api_key_file: Option<PathBuf>,

    /// Id of the user to act for; without it, the one that the key belongs to
    #[arg(long, value_name = "ID")]
    as_user: Option<Uuid>,
}

impl ServerArguments {
    /// A client of that server. Nothing is sent yet.
    ///
    /// # Errors
    /// When there is no key, its file can't be read, or the URL is none.
    pub(crate) fn client(&self) -> Result<Client, Fault> {
        let key = match (&self.api_key, &self.api_key_file) {
            (Some(key), _) if !key.reveal().is_empty() => key.clone(),
            (_, Some(file)) => Secret::from_file(file, "DEED_API_KEY_FILE")?,
            _ => {
                return Err(Fault::new(
                    Exit::Configuration,
                    "DEED_API_KEY is not set",
                    "Set it to the secret of an API key, or name a file that holds it in DEED_API_KEY_FILE; `deed dev` keeps \
                     one in .deed/dev.key",
                ));
            }
        };
        let builder = Client::builder(&self.url)
            .api_key(key.reveal())
            .retry(RETRY);
        let client = match self.as_user {
            Some(user) => builder.as_user(user),
            None => builder,
        };
        client.build().map_err(|error| {
            Fault::new(
                Exit::Configuration,
                sentence(&error.to_string()),
                "Mend DEED_URL or DEED_API_KEY, or the flags that stand for them",
            )
        })
    }

    /// What `error` means to the person at the terminal.
    pub(crate) fn fault(&self, error: &Error) -> Fault {
        if error.is_unreachable() {
            return Fault::new(
                Exit::ServerUnreachable,
                format!(
                    "No server answers at {}: {}",
                    printable(&self.url),
                    causes(error)
                ),
                "Start one with `deed dev` or `deed serve`, or name yours with --url (DEED_URL)",
            );
        }
        if let Some(refusal) = error.refusal() {
            return self.refused(refusal);
        }
        match error {
            Error::Protocol { .. } => self.no_deed(&error.to_string()),
            Error::Invalid(what) => Fault::new(Exit::Usage, sentence(&printable(what)), ""),
            other => Fault::new(Exit::Failed, sentence(&printable(&causes(other))), ""),
        }
    }
}

impl ServerArguments {
    /// The same, of a write. Where nobody knows whether it was done, `left` says so in one sentence without a full stop.
    pub(crate) fn fault_of_write(&self, error: &Error, left: &str) -> Fault {
        let fault = self.fault(error);
        let is_unknown = match error {
            Error::Connection { is_unsent, .. } => !is_unsent,
            Error::Refused(refusal) => matches!(refusal.status, 502..=504),
            other => other.is_unreachable(),
        };
        if !is_unknown {
            return fault;
        }
        let mend = format!("{}. {}", fault.mend(), sentence(left));
        Fault::new(fault.exit, fault.cause(), mend)
    }

    /// Somebody answers who is no Deed server.
    fn no_deed(&self, what: &str) -> Fault {
        Fault::new(
            Exit::ServerRefused,
            format!(
                "What answers at {} does not speak as a Deed server does: {}",
                printable(&self.url),
                printable(what)
            ),
            CHECK_URL,
        )
    }

    fn refused(&self, refusal: &Refusal) -> Fault {
        let Some(problem) = &refusal.problem else {
            return self.no_deed(&format!("it refused with {refusal}"));
        };
        let code = problem.error.as_str();
        let exit = match refusal.status {
            // No such path is no such operation: nothing was looked for.
            404 if code == NO_ROUTE => Exit::ServerRefused,
            404 | 410 => Exit::NotFound,
            409 => Exit::Conflict,
            _ => Exit::ServerRefused,
        };
        let mut mend = mend(code).to_owned();
        if let Some(id) = &refusal.request_id {
            if !mend.is_empty() {
                mend.push_str(". ");
            }
            mend.push_str(&format!("The request was {}", printable(id)));
        }
        Fault::new(exit, said(problem), mend)
    }
}

/// The error and what caused it, on one line.
fn causes(error: &Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

/// Without a full stop, and with a capital letter.
fn sentence(text: &str) -> String {
    let text = text.trim_end_matches('.');
    let mut characters = text.chars();
    match characters.next() {
        Some(first) => first.to_uppercase().chain(characters).collect(),
        None => String::new(),
    }
}

/// The problem's message, with a line for each thing that is wrong.
fn said(problem: &Problem) -> String {
    let mut text = sentence(&printable(&problem.message));
    for Wrong {
        pointer,
        parameter,
        header,
        message,
    } in &problem.errors
    {
        let place = pointer.as_ref().or(parameter.as_ref()).or(header.as_ref());
        let place = place.map_or("the request", String::as_str);
        let line = format!("  {place}: {}", message.trim_end_matches('.'));
        text.push('\n');
        text.push_str(&printable(&line));
    }
    text
}

/// What helps against a refusal at the command line; empty where its message says all.
fn mend(code: &str) -> &'static str {
    match code {
        "invalid_api_key" => "Set DEED_API_KEY or DEED_API_KEY_FILE to the secret of a valid key",
        "insufficient_scope" => "Use a key with that scope; `deed keys create` issues one",
        NO_ROUTE => CHECK_URL,
        "user_required" => "Name the user to act for with --as-user",
        "act_as_not_allowed" => "Use a key of that user, or one with the scope users:act_as",
        "unknown_action_type" => "GET /action-types lists those that there are",
        "action_not_retryable" => "Only actions that have failed or were cancelled can be retried",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Only {
        #[command(flatten)]
        server: ServerArguments,
    }

    fn parse(arguments: &[&str]) -> ServerArguments {
        let all = std::iter::once("deed").chain(arguments.iter().copied());
        Only::try_parse_from(all).unwrap().server
    }

    fn problem(status: u16, code: &str, errors: Vec<Wrong>) -> Error {
        serde_json::from_value::<Problem>(serde_json::json!({
            "error": code, "message": "The request is not valid.", "type": "", "title": "", "status": status,
            "instance": "/", "request_id": "r-1"
        }))
        .map(|problem| Refusal {
            status,
            problem: Some(Problem { errors, ..problem }),
            request_id: Some("r-1".to_owned()),
            retry_after: None,
        })
        .map(|refusal| Error::Refused(Box::new(refusal)))
        .unwrap()
    }

    #[test]
    fn a_key_is_needed_and_comes_from_a_file_too() {
        let fault = parse(&[]).client().unwrap_err();
        assert_eq!(fault.exit, Exit::Configuration);
        assert!(fault.mend().contains("DEED_API_KEY_FILE"), "{fault}");
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("key");
        std::fs::write(&file, "deedk_x\n").unwrap();
        parse(&["--api-key-file", file.to_str().unwrap()])
            .client()
            .unwrap();
        std::fs::remove_file(&file).unwrap();
        let fault = parse(&["--api-key-file", file.to_str().unwrap()])
            .client()
            .unwrap_err();
        assert_eq!(fault.exit, Exit::SecretFile);
    }

    #[test]
    fn neither_arguments_nor_client_print_the_key() {
        let server = parse(&["--api-key", "deedk_x"]);
        assert!(!format!("{server:?}").contains("deedk_x"));
        assert!(!format!("{:?}", server.client().unwrap()).contains("deedk_x"));
    }

    #[test]
    fn a_wrong_url_is_told() {
        let fault = parse(&["--api-key", "k", "--url", "127.0.0.1"])
            .client()
            .unwrap_err();
        assert_eq!(fault.exit, Exit::Configuration);
        assert!(fault.cause().starts_with("The server's URL"), "{fault}");
    }

    #[test]
    fn a_refusal_tells_what_is_wrong_where_and_which_request_it_was() {
        let errors = vec![
            Wrong::at_pointer("#/input/text", "must be a string"),
            Wrong::in_parameter("limit", "must be a \u{1b}number"),
        ];
        let fault = parse(&[]).fault(&problem(400, "validation_failed", errors));
        assert_eq!(
            fault.to_string(),
            "The request is not valid\n  #/input/text: must be a string\n  limit: must be a \\u{1b}number.\nThe request was r-1."
        );
        assert_eq!(fault.exit, Exit::ServerRefused);
    }

    #[test]
    fn refusals_have_exit_codes() {
        for (status, code, exit) in [
            (401, "invalid_api_key", Exit::ServerRefused),
            (403, "insufficient_scope", Exit::ServerRefused),
            (404, "action_not_found", Exit::NotFound),
            (404, "not_found", Exit::ServerRefused),
            (409, "action_not_retryable", Exit::Conflict),
            (503, "unavailable", Exit::ServerRefused),
        ] {
            assert_eq!(
                parse(&[]).fault(&problem(status, code, Vec::new())).exit,
                exit
            );
        }
    }

    #[test]
    fn a_refusal_that_is_no_problem_is_no_deed_server_s() {
        let refusal = Refusal {
            status: 404,
            problem: None,
            request_id: None,
            retry_after: None,
        };
        let fault = parse(&[]).fault(&Error::Refused(Box::new(refusal)));
        assert_eq!(fault.exit, Exit::ServerRefused);
        assert!(fault.cause().contains("Not Found (404)"), "{fault}");
        assert!(fault.mend().contains("--url"), "{fault}");
    }

    #[test]
    fn silence_is_an_unreachable_server() {
        let error = Error::Timeout {
            operation: "getAction",
            limit: Duration::from_secs(30),
        };
        let fault = parse(&["--url", "http://deed.example.com"]).fault(&error);
        assert_eq!(fault.exit, Exit::ServerUnreachable);
        assert!(fault.cause().contains("http://deed.example.com"), "{fault}");
        let unsure = parse(&[]).fault_of_write(&error, "it may be so");
        assert!(unsure.mend().ends_with(". It may be so"), "{unsure}");
        let refused = problem(409, "action_not_retryable", Vec::new());
        let sure = parse(&[]).fault_of_write(&refused, "it may be so");
        assert!(!sure.mend().contains("may be so"), "{sure}");
    }
}
