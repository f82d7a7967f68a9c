//! Opaque cursors of lists: a position, signed together with the list that it belongs to.
//!
//! A cursor is `base64url(tag ‖ position)`, where `tag` is HMAC-SHA256 over the list's kind, filters and caller and
//! over the position. A cursor that was changed, or is used with another list, does not open.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use deed_domain::caller::Caller;
use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::server_key::{Purpose, ServerKey};

/// The length of the signature, in bytes.
const TAG: usize = 32;

/// The longest cursor that is looked at, in characters.
const LONGEST: usize = 512;

impl ServerKey {
    /// A cursor for `position` in `list`.
    pub(crate) fn seal_cursor(&self, list: &ListName, position: &str) -> String {
        let mut bytes = self
            .cursor_mac(list, position.as_bytes())
            .finalize()
            .into_bytes()
            .to_vec();
        bytes.extend_from_slice(position.as_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The position of a cursor that was sealed for `list` with this key.
    pub(crate) fn open_cursor(&self, list: &ListName, cursor: &str) -> Option<String> {
        if cursor.len() > LONGEST {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
        let (tag, position) = bytes.split_at_checked(TAG)?;
        self.cursor_mac(list, position).verify_slice(tag).ok()?;
        String::from_utf8(position.to_vec()).ok()
    }

    fn cursor_mac(&self, list: &ListName, position: &[u8]) -> Hmac<Sha256> {
        let mut mac = self.mac(Purpose::Cursor);
        for part in &list.0 {
            // The length before each part keeps ("a", "bc") and ("ab", "c") apart.
            mac.update(part.len().to_string().as_bytes());
            mac.update(b":");
            mac.update(part.as_bytes());
        }
        mac.update(b"|");
        mac.update(position);
        mac
    }
}

/// What a cursor is bound to: the kind of list, who asks, and the filters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListName(Vec<String>);

impl ListName {
    /// The list `kind` as seen by the caller's subject, or by the root key without one.
    pub(crate) fn new(kind: &str, caller: &Caller) -> Self {
        let subject = caller.subject();
        Self::seen_by(
            kind,
            &subject.map_or_else(|| "everybody".to_owned(), |id| id.to_string()),
        )
    }

    fn seen_by(kind: &str, reader: &str) -> Self {
        Self(vec![kind.to_owned(), reader.to_owned()])
    }

    /// The same list, narrowed by a filter.
    pub(crate) fn filter(mut self, name: &str, value: Option<impl ToString>) -> Self {
        if let Some(value) = value {
            self.0.push(name.to_owned());
            self.0.push(value.to_string());
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key() -> ServerKey {
        ServerKey::new([7; 32])
    }

    fn list() -> ListName {
        ListName::seen_by("users", "root").filter("email", Some("ada@example.com"))
    }

    #[test]
    fn a_cursor_opens_with_its_own_list_and_key_only() {
        let cursor = key().seal_cursor(&list(), "here");
        assert_eq!(key().open_cursor(&list(), &cursor).as_deref(), Some("here"));
        for other in [
            ListName::seen_by("actions", "root").filter("email", Some("ada@example.com")),
            ListName::seen_by("users", "somebody").filter("email", Some("ada@example.com")),
            ListName::seen_by("users", "root"),
            ListName::seen_by("users", "root").filter("email", Some("eve@example.com")),
            ListName::seen_by("users", "root").filter("external_id", Some("ada@example.com")),
        ] {
            assert_eq!(key().open_cursor(&other, &cursor), None, "{other:?}");
        }
        assert_eq!(ServerKey::new([8; 32]).open_cursor(&list(), &cursor), None);
    }

    #[test]
    fn parts_do_not_run_together() {
        let one = ListName::seen_by("k", "r").filter("a", Some("bc"));
        let two = ListName::seen_by("k", "r").filter("ab", Some("c"));
        assert_eq!(key().open_cursor(&two, &key().seal_cursor(&one, "p")), None);
    }

    proptest! {
        #[test]
        fn what_was_sealed_opens(position in ".{0,60}", filter in proptest::option::of(".{0,20}")) {
            let list = ListName::seen_by("actions", "me").filter("type", filter);
            prop_assert_eq!(key().open_cursor(&list, &key().seal_cursor(&list, &position)), Some(position));
        }

        #[test]
        fn a_changed_cursor_does_not_open(position in "[a-z0-9]{1,40}", at in 0usize..40, to in "[A-Za-z0-9_-]") {
            let cursor = key().seal_cursor(&list(), &position);
            let mut changed: Vec<char> = cursor.chars().collect();
            let new = to.chars().next().unwrap();
            prop_assume!(changed[at] != new);
            changed[at] = new;
            let changed: String = changed.into_iter().collect();
            prop_assert_eq!(key().open_cursor(&list(), &changed), None);
        }

        #[test]
        fn any_text_is_refused_without_harm(text in ".{0,600}") {
            prop_assert_eq!(key().open_cursor(&list(), &text), None);
        }
    }
}
