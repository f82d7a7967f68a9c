use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;

use crate::error::Error;
use crate::id::ActionId;
use crate::ports::Clock;

/// For how long actions are kept: tells one that is there no more from one that never was.
#[derive(Clone, Default)]
pub struct Retention(Option<(TimeDelta, Arc<dyn Clock>)>);

impl Retention {
    /// Actions may be gone once they are `kept` old by `clock`. The default keeps them for ever.
    #[must_use]
    pub fn new(kept: Duration, clock: Arc<dyn Clock>) -> Self {
        let kept = TimeDelta::from_std(kept).unwrap_or(TimeDelta::MAX);
        Self(Some((kept, clock)))
    }

    /// What to say of an action that was not found. Its id alone tells its age, so that the answer says nothing of
    /// whether it was anybody's.
    pub(crate) fn not_found(&self, id: ActionId) -> Error {
        let is_older = self.0.as_ref().is_some_and(|(kept, clock)| {
            let kept_from = clock.now().checked_sub_signed(*kept);
            kept_from.is_some_and(|kept_from| id.made_at().is_some_and(|made| made < kept_from))
        });
        if is_older {
            Error::ActionGone
        } else {
            Error::ActionNotFound
        }
    }
}

impl fmt::Debug for Retention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kept = self.0.as_ref().map(|(kept, _)| kept);
        f.debug_tuple("Retention").field(&kept).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::MockClock;
    use chrono::{DateTime, Utc};
    use uuid::Uuid;

    const MADE: &str = "2026-10-23T10:00:00Z";

    fn made_at(at: &str) -> ActionId {
        let at: DateTime<Utc> = at.parse().unwrap();
        let millis = u128::try_from(at.timestamp_millis()).unwrap();
        ActionId::from_uuid(Uuid::from_u128(millis << 80 | 7 << 76 | 2 << 62))
    }

    fn kept(days: u64, now: &str) -> Retention {
        let now = now.parse().unwrap();
        let mut clock = MockClock::new();
        clock.expect_now().return_const::<DateTime<Utc>>(now);
        Retention::new(Duration::from_secs(days * 24 * 3600), Arc::new(clock))
    }

    #[test]
    fn an_action_is_gone_once_it_is_older_than_what_is_kept() {
        let at_the_end = kept(30, "2026-11-22T10:00:00Z");
        assert_eq!(at_the_end.not_found(made_at(MADE)), Error::ActionNotFound);
        let later = kept(30, "2026-11-22T10:00:00.001Z");
        assert_eq!(later.not_found(made_at(MADE)), Error::ActionGone);
        let kept_longer = kept(31, "2026-11-22T10:00:00.001Z");
        assert_eq!(kept_longer.not_found(made_at(MADE)), Error::ActionNotFound);
    }

    #[test]
    fn an_id_without_a_time_was_never_there() {
        let random: ActionId = "7c0a3c9e-4a5f-4b8e-9d43-0d6f0a1b2c3d".parse().unwrap();
        let answer = kept(1, "2026-11-22T10:00:00Z").not_found(random);
        assert_eq!(answer, Error::ActionNotFound);
    }

    #[test]
    fn without_a_limit_nothing_is_too_old() {
        let answer = Retention::default().not_found(made_at(MADE));
        assert_eq!(answer, Error::ActionNotFound);
        let endless = Retention(Some((
            TimeDelta::MAX,
            Arc::new({
                let mut clock = MockClock::new();
                clock.expect_now().return_const(DateTime::<Utc>::UNIX_EPOCH);
                clock
            }),
        )));
        assert_eq!(endless.not_found(made_at(MADE)), Error::ActionNotFound);
    }
}
