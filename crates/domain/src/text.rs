//! Rules that all stored, human-written texts share.

use std::ops::RangeInclusive;

/// Why a text was refused. The wording is for the person who sent it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// Fewer characters than allowed.
    #[error("must have at least {}", characters(*.0))]
    TooShort(usize),
    /// More characters than allowed.
    #[error("must have at most {}", characters(*.0))]
    TooLong(usize),
    /// A control character, NUL among them: PostgreSQL can't keep NUL, and the others deceive readers of logs.
    #[error("must not contain control characters")]
    Control,
    /// Nothing but white space.
    #[error("must not be blank")]
    Blank,
    /// Not of the form that is asked for.
    #[error("{0}")]
    Form(&'static str),
}

fn characters(count: usize) -> String {
    match count {
        1 => "1 character".to_owned(),
        _ => format!("{count} characters"),
    }
}

/// Checks a one-line text: its length in characters (Unicode scalar values), no control characters, not blank.
///
/// # Errors
/// The first rule that `text` breaks.
pub fn one_line(text: &str, length: RangeInclusive<usize>) -> Result<(), TextError> {
    let count = text.chars().count();
    if count < *length.start() {
        return Err(TextError::TooShort(*length.start()));
    }
    if count > *length.end() {
        return Err(TextError::TooLong(*length.end()));
    }
    if text.chars().any(char::is_control) {
        return Err(TextError::Control);
    }
    if count > 0 && text.trim().is_empty() {
        return Err(TextError::Blank);
    }
    Ok(())
}

/// Checks a word that a client makes up for machines: 1 to `max` visible ASCII characters.
///
/// # Errors
/// The first rule that `text` breaks.
pub fn visible_ascii(text: &str, max: usize) -> Result<(), TextError> {
    if text.is_empty() {
        return Err(TextError::TooShort(1));
    }
    if text.len() > max {
        return Err(TextError::TooLong(max));
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(TextError::Form("must be visible ASCII characters"));
    }
    Ok(())
}

/// Defines a type that holds a checked one-line text.
macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident, $min:expr, $max:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        pub struct $name(String);

        impl $name {
            /// The shortest that is taken, in characters.
            pub const MIN: usize = $min;
            /// The longest that is taken, in characters.
            pub const MAX: usize = $max;

            /// Checks and takes `text` as it was typed.
            ///
            /// # Errors
            /// The first rule that `text` breaks.
            pub fn parse(text: impl Into<String>) -> Result<Self, $crate::text::TextError> {
                let text = text.into();
                $crate::text::one_line(&text, Self::MIN..=Self::MAX)?;
                Ok(Self(text))
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}
pub(crate) use text_type;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<(), TextError>) {
        assert_eq!(one_line(text, 1..=3), expected);
    }

    #[test]
    fn lengths_are_counted_in_characters() {
        check("", Err(TextError::TooShort(1)));
        check("é", Ok(()));
        check("日本語", Ok(()));
        check("日本語だ", Err(TextError::TooLong(3)));
    }

    #[test]
    fn one_character_is_singular() {
        let check = |error: TextError, said: &str| assert_eq!(error.to_string(), said);
        check(TextError::TooShort(1), "must have at least 1 character");
        check(TextError::TooShort(8), "must have at least 8 characters");
        check(TextError::TooLong(1), "must have at most 1 character");
        check(TextError::TooLong(100), "must have at most 100 characters");
    }

    #[test]
    fn control_characters_and_blanks_are_refused() {
        check("a\0b", Err(TextError::Control));
        check("a\n", Err(TextError::Control));
        check("  ", Err(TextError::Blank));
        check("\u{a0}", Err(TextError::Blank));
    }
}
