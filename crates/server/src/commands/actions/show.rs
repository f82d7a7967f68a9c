//! Actions and what they say, as text for people.

use std::fmt::Write as _;

use chrono::{DateTime, SecondsFormat, Utc};
use deed_client::api::action::{ActionBody, ActionStatus, ActionSummaryBody};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::output::{printable, table};

pub(super) fn status(status: ActionStatus) -> &'static str {
    match status {
        ActionStatus::Scheduled => "scheduled",
        ActionStatus::Queued => "queued",
        ActionStatus::Running => "running",
        ActionStatus::Succeeded => "succeeded",
        ActionStatus::Failed => "failed",
        ActionStatus::Cancelled => "cancelled",
    }
}

/// One line a member; those that have nothing to say are left out.
pub(super) fn action(action: &ActionBody) -> String {
    let ActionBody {
        id,
        r#type,
        status,
        user_id,
        api_key_id,
        input,
        output,
        error,
        attempt,
        max_attempts,
        priority,
        retry_of,
        run_at,
        created_at,
        started_at,
        finished_at,
    } = action;
    let mut text = String::new();
    let mut line = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            // Writing to a string can't fail.
            let _ = writeln!(text, "{name:<9} {}", printable(&value));
        }
    };
    line("id", Some(id.to_string()));
    line("type", Some(r#type.clone()));
    line("status", Some(self::status(*status).to_owned()));
    line("attempt", Some(format!("{attempt} of {max_attempts}")));
    line("priority", Some(priority.to_string()));
    line("user", Some(user_id.to_string()));
    line("key", api_key_id.map(|id| id.to_string()));
    line("retry of", retry_of.map(|id| id.to_string()));
    line("created", Some(time(*created_at)));
    line("due", run_at.map(time));
    line("started", started_at.map(time));
    line("finished", finished_at.map(time));
    line("input", Some(input.get().to_owned()));
    line(
        "output",
        output.as_ref().map(|output| output.get().to_owned()),
    );
    line(
        "error",
        error
            .as_ref()
            .map(|error| format!("{} ({})", error.message, error.code)),
    );
    text
}

/// A row an action.
pub(super) fn list(actions: &[ActionSummaryBody]) -> String {
    let rows: Vec<[String; 5]> = actions
        .iter()
        .map(|action| {
            [
                action.id.to_string(),
                action.r#type.clone(),
                status(action.status).to_owned(),
                time(action.created_at),
                action
                    .error
                    .as_ref()
                    .map_or_else(String::new, |error| error.code.clone()),
            ]
        })
        .collect();
    table(["ID", "TYPE", "STATUS", "CREATED", "ERROR"], &rows)
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// A chunk of output as text: a string as itself, an object with nothing but a string `text` as that, all else as the
/// JSON that it is.
pub(super) fn chunk(chunk: &RawValue) -> String {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Text {
        text: String,
    }
    let json = chunk.get();
    // A struct is also read from a list.
    let text = match json.as_bytes().first() {
        Some(b'"') => serde_json::from_str(json).ok(),
        Some(b'{') => serde_json::from_str(json).ok().map(|Text { text }| text),
        _ => None,
    };
    text.unwrap_or_else(|| json.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_its_text_or_its_json() {
        for (json, expected) in [
            (r#""a\nb""#, "a\nb"),
            (r#"{"text":"hello"}"#, "hello"),
            (r#"{"text": ""}"#, ""),
            (
                r#"{"text":"hello","more":1}"#,
                r#"{"text":"hello","more":1}"#,
            ),
            (r#"{"text":1}"#, r#"{"text":1}"#),
            (r#"["hello"]"#, r#"["hello"]"#),
            ("1.10", "1.10"),
            ("null", "null"),
        ] {
            let raw = RawValue::from_string(json.to_owned()).unwrap();
            assert_eq!(chunk(&raw), expected, "{json}");
        }
    }

    #[test]
    fn an_action_is_shown_without_what_it_does_not_have() {
        let body: ActionBody = serde_json::from_str(
            r#"{"id":"0198c0de-0000-7000-8000-0000000000c1","type":"echo","status":"failed","user_id":"0198c0de-0000-7000-8000-0000000000a1","api_key_id":null,"input":{"text": "\u001b"},"output":null,"error":{"code":"boom","message":"It broke."},"attempt":1,"max_attempts":3,"priority":5,"retry_of":null,"run_at":null,"created_at":"2026-01-31T10:00:00.004Z","started_at":null,"finished_at":"2026-01-31T10:00:01Z"}"#,
        )
        .unwrap();
        insta::assert_snapshot!("an_action", action(&body));
    }
}
