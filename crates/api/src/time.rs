//! Times on the wire: RFC 3339, nothing looser.

use chrono::{DateTime, Utc};
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
        .map_err(|_| D::Error::custom("not an RFC 3339 date and time"))?;
    Ok(Some(time.to_utc()))
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
            "\"\"",
            "5",
        ] {
            check(text, None);
        }
    }
}
