//! A JSON body that has the shape and keeps the limits of its type.

use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::http::Method;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::{FromRequest, HttpRequest};
use apistos::ApiComponent;
use apistos::paths::RequestBody;
use apistos::reference_or::ReferenceOr;
use bytes::{Bytes, BytesMut};
use deed_api::lease::{
    CompleteLease, FailLease, FinishLeases, Heartbeat, LeaseActions, ReleaseLease, ReportEvents,
};
use deed_api::limits::Limits;
use deed_api::{
    action::CreateAction, action::CreateActionBatch, action_type::PutActionType,
    api_key::CreateApiKey, user::CreateUser, user::PatchUser,
};
use futures_util::StreamExt;
use futures_util::future::LocalBoxFuture;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::error::Category;
use tokio::time::{Instant, timeout_at};

use super::fault::{self, Part};
use super::gate;
use crate::app::Api;
use crate::problem::{ErrorCode, Refusal};

const KIB: usize = 1024;

/// The media types of a patch.
pub(crate) const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");

/// How long nothing of a body may arrive.
const SILENCE: Duration = Duration::from_secs(10);

/// How long a whole body may take.
const WHOLE: Duration = Duration::from_secs(60);

/// A type that is read from a body.
pub(crate) trait JsonBody: DeserializeOwned + garde::Validate + 'static {
    /// The largest body, in bytes.
    const MAX_BYTES: usize;
    /// The media types that the body may have.
    const MEDIA_TYPES: &'static [&'static str] = &["application/json"];

    /// What the limits depend on.
    fn context(limits: Limits) -> Self::Context;
}

impl JsonBody for CreateUser {
    const MAX_BYTES: usize = 64 * KIB;

    fn context(limits: Limits) -> Limits {
        limits
    }
}

impl JsonBody for PatchUser {
    const MAX_BYTES: usize = 64 * KIB;
    const MEDIA_TYPES: &'static [&'static str] =
        &["application/merge-patch+json", "application/json"];

    fn context(_: Limits) {}
}

impl JsonBody for CreateApiKey {
    const MAX_BYTES: usize = 64 * KIB;

    fn context(_: Limits) {}
}

impl JsonBody for CreateAction {
    const MAX_BYTES: usize = 1024 * KIB;

    fn context(_: Limits) {}
}

impl JsonBody for CreateActionBatch {
    const MAX_BYTES: usize = 4 * 1024 * KIB;

    fn context(_: Limits) {}
}

impl JsonBody for PutActionType {
    const MAX_BYTES: usize = 128 * KIB;

    fn context(_: Limits) {}
}

impl JsonBody for LeaseActions {
    const MAX_BYTES: usize = 64 * KIB;

    fn context(_: Limits) {}
}

impl JsonBody for Heartbeat {
    const MAX_BYTES: usize = 64 * KIB;

    fn context(_: Limits) {}
}

impl JsonBody for ReportEvents {
    const MAX_BYTES: usize = 4 * 1024 * KIB;

    fn context(_: Limits) {}
}

impl JsonBody for CompleteLease {
    // The output has 1 MiB for itself.
    const MAX_BYTES: usize = 1025 * KIB;

    fn context(_: Limits) {}
}

impl JsonBody for FinishLeases {
    const MAX_BYTES: usize = 4 * 1024 * KIB;

    fn context(_: Limits) {}
}

impl JsonBody for FailLease {
    const MAX_BYTES: usize = 64 * KIB;

    fn context(_: Limits) {}
}

impl JsonBody for ReleaseLease {
    const MAX_BYTES: usize = KIB;

    fn context(_: Limits) {}
}

/// A valid body, with its bytes as they came.
pub(crate) struct Valid<T> {
    pub(crate) value: T,
    pub(crate) bytes: Bytes,
}

impl<T: JsonBody> FromRequest for Valid<T> {
    type Error = Refusal;
    type Future = LocalBoxFuture<'static, Result<Self, Refusal>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let payload = payload.take();
        let inner = request.clone();
        gate::after(request, async move {
            let limits = Api::of(&inner)?.settings().limits;
            check_media_type(&inner, T::MEDIA_TYPES)?;
            let bytes = read(&inner, payload, T::MAX_BYTES).await?;
            let value = parse::<T>(&bytes)?;
            value
                .validate_with(&T::context(limits))
                .map_err(|report| fault::limits(Part::Body, &report))?;
            Ok(Self { value, bytes })
        })
    }
}

/// The body's media type, which has to be one of `taken`.
pub(super) fn check_media_type<'a>(
    request: &HttpRequest,
    taken: &[&'a str],
) -> Result<&'a str, Refusal> {
    let coded = request
        .headers()
        .get(header::CONTENT_ENCODING)
        .is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"));
    let mut lines = request.headers().get_all(header::CONTENT_TYPE);
    let media_type = match (lines.next(), lines.next()) {
        (Some(value), None) => value.to_str().unwrap_or_default(),
        // Of two nobody can know which one holds.
        _ => "",
    };
    let media_type = media_type.split(';').next().unwrap_or_default().trim();
    let known = taken
        .iter()
        .find(|taken| taken.eq_ignore_ascii_case(media_type));
    match known {
        Some(known) if !coded => Ok(known),
        _ => Err(not_taken(request, taken, coded)),
    }
}

/// The refusal of a body for what it is, with what would be taken instead. (RFC 9110, section 15.5.16; RFC 5789,
/// section 2.2.)
fn not_taken(request: &HttpRequest, taken: &[&str], is_coded: bool) -> Refusal {
    let mut refusal = Refusal::new(ErrorCode::UnsupportedMediaType).message(format!(
        "This operation takes {}, not compressed.",
        taken.join(" or ")
    ));
    if let Ok(list) = HeaderValue::from_str(&taken.join(", ")) {
        if request.method() == Method::PATCH {
            refusal = refusal.header(ACCEPT_PATCH, list.clone());
        }
        refusal = refusal.header(header::ACCEPT, list);
    }
    if is_coded {
        let none = HeaderValue::from_static("identity");
        refusal = refusal.header(header::ACCEPT_ENCODING, none);
    }
    refusal
}

/// Reads the whole body. One that declares to be too large is refused before a byte is read.
pub(super) async fn read(
    request: &HttpRequest,
    mut payload: Payload,
    limit: usize,
) -> Result<Bytes, Refusal> {
    let too_large = || {
        Refusal::new(ErrorCode::BodyTooLarge)
            .message(format!("The body is larger than {limit} bytes."))
    };
    let declared = request
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.parse::<usize>().ok());
    if declared.is_some_and(|declared| declared > limit) {
        return Err(too_large());
    }
    let mut bytes = BytesMut::with_capacity(declared.unwrap_or(KIB).min(limit));
    let end = Instant::now() + WHOLE;
    loop {
        let soon = (Instant::now() + SILENCE).min(end);
        let next = timeout_at(soon, payload.next()).await;
        let Some(chunk) = next.map_err(|_| Refusal::new(ErrorCode::RequestTimeout))? else {
            break;
        };
        let chunk = chunk.map_err(|_| Refusal::new(ErrorCode::BadRequest))?;
        if bytes.len().saturating_add(chunk.len()) > limit {
            return Err(too_large());
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.freeze())
}

/// Reads a JSON object of the type's shape.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    parse_line(bytes, 1)
}

/// The same of what begins at a line of the body, counted from 1.
pub(super) fn parse_line<T: DeserializeOwned>(bytes: &[u8], first: usize) -> Result<T, Refusal> {
    let malformed = |error: &serde_json::Error| {
        let (line, column) = (
            error.line().saturating_add(first).saturating_sub(1),
            error.column(),
        );
        Refusal::new(ErrorCode::MalformedJson).message(format!(
            "The body is not JSON: see line {line}, column {column}."
        ))
    };
    let opening = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    if opening.is_none() {
        return Err(Refusal::new(ErrorCode::MalformedJson).message("A JSON body is required."));
    }
    // serde would take a list of the fields' values for a struct.
    if opening != Some(&b'{') {
        serde_json::from_slice::<IgnoredAny>(bytes).map_err(|error| malformed(&error))?;
        return Err(Refusal::bad_pointer("#", "must be an object"));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let inner = error.inner();
        match inner.classify() {
            Category::Data => fault::shape(Part::Body, error.path(), &inner.to_string()),
            Category::Syntax | Category::Eof | Category::Io => malformed(inner),
        }
    })?;
    deserializer.end().map_err(|error| malformed(&error))?;
    Ok(value)
}

impl<T: ApiComponent + JsonBody> ApiComponent for Valid<T> {
    fn child_schemas() -> Vec<(String, ReferenceOr<apistos::Schema>)> {
        T::child_schemas()
    }

    fn schema() -> Option<(String, ReferenceOr<apistos::Schema>)> {
        T::schema()
    }

    fn request_body() -> Option<RequestBody> {
        let mut body = T::request_body()?;
        let described = body.content.values().next().cloned()?;
        body.content = T::MEDIA_TYPES
            .iter()
            .map(|name| ((*name).to_owned(), described.clone()))
            .collect();
        body.description = Some(format!("At most {}.", told(T::MAX_BYTES)));
        Some(body)
    }
}

/// A number of bytes, for people.
fn told(bytes: usize) -> String {
    match bytes.div_euclid(KIB * KIB) {
        whole if whole * KIB * KIB == bytes => format!("{whole} MiB"),
        _ => format!("{} KiB", bytes.div_euclid(KIB)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use deed_api::problem::Fault;

    #[test]
    fn sizes_are_told_in_whole_units() {
        assert_eq!(told(64 * KIB), "64 KiB");
        assert_eq!(told(4 * 1024 * KIB), "4 MiB");
        assert_eq!(told(1025 * KIB), "1025 KiB");
    }

    fn check<T: DeserializeOwned>(body: &str, code: ErrorCode, fault: Option<(&str, &str)>) {
        let Err(refusal) = parse::<T>(body.as_bytes()) else {
            panic!("{body} was taken")
        };
        assert_eq!(refusal.code(), code, "{body}");
        let expected: Vec<Fault> = fault
            .into_iter()
            .map(|(at, message)| Fault::at_pointer(at, message))
            .collect();
        assert_eq!(refusal.named_faults(), expected, "{body}");
    }

    #[test]
    fn errors_of_shape_name_their_place() {
        let check = check::<CreateAction>;
        let invalid = ErrorCode::ValidationFailed;
        check("{}", invalid, Some(("#/type", "this field is required")));
        check(
            r#"{"type":"echo"}"#,
            invalid,
            Some(("#/input", "this field is required")),
        );
        check(
            r#"{"type":"echo","input":{},"x":1}"#,
            invalid,
            Some(("#/x", "there is no such field")),
        );
        check(
            r#"{"type":"a","type":"b","input":1}"#,
            invalid,
            Some(("#/type", "this field stands twice")),
        );
        check(
            r#"{"type":5,"input":{}}"#,
            invalid,
            Some(("#/type", "must be a text")),
        );
        check(
            r#"{"type":"a","input":{},"priority":256}"#,
            invalid,
            Some(("#/priority", "is out of range")),
        );
    }

    #[test]
    fn a_body_is_an_object() {
        for body in ["[]", r#" ["a",{},null,1]"#, "null", "1", "\"x\"", "true"] {
            check::<CreateAction>(
                body,
                ErrorCode::ValidationFailed,
                Some(("#", "must be an object")),
            );
        }
        for body in ["[", "[1,]", "[] x", "nul"] {
            check::<CreateAction>(body, ErrorCode::MalformedJson, None);
        }
    }

    #[test]
    fn nested_shape() {
        check::<CreateApiKey>(
            r#"{"name":"k","scopes":["users:read",5]}"#,
            ErrorCode::ValidationFailed,
            Some(("#/scopes/1", "must be a text")),
        );
    }

    #[test]
    fn what_is_not_json_is_malformed() {
        for body in [
            "",
            "{",
            "{\"type\":",
            "nul",
            "{\"type\":\"a\",\"input\":{}} x",
            "\u{feff}{}",
        ] {
            check::<CreateAction>(body, ErrorCode::MalformedJson, None);
        }
        let refusal = parse::<CreateAction>(b"{\"type\":\"\xff\",\"input\":{}}").unwrap_err();
        assert_eq!(refusal.code(), ErrorCode::MalformedJson);
    }

    #[test]
    fn an_input_keeps_its_text() {
        let body = br#"{"type":"echo","input":{"b": 1.50, "a":"\u0000"}}"#;
        let action = parse::<CreateAction>(body).unwrap();
        assert_eq!(action.input.get(), r#"{"b": 1.50, "a":"\u0000"}"#);
    }

    async fn reading(
        chunks: impl futures_util::Stream<Item = &'static [u8]> + 'static,
    ) -> Result<Bytes, ErrorCode> {
        let request = actix_web::test::TestRequest::post().to_http_request();
        let payload = chunks.map(|chunk| Ok(Bytes::from_static(chunk)));
        let payload = Payload::Stream {
            payload: payload.boxed_local(),
        };
        read(&request, payload, 8)
            .await
            .map_err(|refusal| refusal.code())
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_arrive_is_given_up() {
        let began = Instant::now();
        let silent = futures_util::stream::iter([&b"{"[..]]).chain(futures_util::stream::pending());
        assert_eq!(reading(silent).await, Err(ErrorCode::RequestTimeout));
        assert_eq!(began.elapsed(), SILENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_drips_is_given_up_too() {
        let began = Instant::now();
        let dripping = futures_util::stream::unfold((), |()| async {
            tokio::time::sleep(SILENCE / 2).await;
            Some((&b""[..], ()))
        });
        assert_eq!(reading(dripping).await, Err(ErrorCode::RequestTimeout));
        assert_eq!(began.elapsed(), WHOLE);
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_a_bad_request() {
        let request = actix_web::test::TestRequest::post().to_http_request();
        let broken =
            futures_util::stream::iter([Err(actix_web::error::PayloadError::Incomplete(None))]);
        let payload = Payload::Stream {
            payload: broken.boxed_local(),
        };
        let refusal = read(&request, payload, 8).await.unwrap_err();
        assert_eq!(refusal.code(), ErrorCode::BadRequest);
    }

    #[tokio::test]
    async fn a_body_without_a_declared_length_is_counted() {
        assert_eq!(
            reading(futures_util::stream::iter([&b"1234"[..], &b"5678"[..]])).await,
            Ok(Bytes::from_static(b"12345678"))
        );
        assert_eq!(
            reading(futures_util::stream::iter([&b"1234"[..], &b"56789"[..]])).await,
            Err(ErrorCode::BodyTooLarge)
        );
    }

    #[test]
    fn null_in_a_patch_takes_away_only_what_may_go() {
        let patch = parse::<PatchUser>(br#"{"external_id":null}"#).unwrap();
        assert_eq!(
            patch,
            PatchUser {
                external_id: Some(None),
                ..PatchUser::default()
            }
        );
        check::<PatchUser>(
            r#"{"name":null}"#,
            ErrorCode::ValidationFailed,
            Some(("#/name", "must not be null")),
        );
    }
}
