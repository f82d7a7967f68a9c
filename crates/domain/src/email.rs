//! E-mail addresses: kept as typed, compared by a normalised key.

use std::fmt;

use unicode_normalization::UnicodeNormalization as _;

use crate::text::TextError;

/// An e-mail address as its owner typed it, with the key by which addresses are compared.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Email {
    typed: String,
    key: String,
}

impl Email {
    /// The longest address that is taken, in characters (RFC 5321, 4.5.3.1.3: 256 octets of path with its brackets).
    pub const MAX: usize = 254;
    /// The longest local part, in characters (RFC 5321, 4.5.3.1.1).
    pub const LOCAL_MAX: usize = 64;

    /// Takes an address: white space around it is dropped, everything else is kept as typed.
    ///
    /// # Errors
    /// [`TextError`] when the text can't be an address: not one `@`, an empty or over-long part, white space,
    /// control or invisible characters, a domain that is not at least two labels of letters, digits and hyphens.
    pub fn parse(text: &str) -> Result<Self, TextError> {
        let typed = text.trim();
        if typed.is_empty() {
            return Err(TextError::TooShort(1));
        }
        if typed.chars().count() > Self::MAX {
            return Err(TextError::TooLong(Self::MAX));
        }
        let key = normalise(typed);
        if key.chars().count() > Self::MAX {
            return Err(TextError::TooLong(Self::MAX));
        }
        check_form(typed)?;
        check_form(&key)?;
        Ok(Self {
            typed: typed.to_owned(),
            key,
        })
    }

    /// The address as typed.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.typed
    }

    /// What two equal addresses share: NFKC, lower case. Unique among users.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }
}

impl fmt::Display for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.typed)
    }
}

/// Addresses are personal data: `{:?}` ends up in logs, so it says the type only.
impl fmt::Debug for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Email(…)")
    }
}

/// NFKC, lower case, NFKC again (lower-casing can leave a text that is not normalised), so that the key of a
/// key is itself.
fn normalise(text: &str) -> String {
    let mut key = text.to_owned();
    loop {
        let next: String = key
            .nfkc()
            .collect::<String>()
            .to_lowercase()
            .nfkc()
            .collect();
        if next == key {
            return key;
        }
        key = next;
    }
}

const FORM: TextError = TextError::Form("not a valid e-mail address");

fn check_form(address: &str) -> Result<(), TextError> {
    let (local, domain) = address.rsplit_once('@').ok_or(FORM)?;
    if local.is_empty() || local.chars().count() > Email::LOCAL_MAX {
        return Err(FORM);
    }
    if local.starts_with('.') || local.ends_with('.') || local.contains("..") {
        return Err(FORM);
    }
    if !local.chars().all(may_stand_in_local_part) {
        return Err(FORM);
    }
    let labels: Vec<&str> = domain.split('.').collect();
    if labels.len() < 2 || !labels.iter().all(|label| is_label(label)) {
        return Err(FORM);
    }
    Ok(())
}

fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.chars().count())
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label
            .chars()
            .all(|c| c == '-' || (c.is_alphanumeric() && !is_invisible(c)) || is_combining(c))
}

fn may_stand_in_local_part(c: char) -> bool {
    if c.is_ascii() {
        c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(c)
    } else {
        !c.is_whitespace() && !c.is_control() && !is_invisible(c)
    }
}

fn is_combining(c: char) -> bool {
    unicode_normalization::char::is_combining_mark(c) && !is_invisible(c)
}

/// Characters that show as nothing, so that two addresses that look alike would differ: Unicode's
/// Default_Ignorable_Code_Point blocks, bidirectional controls, private use and noncharacters.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}'
        | '\u{e000}'..='\u{f8ff}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{ffff}'
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{10ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn keeps_what_was_typed_and_compares_by_key() {
        let email = Email::parse("  Ada.Lovelace@Example.COM ").unwrap();
        assert_eq!(email.as_str(), "Ada.Lovelace@Example.COM");
        assert_eq!(email.key(), "ada.lovelace@example.com");
        // Full-width letters look alike and mean the same: NFKC folds them.
        assert_eq!(
            Email::parse("ａda@example.com").unwrap().key(),
            "ada@example.com"
        );
    }

    #[test]
    fn takes_what_people_have() {
        for good in [
            "a@b.co",
            "first+tag@sub.example.org",
            "o'neil@example.ie",
            "用户@例え.テスト",
            "x@xn--bcher-kva.example",
        ] {
            assert!(Email::parse(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn refuses_what_is_no_address() {
        let long_local = format!("{}@example.com", "a".repeat(65));
        let long = format!("a@{}.com", "b.".repeat(130));
        for bad in [
            "",
            " ",
            "@",
            "a",
            "a@",
            "@b.co",
            "a@b",
            "a b@c.de",
            "a@b..c",
            "a@-b.co",
            ".a@b.co",
            "a..b@c.de",
            "a@b@c.de",
            "a\0@b.co",
            "a\u{200b}b@c.de",
            "a\n@b.co",
            "<a@b.co>",
            "a@b.co.",
            &long_local,
            &long,
        ] {
            assert!(Email::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn never_prints_itself_into_logs() {
        assert_eq!(format!("{:?}", Email::parse("a@b.co").unwrap()), "Email(…)");
    }

    proptest! {
        #[test]
        fn the_key_of_a_key_is_itself(text in "\\PC{1,20}@[a-zA-Zé]{1,8}\\.[a-z]{2,4}") {
            if let Ok(email) = Email::parse(&text) {
                let again = Email::parse(email.key()).unwrap();
                prop_assert_eq!(again.key(), email.key());
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC*") {
            let _ = Email::parse(&text);
        }
    }
}
