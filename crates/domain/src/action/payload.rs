//! Payloads: JSON texts that come back as they came in.
//!
//! Inputs, outputs and chunks are kept as text, because parsing and printing JSON changes it: keys are
//! reordered, numbers rounded. One scan at acceptance makes sure that every reader can read the text, and refuses
//! what readers disagree about: duplicate keys, lone surrogates, and nesting that would exhaust a recursive parser.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

/// A valid JSON text on one line.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Payload(Arc<str>);

/// Why a text is no payload.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason} at byte {offset}")]
pub struct PayloadError {
    /// Where, in bytes from the start.
    pub offset: usize,
    /// What is wrong there.
    pub reason: Reason,
}

/// What is wrong with a JSON text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Not JSON (RFC 8259).
    #[error("not valid JSON")]
    Syntax,
    /// More than [`Payload::MAX_DEPTH`] arrays and objects inside each other.
    #[error("nested deeper than {} levels", Payload::MAX_DEPTH)]
    TooDeep,
    /// An object with two members of one name: readers disagree which of them counts.
    #[error("duplicate key {0:?}")]
    DuplicateKey(String),
    /// Half of a UTF-16 surrogate pair, which is no character.
    #[error("lone surrogate")]
    LoneSurrogate,
}

impl Payload {
    /// How deep arrays and objects may be nested.
    pub const MAX_DEPTH: usize = 128;
    /// How long one payload may be, in bytes.
    pub const MAX_BYTES: usize = 1024 * 1024;

    /// Scans `text` and keeps it as it is, but that line breaks between tokens become spaces.
    ///
    /// # Errors
    /// [`PayloadError`], with the place of the first fault.
    pub fn parse(text: &str) -> Result<Self, PayloadError> {
        Scanner::new(text).document()?;
        // In a valid JSON text, line breaks stand between tokens only.
        if text.bytes().any(|byte| byte == b'\n' || byte == b'\r') {
            return Ok(Self(text.replace(['\n', '\r'], " ").into()));
        }
        Ok(Self(text.into()))
    }

    /// Takes a text that was scanned before: from a repository.
    #[must_use]
    pub fn from_stored(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The payload `{}`.
    #[must_use]
    pub fn empty_object() -> Self {
        Self::from_stored("{}")
    }

    /// The JSON text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Payloads are users' data: `{:?}` ends up in logs, so it tells the size only.
impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.0.len())
    }
}

/// `text` as a JSON string, quotes included.
#[must_use]
pub fn json_string(text: &str) -> String {
    let mut json = String::with_capacity(text.len().saturating_add(2));
    json.push('"');
    for c in text.chars() {
        match c {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            c if u32::from(c) < 0x20 => json.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => json.push(c),
        }
    }
    json.push('"');
    json
}

/// An open array or object.
enum Frame {
    Array,
    /// With the keys seen so far.
    Object(HashSet<String>),
}

/// What may come next.
enum Expect {
    Value,
    /// A value, or the end of an array that has just begun.
    ValueOrEnd,
    /// A key, or the end of an object that has just begun.
    KeyOrEnd,
    Key,
    /// A comma, or the end of the innermost array or object; at depth 0 the end of the text.
    Next,
}

/// Walks a JSON text once, without recursion.
struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    open: Vec<Frame>,
}

impl<'a> Scanner<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            bytes: text.as_bytes(),
            at: 0,
            open: Vec::new(),
        }
    }

    fn document(&mut self) -> Result<(), PayloadError> {
        let mut expect = Expect::Value;
        loop {
            self.skip_space();
            expect = match expect {
                Expect::Value => self.value()?,
                Expect::ValueOrEnd if self.peek() == Some(b']') => self.close(),
                Expect::ValueOrEnd => self.value()?,
                Expect::KeyOrEnd if self.peek() == Some(b'}') => self.close(),
                Expect::KeyOrEnd | Expect::Key => self.key()?,
                Expect::Next => match (self.open.last(), self.peek()) {
                    (None, None) => return Ok(()),
                    (Some(Frame::Array), Some(b',')) => {
                        self.step();
                        Expect::Value
                    }
                    (Some(Frame::Object(_)), Some(b',')) => {
                        self.step();
                        Expect::Key
                    }
                    (Some(Frame::Array), Some(b']')) | (Some(Frame::Object(_)), Some(b'}')) => {
                        self.close()
                    }
                    _ => return Err(self.fault(Reason::Syntax)),
                },
            };
        }
    }

    fn value(&mut self) -> Result<Expect, PayloadError> {
        match self.peek() {
            Some(b'{') => {
                self.open(Frame::Object(HashSet::new()))?;
                Ok(Expect::KeyOrEnd)
            }
            Some(b'[') => {
                self.open(Frame::Array)?;
                Ok(Expect::ValueOrEnd)
            }
            Some(b'"') => {
                self.string(None)?;
                Ok(Expect::Next)
            }
            Some(b't') => self.word(b"true"),
            Some(b'f') => self.word(b"false"),
            Some(b'n') => self.word(b"null"),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => Err(self.fault(Reason::Syntax)),
        }
    }

    fn key(&mut self) -> Result<Expect, PayloadError> {
        let start = self.at;
        let mut name = String::new();
        self.string(Some(&mut name))?;
        if let Some(Frame::Object(keys)) = self.open.last_mut()
            && let Some(twice) = keys.replace(name)
        {
            return Err(PayloadError {
                offset: start,
                reason: Reason::DuplicateKey(twice),
            });
        }
        self.skip_space();
        self.expect(b':')?;
        Ok(Expect::Value)
    }

    fn open(&mut self, frame: Frame) -> Result<(), PayloadError> {
        if self.open.len() >= Payload::MAX_DEPTH {
            return Err(self.fault(Reason::TooDeep));
        }
        self.step();
        self.open.push(frame);
        Ok(())
    }

    fn close(&mut self) -> Expect {
        self.step();
        self.open.pop();
        Expect::Next
    }

    fn word(&mut self, word: &[u8]) -> Result<Expect, PayloadError> {
        for byte in word {
            self.expect(*byte)?;
        }
        Ok(Expect::Next)
    }

    fn number(&mut self) -> Result<Expect, PayloadError> {
        if self.peek() == Some(b'-') {
            self.step();
        }
        if self.peek() == Some(b'0') {
            self.step();
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.step();
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.step();
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.step();
            }
            self.digits()?;
        }
        Ok(Expect::Next)
    }

    /// One digit or more.
    fn digits(&mut self) -> Result<(), PayloadError> {
        if !self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            return Err(self.fault(Reason::Syntax));
        }
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.step();
        }
        Ok(())
    }

    /// A string, whose characters go to `into` where somebody wants them.
    fn string(&mut self, mut into: Option<&mut String>) -> Result<(), PayloadError> {
        self.expect(b'"')?;
        loop {
            let start = self.at;
            while self
                .peek()
                .is_some_and(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\')
            {
                self.step();
            }
            if let Some(into) = into.as_deref_mut() {
                let plain = self.bytes.get(start..self.at).unwrap_or_default();
                // The text is UTF-8 and is cut before ASCII characters only.
                into.push_str(&String::from_utf8_lossy(plain));
            }
            match self.peek() {
                Some(b'"') => {
                    self.step();
                    return Ok(());
                }
                Some(b'\\') => {
                    self.step();
                    let c = self.escaped()?;
                    if let Some(into) = into.as_deref_mut() {
                        into.push(c);
                    }
                }
                _ => return Err(self.fault(Reason::Syntax)),
            }
        }
    }

    /// What stands after a backslash.
    fn escaped(&mut self) -> Result<char, PayloadError> {
        let Some(byte) = self.peek() else {
            return Err(self.fault(Reason::Syntax));
        };
        let plain = match byte {
            b'"' | b'\\' | b'/' => char::from(byte),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode(),
            _ => return Err(self.fault(Reason::Syntax)),
        };
        self.step();
        Ok(plain)
    }

    fn unicode(&mut self) -> Result<char, PayloadError> {
        let lone = PayloadError {
            offset: self.at,
            reason: Reason::LoneSurrogate,
        };
        let first = self.code_unit()?;
        match first {
            0xd800..=0xdbff => {
                if self.peek() != Some(b'\\')
                    || self.bytes.get(self.at.saturating_add(1)) != Some(&b'u')
                {
                    return Err(lone);
                }
                self.step();
                let second = self.code_unit()?;
                if !(0xdc00..=0xdfff).contains(&second) {
                    return Err(lone);
                }
                let high = first.saturating_sub(0xd800) << 10;
                let low = second.saturating_sub(0xdc00);
                char::from_u32(0x1_0000 + high + low).ok_or(lone)
            }
            _ => char::from_u32(first).ok_or(lone),
        }
    }

    /// `u` and four hexadecimal digits.
    fn code_unit(&mut self) -> Result<u32, PayloadError> {
        self.expect(b'u')?;
        let mut unit = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16));
            let Some(digit) = digit else {
                return Err(self.fault(Reason::Syntax));
            };
            unit = unit * 16 + digit;
            self.step();
        }
        Ok(unit)
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.step();
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), PayloadError> {
        if self.peek() == Some(byte) {
            self.step();
            Ok(())
        } else {
            Err(self.fault(Reason::Syntax))
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn step(&mut self) {
        self.at = self.at.saturating_add(1);
    }

    fn fault(&self, reason: Reason) -> PayloadError {
        PayloadError {
            offset: self.at,
            reason,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check_kept(text: &str) {
        assert_eq!(Payload::parse(text).unwrap().as_str(), text);
    }

    #[track_caller]
    fn check_refused(text: &str, offset: usize, reason: Reason) {
        assert_eq!(
            Payload::parse(text),
            Err(PayloadError { offset, reason }),
            "{text}"
        );
    }

    #[test]
    fn texts_come_back_as_they_came_in() {
        for text in [
            r#"{"b":1,"a":2}"#,
            "123456789012345678901234567890.10e400",
            "-0.0",
            r#" [ 1 , "\u0000\ud83d\ude00\/" , null , true , false , { } ] "#,
            "\"\u{7f}é日本\"",
            "\"\"",
            "\t{}",
        ] {
            check_kept(text);
        }
    }

    #[test]
    fn line_breaks_between_tokens_become_spaces() {
        assert_eq!(
            Payload::parse("{\r\n\"a\":\n1}").unwrap().as_str(),
            "{  \"a\": 1}"
        );
    }

    #[test]
    fn what_is_no_json_is_refused_at_its_place() {
        for (text, offset) in [
            ("", 0),
            (" ", 1),
            ("{", 1),
            ("[1,]", 3),
            ("{\"a\"}", 4),
            ("{,}", 1),
            ("[1 2]", 3),
            ("01", 1),
            ("1.", 2),
            ("+1", 0),
            (".5", 0),
            ("1e", 2),
            ("nul", 3),
            ("\"\n\"", 1),
            ("\"\\x\"", 2),
            ("\"\\u12g4\"", 5),
            ("\"a", 2),
            ("1 1", 2),
            ("]", 0),
            ("[}", 1),
            ("{\"a\":1,}", 7),
            ("\u{feff}1", 0),
            ("NaN", 0),
            ("'a'", 0),
            ("[1", 2),
        ] {
            check_refused(text, offset, Reason::Syntax);
        }
    }

    #[test]
    fn one_key_twice_is_refused_however_it_is_written() {
        check_refused(r#"{"a":1,"a":2}"#, 7, Reason::DuplicateKey("a".to_owned()));
        check_refused(
            r#"{"a":1,"\u0061":2}"#,
            7,
            Reason::DuplicateKey("a".to_owned()),
        );
        check_kept(r#"{"a":{"a":1},"b":{"a":1}}"#);
    }

    #[test]
    fn half_characters_are_refused() {
        for text in [
            r#""\ud800""#,
            r#""\udc00""#,
            r#""\ud800x""#,
            r#""\ud800\u0041""#,
            r#""\ud800\n""#,
        ] {
            assert_eq!(
                Payload::parse(text).unwrap_err().reason,
                Reason::LoneSurrogate,
                "{text}"
            );
        }
    }

    #[test]
    fn depth_has_a_limit() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        check_kept(&nested(128));
        check_refused(&nested(129), 128, Reason::TooDeep);
        check_refused(&"[".repeat(1_000_000), 128, Reason::TooDeep);
    }

    #[test]
    fn it_does_not_print_what_it_holds() {
        assert_eq!(
            format!("{:?}", Payload::parse("\"secret\"").unwrap()),
            "Payload(8 bytes)"
        );
    }

    fn any_json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<f64>().prop_map(Into::into),
            "\\PC*|[\\x00-\\x1f\"\\\\]*".prop_map(Into::into),
        ];
        leaf.prop_recursive(6, 64, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Into::into),
                prop::collection::hash_map("\\PC{0,6}", inner, 0..8)
                    .prop_map(|map| map.into_iter().collect::<serde_json::Map<_, _>>().into()),
            ]
        })
    }

    proptest! {
        #[test]
        fn whatever_serde_json_prints_is_kept(value in any_json()) {
            let text = value.to_string();
            let payload = Payload::parse(&text).unwrap();
            prop_assert_eq!(payload.as_str(), &text);
        }

        #[test]
        fn what_is_accepted_is_json_for_others_too(text in "[\\[\\]{}\",:0-9eE+\\-.\\\\utrfalsn \n]{0,24}") {
            if let Ok(payload) = Payload::parse(&text) {
                // serde_json agrees, but for numbers beyond f64, which it can't hold.
                if let Err(error) = serde_json::from_str::<serde_json::Value>(payload.as_str()) {
                    prop_assert!(error.to_string().contains("number out of range"), "{}", error);
                }
            } else {
                prop_assert!(serde_json::from_str::<serde_json::Value>(&text).is_err() || text.matches('"').count() >= 4);
            }
        }

        #[test]
        fn strings_are_escaped_as_json(text: String) {
            let json = json_string(&text);
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
            prop_assert!(Payload::parse(&json).is_ok());
        }
    }
}
