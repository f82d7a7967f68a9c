//! `Prefer` (RFC 7240), as far as this interface honours it: `respond-async` and `wait`.

use std::time::Duration;

/// What a client prefers. A malformed or unknown preference is as if it weren't there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Preferences {
    /// `respond-async`: answer as soon as it is durable.
    pub(crate) respond_async: bool,
    /// `wait=N`: how long to wait for the end, in whole seconds.
    pub(crate) wait: Option<Duration>,
}

impl Preferences {
    /// Reads the header's lines, in their order; a longer wait than `longest_wait` is cut to it. Of two preferences with the same name the first holds.
    pub(crate) fn parse<'a>(
        lines: impl IntoIterator<Item = &'a str>,
        longest_wait: Duration,
    ) -> Self {
        let mut preferences = Self::default();
        let mut wait_seen = false;
        for preference in lines.into_iter().flat_map(split_list) {
            // What follows a semicolon are parameters of the preference; none is defined for these two.
            let token = preference.split(';').next().unwrap_or_default();
            let (name, value) = match token.split_once('=') {
                Some((name, value)) => (name.trim(), Some(value.trim().trim_matches('"'))),
                None => (token.trim(), None),
            };
            if name.eq_ignore_ascii_case("respond-async") && value.is_none_or(str::is_empty) {
                preferences.respond_async = true;
            } else if name.eq_ignore_ascii_case("wait") && !wait_seen {
                wait_seen = true;
                preferences.wait = value.and_then(seconds).map(|wait| wait.min(longest_wait));
            }
        }
        preferences
    }

    /// Of these what a request can have that makes nothing: how long to wait.
    pub(crate) fn of_a_read(self) -> Self {
        Self {
            respond_async: false,
            ..self
        }
    }

    /// What `Preference-Applied` says, if anything was honoured.
    pub(crate) fn applied(&self) -> Option<String> {
        let mut honoured = Vec::new();
        if self.respond_async {
            honoured.push("respond-async".to_owned());
        }
        if let Some(wait) = self.wait {
            honoured.push(format!("wait={}", wait.as_secs()));
        }
        (!honoured.is_empty()).then(|| honoured.join(", "))
    }
}

fn seconds(text: &str) -> Option<Duration> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits
        .then(|| text.parse().ok().map(Duration::from_secs))
        .flatten()
}

/// Splits a comma-separated list, leaving commas within quotes alone.
fn split_list(line: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    let mut escaped = false;
    line.split(move |c| {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ',' if !quoted => return true,
            _ => {}
        }
        false
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LONGEST: Duration = Duration::from_secs(60);

    fn check(lines: &[&str], respond_async: bool, wait: Option<u64>, applied: Option<&str>) {
        let preferences = Preferences::parse(lines.iter().copied(), LONGEST);
        let wait = wait.map(Duration::from_secs);
        assert_eq!(
            preferences,
            Preferences {
                respond_async,
                wait
            },
            "{lines:?}"
        );
        assert_eq!(preferences.applied().as_deref(), applied, "{lines:?}");
    }

    #[test]
    fn honoured_preferences() {
        check(&["respond-async"], true, None, Some("respond-async"));
        check(&["Respond-Async"], true, None, Some("respond-async"));
        check(&["wait=0"], false, Some(0), Some("wait=0"));
        check(&["wait=60"], false, Some(60), Some("wait=60"));
        check(&["wait=61"], false, Some(60), Some("wait=60"));
        check(&["wait = \"7\""], false, Some(7), Some("wait=7"));
        check(
            &["respond-async, wait=5"],
            true,
            Some(5),
            Some("respond-async, wait=5"),
        );
        check(
            &["respond-async", "wait=5"],
            true,
            Some(5),
            Some("respond-async, wait=5"),
        );
        check(
            &["wait=5; x=y, respond-async"],
            true,
            Some(5),
            Some("respond-async, wait=5"),
        );
        check(&["wait=1, wait=2"], false, Some(1), Some("wait=1"));
        check(
            &["foo=\"a, wait=3\", wait=4"],
            false,
            Some(4),
            Some("wait=4"),
        );
    }

    #[test]
    fn malformed_preferences_are_ignored() {
        for line in [
            "wait",
            "wait=",
            "wait=-1",
            "wait=+1",
            "wait=1.5",
            "wait=x",
            "",
            ",,",
            "=",
            "\"",
            "respond-async=1",
        ] {
            check(&[line], false, None, None);
        }
        check(&["wait=99999999999999999999999"], false, None, None);
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_harm(lines in proptest::collection::vec(".{0,40}", 0..4)) {
            let preferences = Preferences::parse(lines.iter().map(String::as_str), LONGEST);
            prop_assert!(preferences.wait.is_none_or(|wait| wait <= LONGEST));
        }

        #[test]
        fn what_was_applied_reads_back_the_same(respond_async: bool, wait in proptest::option::of(0u64..=60)) {
            let preferences = Preferences { respond_async, wait: wait.map(Duration::from_secs) };
            let line = preferences.applied().unwrap_or_default();
            prop_assert_eq!(Preferences::parse([line.as_str()], LONGEST), preferences);
        }
    }
}
