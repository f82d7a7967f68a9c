//! Times on the wire: RFC 3339, nothing looser.

use chrono::{DateTime, Datelike as _, Utc};
use serde::{Deserialize, Deserializer, de::Error};

/// Reads an RFC 3339 time with its offset, or null. (chrono's own reading also takes years of five digits, which
/// databases don't.)
pub(crate) fn rfc3339<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<DateTime<Utc>>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else {
        return Ok(None);
    };
    let time = DateTime::parse_from_rfc3339(&text)
        .map_err(|_| D::Error::custom("not an RFC 3339 date and time"))?
        .to_utc();
    // An offset can carry a time over the edge, and then it could not be written again.
    if !(0..=9999).contains(&time.year()) {
        return Err(D::Error::custom("not within the years 0000 to 9999 in UTC"));
    }
    Ok(Some(time))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str, expected: Option<&str>) {
        let found = rfc3339(&mut serde_json::Deserializer::from_str(json)).ok();
        let found = found.map(|time| time.map_or("null".to_owned(), |time| time.to_rfc3339()));
        assert_eq!(found.as_deref(), expected, "{json}");
    }

    #[test]
    fn only_rfc_3339_is_a_time() {
        check("null", Some("null"));
        check(
            "\"2026-01-31T10:00:00Z\"",
            Some("2026-01-31T10:00:00+00:00"),
        );
        check(
            "\"2026-01-31T12:00:00.5+02:00\"",
            Some("2026-01-31T10:00:00.500+00:00"),
        );
        for text in [
            "\"2026-01-31\"",
            "\"+12026-01-31T10:00:00Z\"",
            "\"2026-01-31T10:00:00\"",
            "\"9999-12-31T23:59:59-23:59\"",
            "\"0000-01-01T00:00:00+23:59\"",
            "\"\"",
            "5",
        ] {
            check(text, None);
        }
    }
}
