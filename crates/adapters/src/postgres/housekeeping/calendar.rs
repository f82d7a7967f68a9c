//! Which time a partition holds, and which partitions there have to be.

use std::time::Duration;

use chrono::{DateTime, Datelike as _, Days, Months, NaiveDate, TimeDelta, Utc};
use uuid::Uuid;

/// Below this retention partitions are of weeks.
const WEEKLY_BELOW: Duration = Duration::from_secs(14 * 24 * 3600);
/// How many months after the present one have their partitions.
const MONTHS_AHEAD: u32 = 3;
/// How many weeks after the present one have theirs: five, so that four whole ones are there at any time.
const WEEKS_AHEAD: u64 = 5;

/// The ids that one partition holds: from the first to before the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Span {
    pub(super) from: Uuid,
    pub(super) to: Uuid,
}

impl Span {
    /// What its partitions are called after their table: by its month, or by its first day where it is no whole month.
    pub(super) fn name(self) -> String {
        let first = time_of(self.from);
        let day = first.date_naive();
        let is_month = day.day() == 1
            && self.from == floor(midnight(day))
            && self.to == floor(midnight(day + Months::new(1)));
        let form = if is_month { "%Y%m" } else { "%Y%m%d" };
        day.format(form).to_string()
    }

    /// Whether all its ids were made so long before `now`.
    pub(super) fn is_older_than(self, age: TimeDelta, now: DateTime<Utc>) -> bool {
        now.checked_sub_signed(age)
            .is_some_and(|kept_from| self.to <= floor(kept_from))
    }
}

/// How long the time of one partition is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cadence {
    Monthly,
    Weekly,
}

impl Cadence {
    /// What suits a retention: with months, actions would stay for twice the time and more.
    pub(super) fn of(retention: Duration) -> Self {
        if retention < WEEKLY_BELOW {
            Self::Weekly
        } else {
            Self::Monthly
        }
    }

    /// The first day of the month or the week (from Monday on) of that day.
    fn start(self, day: NaiveDate) -> NaiveDate {
        match self {
            Self::Monthly => day.with_day(1).unwrap_or(day),
            Self::Weekly => {
                let past = day.weekday().num_days_from_monday();
                day.checked_sub_days(Days::new(past.into())).unwrap_or(day)
            }
        }
    }

    /// The first day of what follows on the month or the week of that day.
    fn end(self, day: NaiveDate) -> NaiveDate {
        match self {
            Self::Monthly => self.start(day) + Months::new(1),
            Self::Weekly => self.start(day) + Days::new(7),
        }
    }

    /// Where what is to be there at `now` ends.
    fn horizon(self, now: DateTime<Utc>) -> NaiveDate {
        let start = self.start(now.date_naive());
        match self {
            Self::Monthly => start + Months::new(MONTHS_AHEAD + 1),
            Self::Weekly => start + Days::new(7 * (WEEKS_AHEAD + 1)),
        }
    }

    /// What is lacking beside `present`, from `now` on: months or weeks, cut where others begin and end.
    pub(super) fn lacking(self, present: &[Span], now: DateTime<Utc>) -> Vec<Span> {
        let horizon = floor(midnight(self.horizon(now)));
        let mut lacking = Vec::new();
        let mut at = floor(midnight(self.start(now.date_naive())));
        while at < horizon {
            if let Some(held) = present.iter().find(|span| span.from <= at && at < span.to) {
                at = held.to;
                continue;
            }
            let end = floor(midnight(self.end(time_of(at).date_naive())));
            let next = present
                .iter()
                .map(|span| span.from)
                .filter(|from| *from > at);
            let to = next.fold(end, Uuid::min);
            // Nothing is made for what is over.
            if floor(now) < to {
                lacking.push(Span { from: at, to });
            }
            at = to;
        }
        lacking
    }
}

/// The parts of the time from `now` to `until` that none of `present` holds.
pub(super) fn gaps(present: &[Span], now: DateTime<Utc>, until: DateTime<Utc>) -> Vec<Span> {
    let end = floor(until);
    let mut gaps = Vec::new();
    let mut at = floor(now);
    while at < end {
        if let Some(held) = present.iter().find(|span| span.from <= at && at < span.to) {
            at = held.to;
            continue;
        }
        let next = present
            .iter()
            .map(|span| span.from)
            .filter(|from| *from > at);
        let to = next.fold(end, Uuid::min);
        gaps.push(Span { from: at, to });
        at = to;
    }
    gaps
}

fn midnight(day: NaiveDate) -> DateTime<Utc> {
    day.and_time(chrono::NaiveTime::MIN).and_utc()
}

/// The smallest id of a moment.
pub(super) fn floor(at: DateTime<Utc>) -> Uuid {
    let at = u64::try_from(at.timestamp_millis()).unwrap_or(0);
    Uuid::from_u128(u128::from(at.min((1 << 48) - 1)) << 80)
}

/// The moment that an id was made at, to the millisecond.
pub(super) fn time_of(id: Uuid) -> DateTime<Utc> {
    let at = i64::try_from(id.as_u128() >> 80).unwrap_or(i64::MAX);
    DateTime::from_timestamp_millis(at).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn span(from: &str, to: &str) -> Span {
        let day = |text: &str| floor(midnight(text.parse().unwrap()));
        Span {
            from: day(from),
            to: day(to),
        }
    }

    #[track_caller]
    fn check(cadence: Cadence, present: &[Span], now: &str, expected: &[(&str, &str, &str)]) {
        let lacking: Vec<_> = cadence
            .lacking(present, at(now))
            .into_iter()
            .map(|span| {
                let day = |id| time_of(id).date_naive().to_string();
                (span.name(), day(span.from), day(span.to))
            })
            .collect();
        let expected: Vec<_> = expected
            .iter()
            .map(|(name, from, to)| ((*name).to_owned(), (*from).to_owned(), (*to).to_owned()))
            .collect();
        assert_eq!(lacking, expected);
    }

    #[test]
    fn the_retention_decides() {
        assert_eq!(Cadence::of(14 * DAY), Cadence::Monthly);
        assert_eq!(
            Cadence::of(14 * DAY - Duration::from_secs(1)),
            Cadence::Weekly
        );
    }

    #[test]
    fn months_over_the_end_of_a_year() {
        check(
            Cadence::Monthly,
            &[],
            "2026-11-22T10:00:00Z",
            &[
                ("202611", "2026-11-01", "2026-12-01"),
                ("202612", "2026-12-01", "2027-01-01"),
                ("202701", "2027-01-01", "2027-02-01"),
                ("202702", "2027-02-01", "2027-03-01"),
            ],
        );
        let january = [span("2027-01-01", "2027-02-01")];
        let last_moment = Cadence::Monthly.lacking(&january, at("2027-01-31T23:59:59.999Z"));
        assert_eq!(last_moment[0], span("2027-02-01", "2027-03-01"));
    }

    #[test]
    fn weeks_from_monday_on() {
        check(
            Cadence::Weekly,
            &[],
            "2026-11-22T23:59:59.999Z",
            &[
                ("20261116", "2026-11-16", "2026-11-23"),
                ("20261123", "2026-11-23", "2026-11-30"),
                ("20261130", "2026-11-30", "2026-12-07"),
                ("20261207", "2026-12-07", "2026-12-14"),
                ("20261214", "2026-12-14", "2026-12-21"),
                ("20261221", "2026-12-21", "2026-12-28"),
            ],
        );
    }

    #[test]
    fn weeks_begin_where_the_last_month_ends() {
        let months = [
            span("2026-11-01", "2026-12-01"),
            span("2026-12-01", "2027-01-01"),
        ];
        check(Cadence::Weekly, &months, "2026-11-22T10:00:00Z", &[]);
        check(
            Cadence::Weekly,
            &months,
            "2026-12-02T10:00:00Z",
            &[
                ("20270101", "2027-01-01", "2027-01-04"),
                ("20270104", "2027-01-04", "2027-01-11"),
            ],
        );
    }

    #[test]
    fn months_begin_where_the_last_week_ends() {
        let weeks = [
            span("2027-01-01", "2027-01-04"),
            span("2027-01-04", "2027-01-11"),
        ];
        check(
            Cadence::Monthly,
            &weeks,
            "2027-01-05T10:00:00Z",
            &[
                ("20270111", "2027-01-11", "2027-02-01"),
                ("202702", "2027-02-01", "2027-03-01"),
                ("202703", "2027-03-01", "2027-04-01"),
                ("202704", "2027-04-01", "2027-05-01"),
            ],
        );
    }

    #[test]
    fn a_hole_is_filled_and_no_more() {
        let torn = [
            span("2026-11-01", "2026-11-10"),
            span("2026-12-01", "2027-03-01"),
        ];
        check(
            Cadence::Monthly,
            &torn,
            "2026-11-22T10:00:00Z",
            &[("20261110", "2026-11-10", "2026-12-01")],
        );
        // What is over needs none.
        let torn = [
            span("2026-11-05", "2026-11-10"),
            span("2026-11-12", "2027-03-01"),
        ];
        check(Cadence::Monthly, &torn, "2026-11-22T10:00:00Z", &[]);
    }

    #[test]
    fn gaps_are_what_is_not_held_from_now_on() {
        let present = [
            span("2026-11-01", "2026-11-25"),
            span("2026-11-28", "2026-12-01"),
        ];
        let found = gaps(
            &present,
            at("2026-11-22T10:00:00Z"),
            at("2026-12-06T00:00:00Z"),
        );
        let expected = [
            span("2026-11-25", "2026-11-28"),
            span("2026-12-01", "2026-12-06"),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_span_is_old_when_its_last_moment_is() {
        let november = span("2026-11-01", "2026-12-01");
        let days = TimeDelta::days;
        assert!(!november.is_older_than(days(7), at("2026-12-07T23:59:59.999Z")));
        assert!(november.is_older_than(days(7), at("2026-12-08T00:00:00Z")));
        assert!(!november.is_older_than(TimeDelta::MAX, at("2026-12-08T00:00:00Z")));
    }

    proptest! {
        /// However time passes and the retention changes: nothing overlaps, nothing is missing, and it is not many.
        #[test]
        fn partitions_follow_one_another(steps in prop::collection::vec((0_i64..60 * 24, any::<bool>()), 1..60)) {
            let mut now = at("2026-11-22T10:00:00Z");
            let mut present: Vec<Span> = Vec::new();
            for (hours, is_weekly) in steps {
                now += TimeDelta::hours(hours);
                let cadence = if is_weekly { Cadence::Weekly } else { Cadence::Monthly };
                // A server that was away for long finds the present without room, and makes it.
                let lacking = cadence.lacking(&present, now);
                present.extend(&lacking);
                present.sort();
                prop_assert!(cadence.lacking(&present, now).is_empty());
                for pair in present.windows(2) {
                    prop_assert!(pair[0].to <= pair[1].from, "{pair:?}");
                }
                prop_assert_eq!(gaps(&present, now, now + TimeDelta::days(28)), []);
                let names: std::collections::HashSet<String> = present.iter().map(|span| span.name()).collect();
                prop_assert_eq!(names.len(), present.len());
                let ahead = present.iter().filter(|span| span.to > floor(now)).count();
                prop_assert!(ahead <= 10, "{ahead}");
            }
        }
    }
}
