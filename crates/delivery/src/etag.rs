//! Entity tags, and requests that depend on them. (RFC 9110, sections 8.8.3 and 13.)

use std::fmt;

use deed_domain::user::{UserCondition, UserVersion, UserVersions};
use sha2::{Digest, Sha256};

mod tags;

pub(crate) use tags::Tags;

/// Raised whenever a user is written otherwise than before although the user is the same: a new field, another order.
const FORM_OF_USERS: u8 = 1;

/// The strong tag of one representation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ETag(String);

impl ETag {
    /// The tag of a user: its version, so that a change can be made to depend on it in one statement.
    pub(crate) fn of_user(version: UserVersion) -> Self {
        Self(format!("{FORM_OF_USERS}-{:x}", version.get()))
    }

    /// The tag of exactly these bytes, or of all that can be told from them.
    pub(crate) fn of_bytes(bytes: &[u8]) -> Self {
        let digest = Sha256::digest(bytes);
        Self(
            digest
                .iter()
                .take(16)
                .map(|byte| format!("{byte:02x}"))
                .collect(),
        )
    }
}

/// As it stands in a header.
impl fmt::Display for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0)
    }
}

/// What a request's conditions come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The answer is given.
    Proceed,
    /// The client has it already: 304.
    NotModified,
    /// 412.
    Failed,
}

/// `If-Match` and `If-None-Match`, as far as they were sent. `If-Modified-Since` and its like mean nothing here: no
/// answer has a `Last-Modified`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Conditions {
    pub(crate) if_match: Option<Tags>,
    pub(crate) if_none_match: Option<Tags>,
}

impl Conditions {
    /// Whether the representation with this tag is to be answered to GET and HEAD. (RFC 9110, section 13.2.2.)
    pub(crate) fn judge(&self, current: &ETag) -> Verdict {
        let is_wanted = self
            .if_match
            .as_ref()
            .is_none_or(|tags| tags.match_strongly(&current.0));
        let is_known = self
            .if_none_match
            .as_ref()
            .is_some_and(|tags| tags.match_weakly(&current.0));
        match (is_wanted, is_known) {
            (false, _) => Verdict::Failed,
            (true, true) => Verdict::NotModified,
            (true, false) => Verdict::Proceed,
        }
    }

    /// The same for a change of a user, to be judged where it is made.
    pub(crate) fn of_user(&self) -> UserCondition {
        let mut condition = UserCondition::default();
        if let Some(tags) = &self.if_match {
            condition.one_of = versions(tags, Tags::strong);
        }
        if let Some(tags) = &self.if_none_match {
            condition.none_of = versions(tags, Tags::all);
        }
        condition
    }
}

/// The versions of a user that tags stand for. A tag that no user ever has stands for none.
fn versions(tags: &Tags, opaque: impl Fn(&Tags) -> Option<Vec<&str>>) -> UserVersions {
    match opaque(tags) {
        None => UserVersions::Every,
        Some(tags) => UserVersions::These(tags.into_iter().filter_map(version).collect()),
    }
}

/// The version that a tag was made of: one that is written otherwise than we write it is none.
fn version(opaque: &str) -> Option<UserVersion> {
    let (_, number) = opaque.split_once('-')?;
    let version = UserVersion::new(i64::from_str_radix(number, 16).ok()?)?;
    (ETag::of_user(version).0 == opaque).then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tags(line: &str) -> Option<Tags> {
        Tags::parse([line])
    }

    fn user_version(number: i64) -> UserVersion {
        UserVersion::new(number).unwrap()
    }

    /// RFC 9110, section 13.2.2: If-Match goes first, and only it compares strongly.
    #[test]
    fn conditions_are_judged_in_their_order() {
        let check = |if_match: Option<&str>, if_none_match: Option<&str>, expected: Verdict| {
            let conditions = Conditions {
                if_match: if_match.and_then(tags),
                if_none_match: if_none_match.and_then(tags),
            };
            let judged = conditions.judge(&ETag("a".to_owned()));
            assert_eq!(judged, expected, "{conditions:?}");
        };
        check(None, None, Verdict::Proceed);
        check(None, Some("\"a\""), Verdict::NotModified);
        check(None, Some("W/\"a\""), Verdict::NotModified);
        check(None, Some("\"b\", \"a\""), Verdict::NotModified);
        check(None, Some("*"), Verdict::NotModified);
        check(None, Some("\"b\""), Verdict::Proceed);
        check(None, Some("a"), Verdict::Proceed);
        check(Some("\"a\""), None, Verdict::Proceed);
        check(Some("\"b\", \"a\""), None, Verdict::Proceed);
        check(Some("*"), None, Verdict::Proceed);
        check(Some("W/\"a\""), None, Verdict::Failed);
        check(Some("\"b\""), None, Verdict::Failed);
        check(Some("a"), None, Verdict::Failed);
        check(Some("\"A\""), None, Verdict::Failed);
        check(Some("\"a\""), Some("\"a\""), Verdict::NotModified);
        check(Some("\"b\""), Some("\"a\""), Verdict::Failed);
    }

    #[test]
    fn a_change_of_a_user_depends_on_the_versions_in_its_tags() {
        let these = |numbers: &[i64]| {
            UserVersions::These(numbers.iter().copied().map(user_version).collect())
        };
        let check = |if_match: Option<&str>, if_none_match: Option<&str>, one_of, none_of| {
            let conditions = Conditions {
                if_match: if_match.and_then(tags),
                if_none_match: if_none_match.and_then(tags),
            };
            let expected = UserCondition { one_of, none_of };
            assert_eq!(conditions.of_user(), expected, "{conditions:?}");
        };
        let every = || UserVersions::Every;
        check(None, None, every(), these(&[]));
        check(Some("*"), None, every(), these(&[]));
        check(Some("\"1-ff\""), None, these(&[255]), these(&[]));
        check(
            Some("\"1-a\", W/\"1-b\", \"1-c\""),
            None,
            these(&[10, 12]),
            these(&[]),
        );
        check(Some("\"x\""), None, these(&[]), these(&[]));
        check(None, Some("*"), every(), every());
        check(None, Some("\"1-a\", W/\"1-b\""), every(), these(&[10, 11]));
    }

    #[test]
    fn only_our_own_tags_name_a_version() {
        assert_eq!(version("1-ff"), Some(user_version(255)));
        assert_eq!(version("1-7fffffffffffffff"), Some(user_version(i64::MAX)));
        for wrong in [
            "",
            "1",
            "1-",
            "ff",
            "0-ff",
            "2-ff",
            "01-ff",
            "1-0ff",
            "1-FF",
            "1-+ff",
            "1--1",
            "1-8000000000000000",
            "1-ff-1",
            "1-ff ",
        ] {
            assert_eq!(version(wrong), None, "{wrong}");
        }
    }

    /// Whoever changes how a user is written raises [`FORM_OF_USERS`], and then this list.
    #[test]
    fn the_form_of_users_is_counted() {
        let example = crate::users::EXAMPLE;
        let members: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(example).unwrap();
        let names: Vec<&str> = members.keys().map(String::as_str).collect();
        assert_eq!(FORM_OF_USERS, 1);
        assert_eq!(
            names,
            [
                "created_at",
                "email",
                "external_id",
                "id",
                "name",
                "status",
                "updated_at"
            ]
        );
    }

    proptest! {
        #[test]
        fn a_users_tag_reads_back_its_version(number in 0..=i64::MAX) {
            let tag = ETag::of_user(user_version(number));
            prop_assert_eq!(version(&tag.0), Some(user_version(number)));
            prop_assert_eq!(tag.to_string().len(), tag.0.len() + 2);
        }
    }
}
