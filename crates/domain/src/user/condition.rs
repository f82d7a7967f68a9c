use super::User;

/// A version of a user: no two states of the same user share one, and of two states the later has the greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserVersion(i64);

impl UserVersion {
    /// The version of this number; `None` below 0.
    #[must_use]
    pub const fn new(number: i64) -> Option<Self> {
        if number < 0 { None } else { Some(Self(number)) }
    }

    /// Its number: the moment of the last change, in microseconds since 1970.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }
}

impl User {
    /// Its version.
    #[must_use]
    pub fn version(&self) -> UserVersion {
        UserVersion(self.updated_at.timestamp_micros().max(0))
    }
}

/// Some of a user's versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserVersions {
    /// All that there ever will be.
    Every,
    /// Exactly these.
    These(Vec<UserVersion>),
}

impl UserVersions {
    /// Whether `version` is one of them.
    #[must_use]
    pub fn includes(&self, version: UserVersion) -> bool {
        match self {
            Self::Every => true,
            Self::These(versions) => versions.contains(&version),
        }
    }
}

/// Which version a user must have for a change to be made. By default any will do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserCondition {
    /// It is one of these,
    pub one_of: UserVersions,
    /// and none of these.
    pub none_of: UserVersions,
}

impl UserCondition {
    /// Whether a user of this version may be changed.
    #[must_use]
    pub fn holds(&self, version: UserVersion) -> bool {
        self.one_of.includes(version) && !self.none_of.includes(version)
    }
}

impl Default for UserCondition {
    fn default() -> Self {
        Self {
            one_of: UserVersions::Every,
            none_of: UserVersions::These(Vec::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_holds_for_what_is_in_the_one_and_not_in_the_other() {
        let version = |number| UserVersion::new(number).unwrap();
        let these =
            |numbers: &[i64]| UserVersions::These(numbers.iter().copied().map(version).collect());
        let check = |one_of: UserVersions, none_of: UserVersions, expected: bool| {
            let condition = UserCondition { one_of, none_of };
            assert_eq!(condition.holds(version(7)), expected, "{condition:?}");
        };
        assert!(UserCondition::default().holds(version(7)));
        check(UserVersions::Every, these(&[]), true);
        check(these(&[7]), these(&[]), true);
        check(these(&[6, 7]), these(&[6]), true);
        check(these(&[6]), these(&[]), false);
        check(these(&[]), these(&[]), false);
        check(UserVersions::Every, these(&[7]), false);
        check(these(&[7]), UserVersions::Every, false);
    }

    #[test]
    fn a_version_counts_from_1970() {
        assert_eq!(UserVersion::new(-1), None);
        assert_eq!(UserVersion::new(0).map(UserVersion::get), Some(0));
    }
}
