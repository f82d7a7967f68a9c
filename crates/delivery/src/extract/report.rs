//! What a worker reports: one JSON object, or events line by line.

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};
use apistos::ApiComponent;
use apistos::paths::{MediaType, Parameter, RequestBody};
use apistos::reference_or::ReferenceOr;
use deed_api::lease::{ReportEvents, ReportQuery, WorkerEvent};
use deed_api::problem::Fault;
use futures_util::future::LocalBoxFuture;
use garde::Validate as _;
use schemars::schema::{InstanceType, SchemaObject};
use serde_json::json;

use super::body::{self, JsonBody as _, Valid};
use super::fault::{self, Part};
use super::{Query, gate, query};
use crate::openapi::NDJSON;
use crate::problem::Refusal;

/// A valid report, in whichever form it came.
pub(crate) struct Report(pub(crate) ReportEvents);

impl FromRequest for Report {
    type Error = Refusal;
    type Future = LocalBoxFuture<'static, Result<Self, Refusal>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let payload = payload.take();
        let inner = request.clone();
        gate::after(request, async move {
            let from_seq = query::parse::<ReportQuery>(inner.query_string())?.from_seq;
            let media_type = body::check_media_type(&inner, &["application/json", NDJSON])?;
            let is_lines = media_type == NDJSON;
            if is_lines != from_seq.is_some() {
                return Err(Refusal::bad_parameter(
                    "from_seq",
                    match is_lines {
                        true => "this parameter is required",
                        false => "stands in a JSON body, not in the query",
                    },
                ));
            }
            let bytes = body::read(&inner, payload, ReportEvents::MAX_BYTES).await?;
            let report = match from_seq {
                Some(from_seq) => ReportEvents {
                    from_seq,
                    events: lines(&bytes)?,
                    checkpoint: None,
                },
                None => body::parse(&bytes)?,
            };
            report
                .validate()
                .map_err(|report| fault::limits(Part::Body, &report))?;
            Ok(Self(report))
        })
    }
}

/// Reads an event of each line that is not blank: all, or none. The last line may lack its line break.
fn lines(bytes: &[u8]) -> Result<Vec<WorkerEvent>, Refusal> {
    let mut events = Vec::new();
    for (number, line) in (1_usize..).zip(bytes.split(|byte| *byte == b'\n')) {
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let place = events.len();
        let event = body::parse_line(line, number).map_err(|refusal| below(place, refusal))?;
        events.push(event);
    }
    Ok(events)
}

/// The same refusal of one event, told of the whole: what is wrong at `#/data` is wrong at `#/events/17/data`.
fn below(place: usize, refusal: Refusal) -> Refusal {
    let faults: Vec<Fault> = refusal
        .named_faults()
        .iter()
        .map(|fault| Fault {
            pointer: fault
                .pointer
                .as_ref()
                .map(|pointer| format!("#/events/{place}{}", pointer.trim_start_matches('#'))),
            ..fault.clone()
        })
        .collect();
    refusal.faults(faults)
}

impl ApiComponent for Report {
    fn child_schemas() -> Vec<(String, ReferenceOr<apistos::Schema>)> {
        ReportEvents::child_schemas()
    }

    fn schema() -> Option<(String, ReferenceOr<apistos::Schema>)> {
        ReportEvents::schema()
    }

    fn parameters() -> Vec<Parameter> {
        Query::<ReportQuery>::parameters()
    }

    fn request_body() -> Option<RequestBody> {
        let mut body = Valid::<ReportEvents>::request_body()?;
        let items =
            json!({ "type": "array", "items": { "$ref": "#/components/schemas/WorkerEvent" } });
        let lines = SchemaObject {
            instance_type: Some(InstanceType::String.into()),
            extensions: [
                ("contentMediaType".to_owned(), json!(NDJSON)),
                ("contentSchema".to_owned(), items),
            ]
            .into_iter()
            .collect(),
            ..SchemaObject::default()
        };
        let lines = MediaType {
            schema: Some(ReferenceOr::Object(lines.into())),
            ..MediaType::default()
        };
        body.content.insert(NDJSON.to_owned(), lines);
        Some(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::ErrorCode;

    #[track_caller]
    fn check_refused(text: &str, code: ErrorCode, place: Option<&str>) {
        let Err(refusal) = lines(text.as_bytes()) else {
            panic!("{text:?} was taken")
        };
        assert_eq!(refusal.code(), code, "{text:?}");
        let places: Vec<Option<&str>> = refusal
            .named_faults()
            .iter()
            .map(|fault| fault.pointer.as_deref())
            .collect();
        let expected: Vec<Option<&str>> = place.into_iter().map(Some).collect();
        assert_eq!(places, expected, "{text:?}");
    }

    fn data(text: &str) -> Vec<String> {
        let events = lines(text.as_bytes()).unwrap();
        events
            .iter()
            .map(|event| event.data.get().to_owned())
            .collect()
    }

    #[test]
    fn each_line_is_an_event() {
        let one = r#"{"event":"message","data":{"b":1, "a":1.0}}"#;
        assert_eq!(data(one), [r#"{"b":1, "a":1.0}"#]);
        assert_eq!(data(&format!("{one}\n")).len(), 1);
        assert_eq!(data(&format!("\n{one}\r\n \t\r\n\n  {one}  ")).len(), 2);
        assert_eq!(data("\n \n").len(), 0);
        // A line break within a text is written as \n, and stays so.
        assert_eq!(
            data("{\"event\":\"message\",\"data\":\"a\\nb\"}"),
            ["\"a\\nb\""]
        );
    }

    #[test]
    fn a_broken_line_is_told_by_its_place() {
        let good = r#"{"event":"message","data":1}"#;
        let check = |line: &str, code, place: Option<&str>| {
            check_refused(&format!("{good}\n\n{line}\n{good}"), code, place);
        };
        let invalid = ErrorCode::ValidationFailed;
        check(
            r#"{"event":"done","data":1}"#,
            invalid,
            Some("#/events/1/event"),
        );
        check(r#"{"event":"message"}"#, invalid, Some("#/events/1/data"));
        check(
            r#"{"event":"message","data":1,"x":2}"#,
            invalid,
            Some("#/events/1/x"),
        );
        check("[1]", invalid, Some("#/events/1"));
        for broken in ["{", r#"{"event":"message","data":1} x"#, "nul"] {
            check(broken, ErrorCode::MalformedJson, None);
        }
    }
}
