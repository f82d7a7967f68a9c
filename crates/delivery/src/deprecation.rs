//! What goes away, and when: `Deprecation` (RFC 9745), `Sunset` (RFC 8594), and a link to what to do about it.

use actix_web::http::Method;
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue, LINK};
use chrono::{DateTime, Utc};

const DEPRECATION: HeaderName = HeaderName::from_static("deprecation");
const SUNSET: HeaderName = HeaderName::from_static("sunset");

/// That an operation goes away. Stands in its extras; times are RFC 3339.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deprecated {
    /// Since when it should not be used any more; may lie ahead.
    pub since: &'static str,
    /// From when on it may be gone.
    pub sunset: Option<&'static str>,
    /// The page that says what to use instead.
    pub link: Option<&'static str>,
}

/// The headers of answers that tell of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Deprecation {
    since: HeaderValue,
    sunset: Option<HeaderValue>,
    link: Option<HeaderValue>,
}

impl Deprecation {
    /// Of what is deprecated since one time and may be gone from another on. None where `link` can't be one.
    pub(crate) fn new(
        since: DateTime<Utc>,
        sunset: Option<DateTime<Utc>>,
        link: Option<&str>,
    ) -> Option<Self> {
        let header = |text: String| HeaderValue::from_str(&text).ok();
        let sunset = sunset.map(|at| at.format("%a, %d %b %Y %H:%M:%S GMT").to_string());
        let link = link.map(|page| format!("<{page}>; rel=\"deprecation\"; type=\"text/html\""));
        Some(Self {
            since: header(format!("@{}", since.timestamp()))?,
            sunset: match sunset {
                Some(text) => Some(header(text)?),
                None => None,
            },
            link: match link {
                Some(text) => Some(header(text)?),
                None => None,
            },
        })
    }

    /// What the extras of an operation say. None where a time can't be read.
    pub(crate) fn read(said: &Deprecated) -> Option<Self> {
        let time = |text: &str| text.parse::<DateTime<Utc>>().ok();
        let sunset = match said.sunset {
            Some(text) => Some(time(text)?),
            None => None,
        };
        Self::new(time(said.since)?, sunset, said.link)
    }

    /// Adds them to an answer, beside the links that it has.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        headers.insert(DEPRECATION, self.since.clone());
        if let Some(sunset) = &self.sunset {
            headers.insert(SUNSET, sunset.clone());
        }
        if let Some(link) = &self.link {
            headers.append(LINK, link.clone());
        }
    }
}

/// Which operations go away.
#[derive(Debug, Clone, Default)]
pub(crate) struct Deprecations(Vec<(Method, String, Deprecation)>);

impl Deprecations {
    /// One operation more, by its method and the pattern of its path.
    pub(crate) fn add(&mut self, method: Method, pattern: &str, deprecation: Deprecation) {
        self.0.push((method, pattern.to_owned(), deprecation));
    }

    /// What is to be told of a request. Its pattern is looked for only if any operation goes away.
    pub(crate) fn find(
        &self,
        method: &Method,
        pattern: impl FnOnce() -> Option<String>,
    ) -> Option<&Deprecation> {
        if self.0.is_empty() {
            return None;
        }
        let pattern = pattern()?;
        let found = self
            .0
            .iter()
            .find(|(of, path, _)| of == method && *path == pattern)?;
        Some(&found.2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: Deprecated = Deprecated {
        since: "2026-01-31T00:00:00Z",
        sunset: Some("2026-07-01T12:00:00+02:00"),
        link: Some("https://deed.example/news#users"),
    };

    fn written(deprecation: &Deprecation, headers: &mut HeaderMap) -> Vec<(String, String)> {
        deprecation.write(headers);
        let mut all: Vec<_> = headers
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect();
        all.sort();
        all
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        expected.iter().map(owned).collect()
    }

    #[test]
    fn times_are_a_structured_date_and_an_http_date() {
        let mut headers = HeaderMap::new();
        headers.insert(
            LINK,
            HeaderValue::from_static("</users?cursor=x>; rel=\"next\""),
        );
        let all = written(&Deprecation::read(&SAID).unwrap(), &mut headers);
        let link = "<https://deed.example/news#users>; rel=\"deprecation\"; type=\"text/html\"";
        let expected = [
            ("deprecation", "@1769817600"),
            ("link", "</users?cursor=x>; rel=\"next\""),
            ("link", link),
            ("sunset", "Wed, 01 Jul 2026 10:00:00 GMT"),
        ];
        assert_eq!(all, pairs(&expected));
    }

    #[test]
    fn what_is_not_said_is_not_told() {
        let said = Deprecated {
            sunset: None,
            link: None,
            ..SAID
        };
        let all = written(&Deprecation::read(&said).unwrap(), &mut HeaderMap::new());
        assert_eq!(all, pairs(&[("deprecation", "@1769817600")]));
    }

    #[test]
    fn what_can_not_be_read_is_noticed() {
        for wrong in [
            Deprecated {
                since: "31 January",
                ..SAID
            },
            Deprecated {
                sunset: Some("soon"),
                ..SAID
            },
            Deprecated {
                link: Some("https://a\nb"),
                ..SAID
            },
        ] {
            assert_eq!(Deprecation::read(&wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn an_operation_is_a_method_and_a_pattern() {
        let mut deprecations = Deprecations::default();
        let unasked = deprecations.find(&Method::GET, || panic!("nobody needs it"));
        assert!(unasked.is_none());
        deprecations.add(
            Method::GET,
            "/users/{id}",
            Deprecation::read(&SAID).unwrap(),
        );
        let is_told = |method: Method, pattern: Option<&str>| {
            let pattern = pattern.map(str::to_owned);
            deprecations.find(&method, || pattern).is_some()
        };
        assert!(is_told(Method::GET, Some("/users/{id}")));
        assert!(!is_told(Method::PATCH, Some("/users/{id}")));
        assert!(!is_told(Method::GET, Some("/users")));
        assert!(!is_told(Method::GET, None));
    }
}
