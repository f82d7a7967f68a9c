//! Secrets of API keys: made here, shown once, kept as digests.
//!
//! A secret is a prefix that tells its kind, 30 base62 characters (178 bits) from the operating system's
//! generator, `_`, and the CRC-32 of all before it in 6 base62 characters. The checksum tells a mistyped secret
//! from an unknown one without asking the database, and lets secret scanners be exact. 178 random bits need no
//! slow hash: what is kept is the SHA-256 digest.

use std::collections::BTreeSet;
use std::fmt;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const BODY: usize = 30;
const CHECKSUM: usize = 6;

/// What a secret opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SecretKind {
    /// An API key: `deedk_…`.
    ApiKey,
    /// A session: `deeds_…`.
    Session,
    /// A ticket for one stream: `deedt_…`.
    Ticket,
}

impl SecretKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::ApiKey, Self::Session, Self::Ticket];

    /// What its secrets begin with.
    #[must_use]
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::ApiKey => "deedk_",
            Self::Session => "deeds_",
            Self::Ticket => "deedt_",
        }
    }
}

/// A secret in the clear. It never prints by `{:?}`, and its memory is wiped when it is dropped.
#[derive(Clone)]
pub struct PlainSecret {
    kind: SecretKind,
    text: Zeroizing<String>,
}

/// A text that can't be a secret of ours: wrong prefix, length, alphabet or checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a secret of this server")]
pub struct MalformedSecret;

impl PlainSecret {
    /// Makes a secret from random bytes, which `random` gives as often as it is asked.
    #[must_use]
    pub fn generate(kind: SecretKind, mut random: impl FnMut() -> [u8; 64]) -> Self {
        let mut text = Zeroizing::new(String::with_capacity(
            kind.prefix().len() + BODY + 1 + CHECKSUM,
        ));
        text.push_str(kind.prefix());
        let mut missing = BODY;
        while missing > 0 {
            let bytes = Zeroizing::new(random());
            // 248 = 4 × 62: bytes above would make the first characters of the alphabet likelier.
            for byte in bytes.iter().filter(|byte| **byte < 248).take(missing) {
                text.push(digit(u32::from(*byte)));
                missing = missing.saturating_sub(1);
            }
        }
        let checksum = checksum(&text);
        text.push('_');
        text.push_str(&checksum);
        Self { kind, text }
    }

    /// Takes a secret that someone presents, if its form and checksum are right.
    ///
    /// # Errors
    /// [`MalformedSecret`] without saying what is wrong.
    pub fn parse(text: &str) -> Result<Self, MalformedSecret> {
        let kind = SecretKind::ALL
            .into_iter()
            .find(|kind| text.starts_with(kind.prefix()))
            .ok_or(MalformedSecret)?;
        let (signed, sum) = text.rsplit_once('_').ok_or(MalformedSecret)?;
        let body = signed.strip_prefix(kind.prefix()).ok_or(MalformedSecret)?;
        if body.len() != BODY || !body.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(MalformedSecret);
        }
        if checksum(signed) != sum {
            return Err(MalformedSecret);
        }
        Ok(Self {
            kind,
            text: Zeroizing::new(text.to_owned()),
        })
    }

    /// What it opens.
    #[must_use]
    pub fn kind(&self) -> SecretKind {
        self.kind
    }

    /// The secret itself: for its owner, once.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// What is kept of it.
    #[must_use]
    pub fn digest(&self) -> SecretDigest {
        SecretDigest::of(&self.text)
    }
}

impl fmt::Debug for PlainSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PlainSecret")
    }
}

/// The SHA-256 digest of a secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SecretDigest([u8; 32]);

impl SecretDigest {
    /// The digest of `secret`.
    #[must_use]
    pub fn of(secret: &str) -> Self {
        Self(Sha256::digest(secret.as_bytes()).into())
    }

    /// Takes a digest that was kept.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Compares in time that does not depend on where they differ.
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for SecretDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretDigest")
    }
}

/// The operator's root key: opens everything, belongs to no user. Only its digest is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootKey(SecretDigest);

impl RootKey {
    /// The least length, in characters.
    pub const MIN: usize = 32;
    /// The fewest different characters. 32 random hexadecimal digits have fewer about once in 27 million times.
    const DIFFERENT: usize = 8;

    /// Takes the operator's root key.
    ///
    /// # Errors
    /// [`WeakRootKey`] when it has fewer than 32 characters, or others than visible ASCII, which no header could carry;
    /// or when it could be guessed: made of fewer than 8 different characters, or one piece again and again.
    pub fn parse(text: &str) -> Result<Self, WeakRootKey> {
        if text.len() < Self::MIN || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(WeakRootKey::Form);
        }
        let different: BTreeSet<u8> = text.bytes().collect();
        if different.len() < Self::DIFFERENT || is_repetition(text.as_bytes()) {
            return Err(WeakRootKey::Guessable);
        }
        Ok(Self(SecretDigest::of(text)))
    }

    /// Whether `digest` is the digest of this key.
    #[must_use]
    pub fn matches(&self, digest: &SecretDigest) -> bool {
        self.0.matches(digest)
    }
}

/// A root key that could be guessed or can't be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WeakRootKey {
    /// Too short, or characters that no header could carry.
    #[error("it must have at least 32 characters of visible ASCII")]
    Form,
    /// Long, and yet no secret.
    #[error("it repeats itself, so it could be guessed")]
    Guessable,
}

/// Whether `text` is a piece of at most half its length, again and again; the last time maybe cut off.
fn is_repetition(text: &[u8]) -> bool {
    (1..=text.len() / 2).any(|period| {
        text.iter()
            .eq(text.iter().take(period).cycle().take(text.len()))
    })
}

fn digit(value: u32) -> char {
    let index = usize::try_from(value % 62).unwrap_or(0);
    char::from(*ALPHABET.get(index).unwrap_or(&b'0'))
}

fn checksum(text: &str) -> String {
    let mut rest = crc32fast::hash(text.as_bytes());
    let mut digits = ['0'; CHECKSUM];
    for place in digits.iter_mut().rev() {
        *place = digit(rest);
        rest /= 62;
    }
    digits.iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn secret(seed: u8) -> PlainSecret {
        let mut next = seed;
        PlainSecret::generate(SecretKind::ApiKey, move || {
            std::array::from_fn(|_| {
                next = next.wrapping_mul(167).wrapping_add(13);
                next
            })
        })
    }

    #[test]
    fn a_secret_has_the_documented_form() {
        let text = secret(1).reveal().to_owned();
        assert_eq!(text.len(), 6 + 30 + 1 + 6);
        assert!(text.starts_with("deedk_"));
        assert_eq!(text.as_bytes()[36], b'_');
        assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'));
    }

    #[test]
    fn bytes_that_would_bias_the_alphabet_are_left_out() {
        let mut rounds = 0;
        let made = PlainSecret::generate(SecretKind::Ticket, || {
            rounds += 1;
            if rounds == 1 { [255; 64] } else { [61; 64] }
        });
        assert_eq!(rounds, 2);
        assert!(
            made.reveal()
                .starts_with(&format!("deedt_{}_", "z".repeat(30)))
        );
    }

    #[test]
    fn neither_prints() {
        let secret = secret(2);
        assert_eq!(
            format!("{secret:?} {:?}", secret.digest()),
            "PlainSecret SecretDigest"
        );
    }

    #[test]
    fn what_is_no_secret_is_refused() {
        let good = secret(3).reveal().to_owned();
        let other_kind = good.replace("deedk_", "deeds_");
        let short = good.replace(&good[10..11], "");
        for bad in [
            "",
            "deedk_",
            "deedk__",
            "deedk_é",
            "hunter2",
            &good[..42],
            &other_kind,
            &short,
            &format!("{good} "),
        ] {
            assert_eq!(
                PlainSecret::parse(bad).err(),
                Some(MalformedSecret),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_root_key_must_be_long_and_fit_a_header() {
        let good = "0f1e2d3c4b5a69788796a5b4c3d2e1f0";
        assert_eq!(RootKey::parse(&good[1..]), Err(WeakRootKey::Form));
        assert_eq!(RootKey::parse(&"é".repeat(32)), Err(WeakRootKey::Form));
        assert_eq!(RootKey::parse(&format!("{good} ")), Err(WeakRootKey::Form));
        let root = RootKey::parse(good).unwrap();
        assert!(root.matches(&SecretDigest::of(good)));
        assert!(!root.matches(&SecretDigest::of("0f1e2d3c4b5a69788796a5b4c3d2e1f1")));
    }

    #[test]
    fn a_long_root_key_can_still_be_weak() {
        for weak in [
            "k".repeat(40),
            "change-me".repeat(4),
            "0123456789abcdef".repeat(2),
            format!("{}change", "change-me-now-".repeat(3)),
            "0101101001011010010110100101101010".to_owned(),
        ] {
            assert_eq!(RootKey::parse(&weak), Err(WeakRootKey::Guessable), "{weak}");
        }
    }

    proptest! {
        #[test]
        fn what_is_made_is_taken_back(seed: u8) {
            let made = secret(seed);
            let back = PlainSecret::parse(made.reveal()).unwrap();
            prop_assert_eq!(back.digest(), made.digest());
            prop_assert_eq!(back.kind(), SecretKind::ApiKey);
        }

        #[test]
        fn one_wrong_character_is_noticed(seed: u8, at in 6usize..43, by in 1u8..62) {
            let text = secret(seed).reveal().to_owned();
            prop_assume!(at != 36);
            let mut bytes = text.into_bytes();
            let old = ALPHABET.iter().position(|b| *b == bytes[at]).unwrap();
            bytes[at] = ALPHABET[(old + usize::from(by)) % 62];
            prop_assert!(PlainSecret::parse(std::str::from_utf8(&bytes).unwrap()).is_err());
        }

        #[test]
        fn no_text_makes_it_panic(text in "(deed[kst]_)?\\PC*") {
            let _ = PlainSecret::parse(&text);
        }
    }
}
