//! Headers that steer an operation.

use actix_web::dev::Payload;
use actix_web::http::header::{self, HeaderValue};
use actix_web::{FromRequest, HttpMessage, HttpRequest};
use apistos::ApiComponent;
use apistos::paths::{Parameter, ParameterDefinition, ParameterIn};
use apistos::reference_or::ReferenceOr;
use deed_domain::idempotency::IdempotencyKey;
use futures_util::future::LocalBoxFuture;

use super::gate;
use crate::accept::{Representation, negotiate};
use crate::app::Api;
use crate::etag::{Conditions, Tags};
use crate::idempotency;
use crate::middleware::HeadOnly;
use crate::prefer::Preferences;
use crate::problem::{ErrorCode, Refusal};

const IDEMPOTENCY_KEY: &str = "Idempotency-Key";
pub(crate) const LAST_EVENT_ID: &str = "Last-Event-ID";

/// `Idempotency-Key`, if it was sent.
#[derive(Debug)]
pub(crate) struct Idempotent(pub(crate) Option<IdempotencyKey>);

impl FromRequest for Idempotent {
    type Error = Refusal;
    type Future = LocalBoxFuture<'static, Result<Self, Refusal>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let values = lines(request, IDEMPOTENCY_KEY);
        gate::after(request, async move {
            let wrong = |message: &str| Refusal::bad_header(IDEMPOTENCY_KEY, message);
            match values.as_slice() {
                [] => Ok(Self(None)),
                [value] => {
                    let text = value
                        .to_str()
                        .map_err(|_| wrong("must be visible ASCII characters"))?;
                    let text = idempotency::unquoted(text).map_err(wrong)?;
                    let key =
                        IdempotencyKey::parse(&text).map_err(|error| wrong(&error.to_string()))?;
                    Ok(Self(Some(key)))
                }
                _ => Err(wrong("must be sent once")),
            }
        })
    }
}

/// `Prefer`, as far as it is understood.
#[derive(Debug)]
pub(crate) struct Prefer(pub(crate) Preferences);

impl FromRequest for Prefer {
    type Error = Refusal;
    type Future = LocalBoxFuture<'static, Result<Self, Refusal>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let values = lines(request, "Prefer");
        let api = Api::of(request);
        gate::after(request, async move {
            let longest = api?.settings().max_wait;
            Ok(Self(Preferences::parse(
                values.iter().filter_map(|value| value.to_str().ok()),
                longest,
            )))
        })
    }
}

impl FromRequest for Conditions {
    type Error = Refusal;
    type Future = LocalBoxFuture<'static, Result<Self, Refusal>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let tags = |name: header::HeaderName| {
            let lines: Vec<String> = lines(request, name.as_str())
                .iter()
                .map(|line| String::from_utf8_lossy(line.as_bytes()).into_owned())
                .collect();
            Tags::parse(lines.iter().map(String::as_str))
        };
        let conditions = Self {
            if_match: tags(header::IF_MATCH),
            if_none_match: tags(header::IF_NONE_MATCH),
        };
        gate::after(request, async move { Ok(conditions) })
    }
}

/// What `Accept` asks for, where JSON and an event stream can be had. 406 where neither will do.
#[derive(Debug)]
pub(crate) struct AcceptHeader(pub(crate) Representation);

impl FromRequest for AcceptHeader {
    type Error = Refusal;
    type Future = LocalBoxFuture<'static, Result<Self, Refusal>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let accepted = accept(request);
        gate::after(request, async move {
            accepted
                .map(Self)
                .ok_or_else(|| Refusal::new(ErrorCode::NotAcceptable))
        })
    }
}

/// Which representation `Accept` asks for, if one will do.
pub(super) fn accept(request: &HttpRequest) -> Option<Representation> {
    let values = request.headers().get_all(header::ACCEPT);
    let accept: Vec<&str> = values.filter_map(|value| value.to_str().ok()).collect();
    negotiate(Some(&accept.join(",")))
}

/// `Last-Event-ID` as it was sent, at most once; what it must be, the stream knows.
#[derive(Debug)]
pub(crate) struct LastEventId(pub(crate) Option<String>);

impl FromRequest for LastEventId {
    type Error = Refusal;
    type Future = LocalBoxFuture<'static, Result<Self, Refusal>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let values = lines(request, LAST_EVENT_ID);
        gate::after(request, async move {
            let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
            match values.as_slice() {
                [] => Ok(Self(None)),
                [value] => Ok(Self(Some(text(value)))),
                _ => Err(Refusal::bad_header(LAST_EVENT_ID, "must be sent once")),
            }
        })
    }
}

/// Whether only the headers of the answer are wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeadRequest(pub(crate) bool);

impl FromRequest for HeadRequest {
    type Error = Refusal;
    type Future = std::future::Ready<Result<Self, Refusal>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        std::future::ready(Ok(Self(request.extensions().get::<HeadOnly>().is_some())))
    }
}

fn lines(request: &HttpRequest, name: &str) -> Vec<HeaderValue> {
    request.headers().get_all(name).cloned().collect()
}

/// A documented header parameter, and nothing else.
macro_rules! documented {
    ($type:ty, $(($name:expr, $description:literal)),*) => {
        impl ApiComponent for $type {
            fn child_schemas() -> Vec<(String, ReferenceOr<apistos::Schema>)> {
                Vec::new()
            }

            fn schema() -> Option<(String, ReferenceOr<apistos::Schema>)> {
                None
            }

            fn parameters() -> Vec<Parameter> {
                vec![$(parameter($name, $description)),*]
            }
        }
    };
}

pub(super) fn parameter(name: &str, description: &str) -> Parameter {
    Parameter {
        name: name.to_owned(),
        _in: ParameterIn::Header,
        required: Some(false),
        description: Some(description.to_owned()),
        definition: String::raw_schema()
            .map(|schema| ParameterDefinition::Schema(Box::new(schema))),
        ..Parameter::default()
    }
}

documented!(
    Idempotent,
    (
        IDEMPOTENCY_KEY,
        "Names this request, so that it can be sent again safely: 1 to 255 visible ASCII characters, quoted or bare, \
         unique for the key, user and path, for at least 24 hours."
    )
);
documented!(
    Prefer,
    (
        "Prefer",
        "`wait=N`: wait up to N seconds, 60 at the most. `respond-async`: answer 202 as soon as the action is durable, which only asking for one heeds."
    )
);
documented!(
    Conditions,
    (
        "If-Match",
        "Tags from `ETag`, comma-separated, or `*`: answer 412 unless the object has one of them. Weak tags never match."
    ),
    (
        "If-None-Match",
        "Tags from `ETag`, comma-separated, or `*`. GET and HEAD answer 304 if the object has one of them, other methods 412."
    )
);
// OpenAPI leaves `Accept` to the media types of the answers.
documented!(AcceptHeader,);
documented!(
    LastEventId,
    (
        LAST_EVENT_ID,
        "For a stream: the sequence after which to go on. It goes before the query's `last_event_id`."
    )
);
documented!(HeadRequest,);
