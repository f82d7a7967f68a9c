//! When a request is sent again, and after which pause.

use std::time::Duration;

use chrono::DateTime;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};

use crate::error::Error;
use crate::operation::Repeat;
use crate::random;

/// How often, and for how long, a request is sent again that may be.
///
/// The pause before the n-th repetition is random between zero and `first` · 2ⁿ⁻¹, at most `longest` (exponential
/// back-off with full jitter). A `Retry-After` is waited for whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// How often at the most; 0 sends everything once.
    pub times: u32,
    /// The longest first pause.
    pub first: Duration,
    /// The longest pause of all.
    pub longest: Duration,
    /// No repetition begins later than this after the call.
    pub deadline: Duration,
}

impl Default for Retry {
    /// 6 times, 100 ms to 5 s, within 30 s.
    fn default() -> Self {
        Self {
            times: 6,
            first: Duration::from_millis(100),
            longest: Duration::from_secs(5),
            deadline: Duration::from_secs(30),
        }
    }
}

impl Retry {
    /// Nothing is sent twice.
    pub const NEVER: Self = Self {
        times: 0,
        first: Duration::ZERO,
        longest: Duration::ZERO,
        deadline: Duration::ZERO,
    };

    /// The pause before the next try, after `done` repetitions and `elapsed` since the call; `None` to give up.
    pub(crate) fn pause(
        &self,
        repeat: Repeat,
        error: &Error,
        done: u32,
        elapsed: Duration,
    ) -> Option<Duration> {
        if done >= self.times || !may_help(repeat, error) {
            return None;
        }
        let asked = error.refusal().and_then(|refusal| refusal.retry_after);
        let pause = match asked {
            Some(asked) => asked.saturating_add(random::up_to(self.first)),
            None => random::up_to(doubled(self.first, done).min(self.longest)),
        };
        (elapsed.saturating_add(pause) <= self.deadline).then_some(pause)
    }
}

/// `first` · 2ⁿ.
pub(crate) fn doubled(first: Duration, times: u32) -> Duration {
    first.saturating_mul(2u32.saturating_pow(times))
}

/// Whether the same request may fare better, and can't act twice.
fn may_help(repeat: Repeat, error: &Error) -> bool {
    let may_repeat = match repeat {
        Repeat::Safe | Repeat::Keyed => true,
        Repeat::Acts => false,
        Repeat::Probe => return false,
    };
    match error {
        Error::Connection { is_unsent, .. } => *is_unsent || may_repeat,
        Error::Timeout { .. } => may_repeat,
        Error::Refused(refusal) => match (refusal.status, refusal.code()) {
            // Refused before anything was done.
            (429, _) => true,
            (502..=504, _) => may_repeat,
            // The first try of this very request is still on its way.
            (409, Some("idempotency_in_flight")) => repeat == Repeat::Keyed,
            _ => false,
        },
        _ => false,
    }
}

/// What `Retry-After` asks for: seconds, or a date, which is compared with the answer's own `Date`.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name)?.to_str().ok();
    let value = text(RETRY_AFTER)?.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let then = DateTime::parse_from_rfc2822(value).ok()?;
    let now = DateTime::parse_from_rfc2822(text(DATE)?).ok()?;
    Some((then - now).to_std().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Refusal;
    use deed_api::problem::Problem;

    fn refused(status: u16, code: Option<&str>, retry_after: Option<Duration>) -> Error {
        let problem = code.map(|code| Problem {
            error: code.to_owned(),
            message: String::new(),
            kind: String::new(),
            title: String::new(),
            status,
            instance: String::new(),
            request_id: String::new(),
            errors: Vec::new(),
        });
        Error::Refused(Box::new(Refusal {
            status,
            problem,
            request_id: None,
            retry_after,
        }))
    }

    #[test]
    fn what_may_be_repeated() {
        let timeout = || Error::Timeout {
            operation: "x",
            limit: Duration::ZERO,
        };
        let in_flight = || refused(409, Some("idempotency_in_flight"), None);
        for (error, safe, keyed, acts) in [
            (timeout(), true, true, false),
            (refused(429, None, None), true, true, true),
            (refused(502, None, None), true, true, false),
            (refused(503, None, None), true, true, false),
            (refused(504, None, None), true, true, false),
            (refused(500, None, None), false, false, false),
            (refused(404, None, None), false, false, false),
            (refused(409, Some("x"), None), false, false, false),
            (in_flight(), false, true, false),
            (Error::protocol("x", "y"), false, false, false),
        ] {
            let found = [Repeat::Safe, Repeat::Keyed, Repeat::Acts, Repeat::Probe]
                .map(|repeat| may_help(repeat, &error));
            assert_eq!(found, [safe, keyed, acts, false], "{error:?}");
        }
    }

    #[test]
    fn pauses_grow_up_to_their_limit_and_end() {
        let retry = Retry {
            times: 3,
            first: Duration::from_millis(100),
            longest: Duration::from_millis(150),
            deadline: Duration::from_secs(10),
        };
        let error = refused(503, None, None);
        let pause = |done, elapsed| retry.pause(Repeat::Safe, &error, done, elapsed);
        for _ in 0..50 {
            assert!(pause(0, Duration::ZERO).unwrap() <= Duration::from_millis(100));
            assert!(pause(2, Duration::ZERO).unwrap() <= Duration::from_millis(150));
        }
        assert_eq!(pause(3, Duration::ZERO), None);
        assert_eq!(pause(0, Duration::from_secs(11)), None);
        assert_eq!(
            doubled(Duration::from_secs(1), 200),
            Duration::from_secs(u64::from(u32::MAX))
        );
    }

    #[test]
    fn what_the_server_asks_for_is_waited_for_or_given_up() {
        let retry = Retry::default();
        let asked = |seconds| {
            let error = refused(503, None, Some(Duration::from_secs(seconds)));
            retry.pause(Repeat::Safe, &error, 0, Duration::ZERO)
        };
        let pause = asked(3).unwrap();
        assert!((Duration::from_secs(3)..=Duration::from_millis(3100)).contains(&pause));
        assert_eq!(asked(31), None);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let check = |value: &str, date: Option<&str>, expected: Option<u64>| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, value.parse().unwrap());
            if let Some(date) = date {
                headers.insert(DATE, date.parse().unwrap());
            }
            assert_eq!(
                retry_after(&headers),
                expected.map(Duration::from_secs),
                "{value}"
            );
        };
        let now = Some("Sun, 06 Nov 1994 08:49:37 GMT");
        check("7", None, Some(7));
        check("99999999999999999999999", None, Some(u64::MAX));
        check("Sun, 06 Nov 1994 08:49:40 GMT", now, Some(3));
        check("Sun, 06 Nov 1994 08:49:30 GMT", now, Some(0));
        check("Sun, 06 Nov 1994 08:49:40 GMT", None, None);
        check("soon", now, None);
        check("-1", now, None);
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }
}
