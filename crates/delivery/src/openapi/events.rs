//! Event streams, as the document describes them: what a stream is made of, event by event.
//!
//! OpenAPI 3.1 has no words for a stream. It has JSON Schema's for text that holds something: a stream is text whose
//! content is a list of events, and an event's data is text whose content is JSON.

use deed_domain::action::{EventName, RetryReason, Sequence};
use serde_json::{Map, Value, json};

/// What an answer of a stream refers to.
pub(super) const STREAM: &str = "#/components/schemas/EventStream";

/// One kind of event.
struct Kind {
    name: EventName,
    /// What its schemas' names begin with.
    title: &'static str,
    description: &'static str,
    data: Value,
}

fn kinds() -> [Kind; 6] {
    let error = json!({ "$ref": "#/components/schemas/ActionErrorBody" });
    let kind = |name, title, description, data| Kind {
        name,
        title,
        description,
        data,
    };
    [
        kind(
            EventName::Created,
            "Created",
            "The action was accepted. The first of every log.",
            json!({
                "description": "What `created` says.",
                "type": "object",
                "required": ["action_id"],
                "properties": {
                    "action_id": { "description": "The action's id.", "type": "string", "format": "uuid" },
                },
            }),
        ),
        kind(
            EventName::Started,
            "Started",
            "An attempt began.",
            json!({
                "description": "What `started` says.",
                "type": "object",
                "required": ["attempt"],
                "properties": {
                    "attempt": { "description": "Which attempt: 1, 2, …", "type": "integer", "minimum": 1 },
                },
            }),
        ),
        kind(
            EventName::Message,
            "Message",
            "One chunk of output.",
            json!({ "description": "What `message` says: any JSON, as its performer wrote it." }),
        ),
        kind(
            EventName::Progress,
            "Progress",
            "How far the action is, by its performer's word.",
            json!({
                "description": "What `progress` says.",
                "type": "object",
                "properties": {
                    "percent": { "description": "How much is done.", "type": "integer", "minimum": 0, "maximum": 100 },
                    "note": { "description": "A word for people.", "type": "string" },
                },
            }),
        ),
        kind(
            EventName::Retry,
            "Retry",
            "The attempt ended, another one will follow.",
            json!({
                "description": "What `retry` says.",
                "type": "object",
                "required": ["reason"],
                "properties": {
                    "reason": {
                        "description": "Why the attempt ended. Other reasons may come.",
                        "type": "string",
                        "examples": RetryReason::ALL.map(RetryReason::as_str),
                    },
                    "error": error,
                },
            }),
        ),
        kind(
            EventName::Done,
            "Done",
            "The end. The last of every log: nothing follows it, ever.",
            json!({
                "description": "What `done` says: how the action ended.",
                "oneOf": [
                    {
                        "title": "DoneSucceeded",
                        "type": "object",
                        "required": ["status", "output"],
                        "properties": {
                            "status": { "description": "How it ended.", "type": "string", "const": "succeeded" },
                            "output": { "description": "What came of it." },
                        },
                    },
                    {
                        "title": "DoneFailed",
                        "type": "object",
                        "required": ["status", "error"],
                        "properties": {
                            "status": { "description": "How it ended.", "type": "string", "const": "failed" },
                            "error": error,
                        },
                    },
                    {
                        "title": "DoneCancelled",
                        "type": "object",
                        "required": ["status"],
                        "properties": {
                            "status": { "description": "How it ended.", "type": "string", "const": "cancelled" },
                        },
                    },
                ],
            }),
        ),
    ]
}

/// The schemas of a stream, its events and their data.
pub(super) fn schemas() -> Map<String, Value> {
    let mut schemas = Map::new();
    let mut events = Vec::new();
    for kind in kinds() {
        let Kind {
            name,
            title,
            description,
            data,
        } = kind;
        events.push(json!({ "$ref": format!("#/components/schemas/{title}Event") }));
        schemas.insert(
            format!("{title}Event"),
            event(name.as_str(), title, description),
        );
        schemas.insert(format!("{title}Data"), data);
    }
    schemas.insert(
        "StreamEvent".to_owned(),
        json!({ "description": "One event of a stream, by its fields.", "oneOf": events }),
    );
    schemas.insert(
        "EventStream".to_owned(),
        json!({
            "description": "Server-sent events. Comment lines and `retry:` come between them. The set of names is \
                open: ignore those that you don't know.",
            "type": "string",
            "contentMediaType": "text/event-stream",
            "contentSchema": {
                "type": "array",
                "items": { "$ref": "#/components/schemas/StreamEvent" },
            },
        }),
    );
    schemas
}

fn event(name: &str, title: &str, description: &str) -> Value {
    let digits = Sequence::MAX.to_string().len();
    json!({
        "description": description,
        "type": "object",
        "required": ["id", "event", "data"],
        "properties": {
            "id": {
                "description": "The position in the action's log, for `Last-Event-ID`.",
                "type": "string",
                "pattern": "^[1-9][0-9]*$",
                "maxLength": digits,
            },
            "event": { "description": "The name.", "type": "string", "const": name },
            "data": {
                "description": "One line of JSON.",
                "type": "string",
                "contentMediaType": "application/json",
                "contentSchema": { "$ref": format!("#/components/schemas/{title}Data") },
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use deed_domain::action::event::Progress;
    use deed_domain::action::{ActionError, NewEvent, Outcome, Payload};

    fn document() -> Value {
        serde_json::from_str(&super::super::document().unwrap()).unwrap()
    }

    /// Which of the named schemas take the value.
    fn takers<'a>(document: &Value, names: &[&'a str], value: &Value) -> Vec<&'a str> {
        let takes = |name: &&str| {
            let schema = json!({
                "$ref": format!("#/components/schemas/{name}"),
                "components": document["components"],
            });
            jsonschema::validator_for(&schema).unwrap().is_valid(value)
        };
        names.iter().copied().filter(takes).collect()
    }

    /// What the domain writes into the log fits the schema of its name, and where another schema is told apart by its
    /// members, no other.
    #[test]
    fn what_is_written_fits() {
        let document = document();
        let id = "0198c0de-0000-7000-8000-0000000000c1".parse().unwrap();
        let error = ActionError::new("out_of_paper", "There is no paper.");
        let chunk = Payload::parse(r#"["any",1]"#).unwrap();
        let progress = Progress {
            percent: Some(50),
            note: Some("half".to_owned()),
        };
        let mut events = vec![
            ("CreatedData", NewEvent::created(id)),
            ("StartedData", NewEvent::started(2)),
            ("MessageData", NewEvent::message(chunk.clone())),
            ("ProgressData", NewEvent::progress(&progress)),
            ("ProgressData", NewEvent::progress(&Progress::default())),
            ("DoneData", NewEvent::done(&Outcome::Succeeded(chunk))),
            ("DoneData", NewEvent::done(&Outcome::Failed(error.clone()))),
            ("DoneData", NewEvent::done(&Outcome::Cancelled)),
        ];
        for reason in RetryReason::ALL {
            events.push(("RetryData", NewEvent::retry(reason, None)));
            events.push(("RetryData", NewEvent::retry(reason, Some(&error))));
        }
        for (schema, event) in events {
            let data: Value = serde_json::from_str(event.data.as_str()).unwrap();
            let name = schema.replace("Data", "Event");
            let fields =
                json!({ "id": "7", "event": event.name.as_str(), "data": event.data.as_str() });
            assert_eq!(takers(&document, &[schema], &data), [schema], "{data}");
            assert_eq!(
                takers(&document, &[name.as_str()], &fields),
                [name.as_str()]
            );
            assert_eq!(
                takers(&document, &["StreamEvent"], &fields),
                ["StreamEvent"],
                "one event, one kind: {fields}"
            );
        }
    }

    #[test]
    fn what_is_not_written_does_not_fit() {
        let document = document();
        for (schema, data) in [
            ("CreatedData", json!({})),
            ("StartedData", json!({ "attempt": 0 })),
            ("ProgressData", json!({ "percent": 101 })),
            (
                "RetryData",
                json!({ "error": { "code": "c", "message": "m" } }),
            ),
            ("DoneData", json!({ "status": "succeeded" })),
            ("DoneData", json!({ "status": "failed", "output": 1 })),
            ("DoneData", json!({ "status": "running" })),
            (
                "StreamEvent",
                json!({ "id": "0", "event": "done", "data": "{}" }),
            ),
            (
                "StreamEvent",
                json!({ "id": "1", "event": "other", "data": "{}" }),
            ),
        ] {
            assert!(
                takers(&document, &[schema], &data).is_empty(),
                "{schema}: {data}"
            );
        }
    }

    #[test]
    fn every_known_event_is_described() {
        assert_eq!(kinds().map(|kind| kind.name), EventName::KNOWN);
    }
}
