//! Log lines: text on a terminal, else one JSON object a line, with the request's id on every line of a request.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};

use deed_delivery::request_id;
use env_logger::fmt::Formatter;
use log::kv::{self, Key, Value, VisitSource};
use log::{LevelFilter, Record};
use serde_json::{Map, json};

use crate::settings::{LogFormat, LogSettings};

/// Sets the process's logger. Called once; a second call changes nothing.
pub(crate) fn init(settings: &LogSettings) {
    let mut builder = filtered(&settings.filter);
    let is_json = match settings.log_format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::Auto => !io::stderr().is_terminal(),
    };
    if is_json {
        builder.format(|buffer, record| {
            let time = buffer.timestamp_millis().to_string();
            json_line(buffer, &time, record)
        });
    } else {
        builder.format(text_line);
    }
    let _ = builder.try_init();
}

/// A logger of what `filter` lets through.
fn filtered(filter: &str) -> env_logger::Builder {
    let mut builder = env_logger::Builder::new();
    builder.parse_filters(filter);
    // It logs the parameters of every statement: inputs, e-mail addresses, hashes of passwords.
    for module in ["tokio_postgres", "tokio_postgres::query"] {
        builder.filter_module(module, LevelFilter::Info);
    }
    // It calls it an error when a stranger sends what is no HTTP; whoever did so was answered.
    builder.filter_module("actix_http::h1::dispatcher", LevelFilter::Off);
    builder
}

fn json_line(out: &mut impl io::Write, time: &str, record: &Record<'_>) -> io::Result<()> {
    let mut line = Map::new();
    line.insert("time".to_owned(), json!(time));
    line.insert(
        "level".to_owned(),
        json!(record.level().as_str().to_lowercase()),
    );
    line.insert("target".to_owned(), json!(record.target()));
    line.insert("message".to_owned(), json!(record.args().to_string()));
    for (name, value) in of_the_request() {
        line.insert(name.to_owned(), json!(value));
    }
    let _ = record.key_values().visit(&mut IntoJson(&mut line));
    let mut text = serde_json::Value::Object(line).to_string();
    text.push('\n');
    out.write_all(text.as_bytes())
}

/// What every line of a request's work carries.
fn of_the_request() -> impl Iterator<Item = (&'static str, String)> {
    let id = request_id::current().map(|id| ("request_id", id.as_str().to_owned()));
    let trace = request_id::current_trace().map(|trace| ("trace_id", trace.trace_id.to_string()));
    id.into_iter().chain(trace)
}

struct IntoJson<'a>(&'a mut Map<String, serde_json::Value>);

impl<'kvs> VisitSource<'kvs> for IntoJson<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
        let value = rendered(&value);
        // A field that has no value here is left out.
        if !value.is_null() {
            self.0.entry(key.as_str()).or_insert(value);
        }
        Ok(())
    }
}

fn text_line(buffer: &mut Formatter, record: &Record<'_>) -> io::Result<()> {
    let mut fields = String::new();
    for (name, value) in of_the_request() {
        let _ = write!(fields, " {name}={value}");
    }
    let _ = record.key_values().visit(&mut IntoText(&mut fields));
    let time = buffer.timestamp_millis();
    let level = buffer.default_level_style(record.level());
    writeln!(
        buffer,
        "{time} {level}{:<5}{level:#} {}{}",
        record.level(),
        visible(&record.args().to_string()),
        visible(&fields)
    )
}

/// A field's value; an error with all its causes.
fn rendered(value: &Value<'_>) -> serde_json::Value {
    if let Some(error) = value.to_borrowed_error() {
        let mut chain = error.to_string();
        let mut next = error.source();
        while let Some(source) = next {
            let _ = write!(chain, ": {source}");
            next = source.source();
        }
        return json!(chain);
    }
    serde_json::to_value(value).unwrap_or_else(|_| json!(value.to_string()))
}

struct IntoText<'a>(&'a mut String);

impl<'kvs> VisitSource<'kvs> for IntoText<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
        match rendered(&value) {
            serde_json::Value::Null => {}
            serde_json::Value::String(text) => drop(write!(self.0, " {key}={text}")),
            other => drop(write!(self.0, " {key}={other}")),
        }
        Ok(())
    }
}

/// Control characters could forge a line, or speak to the terminal: they are shown as escapes.
fn visible(text: &str) -> String {
    if !text.chars().any(char::is_control) {
        return text.to_owned();
    }
    text.chars()
        .map(|c| {
            if c.is_control() {
                c.escape_default().to_string()
            } else {
                c.to_string()
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use log::Level;

    #[test]
    fn a_json_line_is_one_object_on_one_line() {
        let fields = [("action_id", Value::from("a-1")), ("count", Value::from(3))];
        let mut out = Vec::new();
        json_line(
            &mut out,
            "2026-01-01T00:00:00.000Z",
            &Record::builder()
                .level(Level::Warn)
                .target("deed")
                .args(format_args!("two\nlines \u{1b}[31m"))
                .key_values(&fields)
                .build(),
        )
        .unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.matches('\n').count(), 1);
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        let expected = json!({
            "time": "2026-01-01T00:00:00.000Z", "level": "warn", "target": "deed",
            "message": "two\nlines \u{1b}[31m", "action_id": "a-1", "count": 3
        });
        assert_eq!(line, expected);
    }

    #[test]
    fn a_field_without_a_value_is_left_out() {
        let (some, none) = (Some("k"), None::<&str>);
        let fields = [
            ("key_id", kv::ToValue::to_value(&some)),
            ("user_id", kv::ToValue::to_value(&none)),
        ];
        let mut out = Vec::new();
        let record = Record::builder()
            .args(format_args!("m"))
            .key_values(&fields)
            .build();
        json_line(&mut out, "t", &record).unwrap();
        let line: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!((&line["key_id"], line.get("user_id")), (&json!("k"), None));
        let mut text = String::new();
        record.key_values().visit(&mut IntoText(&mut text)).unwrap();
        assert_eq!(text, " key_id=k");
    }

    #[test]
    fn an_error_is_told_with_its_causes() {
        let cause = io::Error::other("connection refused");
        let error = deed_domain::StoreError::Unavailable(std::sync::Arc::new(cause));
        let error: &(dyn std::error::Error + 'static) = &error;
        let fields = [("error", Value::from_dyn_error(error))];
        let mut text = String::new();
        let record = Record::builder().key_values(&fields).build();
        record.key_values().visit(&mut IntoText(&mut text)).unwrap();
        assert_eq!(text, " error=the store is unavailable: connection refused");
    }

    #[test]
    fn parameters_of_statements_are_never_logged() {
        use log::{Log as _, Metadata};
        for filter in [
            "trace",
            "tokio_postgres=trace",
            "debug,tokio_postgres::query=trace",
        ] {
            let logger = filtered(filter).build();
            let query = Metadata::builder()
                .level(Level::Debug)
                .target("tokio_postgres::query")
                .build();
            assert!(!logger.enabled(&query), "{filter}");
        }
        let noise = Metadata::builder()
            .level(Level::Error)
            .target("actix_http::h1::dispatcher")
            .build();
        assert!(!filtered("info").build().enabled(&noise));
        let own = Metadata::builder()
            .level(Level::Trace)
            .target("deed_adapters")
            .build();
        assert!(filtered("trace").build().enabled(&own));
    }

    #[test]
    fn a_field_can_not_take_the_place_of_the_message() {
        let fields = [("message", Value::from("forged"))];
        let mut out = Vec::new();
        let record = Record::builder()
            .args(format_args!("true"))
            .key_values(&fields)
            .build();
        json_line(&mut out, "t", &record).unwrap();
        let line: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(line["message"], "true");
    }

    #[test]
    fn control_characters_are_shown_as_escapes() {
        assert_eq!(visible("a\r\n\u{1b}[2Jé"), "a\\r\\n\\u{1b}[2Jé");
        assert_eq!(visible("plain é"), "plain é");
    }
}
