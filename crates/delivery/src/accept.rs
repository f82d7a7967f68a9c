//! Which of two representations of a log `Accept` asks for: a JSON page or a stream.

/// How the events of an action are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Representation {
    /// `application/json`: one page of the log.
    Json,
    /// `text/event-stream`: replay and follow.
    EventStream,
}

/// Chooses by quality, then by how exactly the range names the type, then the stream. `None`: neither will do.
pub(crate) fn negotiate(accept: Option<&str>) -> Option<Representation> {
    let Some(accept) = accept.filter(|text| !text.trim().is_empty()) else {
        return Some(Representation::EventStream);
    };
    let json = weight(accept, "application", "json");
    let stream = weight(accept, "text", "event-stream");
    match (json, stream) {
        (None, None) => None,
        (Some(_), None) => Some(Representation::Json),
        (None, Some(_)) => Some(Representation::EventStream),
        (Some(json), Some(stream)) if json > stream => Some(Representation::Json),
        (Some(_), Some(_)) => Some(Representation::EventStream),
    }
}

/// Whether `Accept` admits this media type at all.
pub(crate) fn admits(accept: &str, media_type: &str) -> bool {
    let (kind, subtype) = media_type.split_once('/').unwrap_or((media_type, ""));
    weight(accept, kind, subtype).is_some()
}

/// The quality in thousandths and the exactness of the most exact range that covers the type, if it admits it.
fn weight(accept: &str, kind: &str, subtype: &str) -> Option<(u16, u8)> {
    let mut best: Option<(u8, u16)> = None;
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default().to_ascii_lowercase();
        let exactness = match name.split_once('/') {
            Some(("*", "*")) => 0,
            Some((k, "*")) if k == kind => 1,
            Some((k, s)) if k == kind && s == subtype => 2,
            _ => continue,
        };
        let quality = parts.find_map(quality).unwrap_or(1000);
        if best.is_none_or(|(other, _)| exactness > other) {
            best = Some((exactness, quality));
        }
    }
    best.filter(|(_, quality)| *quality > 0)
        .map(|(exactness, quality)| (quality, exactness))
}

/// `q=0.5` in thousandths. A malformed quality counts as 1.
fn quality(parameter: &str) -> Option<u16> {
    let (name, value) = parameter.split_once('=')?;
    if !name.trim().eq_ignore_ascii_case("q") {
        return None;
    }
    let value = value.trim();
    let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
    let thousandths = match (whole, fraction.len()) {
        ("1", _) => Some(1000),
        ("0", 0) => Some(0),
        ("0", 1..=3) => format!("{fraction:0<3}").parse().ok(),
        _ => None,
    };
    Some(thousandths.unwrap_or(1000))
}

#[cfg(test)]
mod tests {
    use super::Representation::{EventStream, Json};
    use super::*;

    fn check(accept: Option<&str>, expected: Option<Representation>) {
        assert_eq!(negotiate(accept), expected, "{accept:?}");
    }

    #[test]
    fn the_stream_is_the_default() {
        check(None, Some(EventStream));
        check(Some(""), Some(EventStream));
        check(Some("*/*"), Some(EventStream));
        check(Some("text/*"), Some(EventStream));
        check(Some("text/event-stream"), Some(EventStream));
        check(
            Some("text/event-stream, application/json"),
            Some(EventStream),
        );
    }

    #[test]
    fn json_when_it_is_preferred() {
        check(Some("application/json"), Some(Json));
        check(Some("Application/JSON; charset=utf-8"), Some(Json));
        check(Some("application/json, */*"), Some(Json));
        check(
            Some("application/json, text/event-stream;q=0.9"),
            Some(Json),
        );
        check(Some("application/*"), Some(Json));
    }

    #[test]
    fn quality_decides() {
        check(
            Some("application/json;q=0.5, text/event-stream;q=0.8"),
            Some(EventStream),
        );
        check(
            Some("application/json;q=0.123, text/event-stream;q=0.12"),
            Some(Json),
        );
        check(Some("*/*, text/event-stream;q=0"), Some(Json));
    }

    #[test]
    fn a_type_is_admitted_or_not() {
        for accept in ["text/html", "text/*", "*/*", "image/png, TEXT/HTML;q=0.001"] {
            assert!(admits(accept, "text/html"), "{accept}");
        }
        for accept in ["text/plain", "*/*, text/html;q=0", "text", "*"] {
            assert!(!admits(accept, "text/html"), "{accept}");
        }
    }

    #[test]
    fn nothing_fits() {
        check(Some("text/html"), None);
        check(Some("image/*"), None);
        check(
            Some("application/json;q=0, text/event-stream;q=0.000"),
            None,
        );
        check(Some("nonsense"), None);
    }
}
