//! Passwords: typed ones never print, stored ones are hashes.

use std::fmt;

use zeroize::Zeroizing;

use crate::text::TextError;

/// A password as typed. It never prints, and its memory is wiped when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Zeroizing<String>);

/// How long a new password has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PasswordPolicy {
    min: usize,
}

impl PasswordPolicy {
    /// The longest password, in characters. All of it is verified.
    pub const MAX: usize = 128;
    /// The least that the lower bound can be set to, and its default, in characters.
    /// (NIST SP 800-63B-4 asks for 15 where a password is the only factor: raise it there.)
    pub const LEAST_MIN: usize = 8;

    /// A policy with a lower bound of `min` characters, brought into 8..=128.
    #[must_use]
    pub fn with_min(min: usize) -> Self {
        Self {
            min: min.clamp(Self::LEAST_MIN, Self::MAX),
        }
    }

    /// The lower bound, in characters.
    #[must_use]
    pub fn min(self) -> usize {
        self.min
    }
}

impl Default for PasswordPolicy {
    fn default() -> Self {
        Self::with_min(Self::LEAST_MIN)
    }
}

impl Password {
    /// Takes a new password. There are no rules of composition: any characters do.
    ///
    /// # Errors
    /// [`TextError`] when it is shorter or longer than `policy` allows.
    pub fn parse(text: impl Into<String>, policy: PasswordPolicy) -> Result<Self, TextError> {
        let text = Zeroizing::new(text.into());
        let count = text.chars().count();
        if count < policy.min {
            return Err(TextError::TooShort(policy.min));
        }
        if count > PasswordPolicy::MAX {
            return Err(TextError::TooLong(PasswordPolicy::MAX));
        }
        Ok(Self(text))
    }

    /// The password itself, for the hasher alone.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password")
    }
}

/// A password's hash in PHC string form, with its algorithm, parameters and salt.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// Takes a hash in PHC string form. Whether it can be verified is the hasher's to know.
    #[must_use]
    pub fn from_phc(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The PHC string.
    #[must_use]
    pub fn as_phc(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<TextError>) {
        assert_eq!(
            Password::parse(text, PasswordPolicy::default()).err(),
            expected
        );
    }

    #[test]
    fn the_bounds_are_characters_and_inclusive() {
        check("1234567", Some(TextError::TooShort(8)));
        check("12345678", None);
        check("пароль12", None);
        check(&"é".repeat(128), None);
        check(&"é".repeat(129), Some(TextError::TooLong(128)));
    }

    #[test]
    fn any_characters_do() {
        check("        ", None);
        check("\0\0\0\0\0\0\0\0", None);
    }

    #[test]
    fn the_lower_bound_is_a_setting_within_limits() {
        assert_eq!(PasswordPolicy::with_min(1).min(), 8);
        assert_eq!(PasswordPolicy::with_min(15).min(), 15);
        assert_eq!(PasswordPolicy::with_min(10_000).min(), 128);
        assert!(Password::parse("x".repeat(14), PasswordPolicy::with_min(15)).is_err());
    }

    #[test]
    fn it_never_prints() {
        let password = Password::parse("correct horse", PasswordPolicy::default()).unwrap();
        assert_eq!(format!("{password:?}"), "Password");
        assert_eq!(
            format!("{:?}", PasswordHash::from_phc("$argon2id$…")),
            "PasswordHash"
        );
    }
}
