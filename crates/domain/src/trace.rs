//! Trace context: to which trace of a distributed system a request belongs, as W3C Trace Context writes it in the
//! header `traceparent` (<https://www.w3.org/TR/trace-context-2/>).

use std::fmt;

/// The identity of one trace: 16 bytes, not all zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId([u8; 16]);

/// The identity of one span of a trace: 8 bytes, not all zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId([u8; 8]);

/// A place in a trace: the span that caused what is done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceParent {
    /// The trace.
    pub trace_id: TraceId,
    /// The span within it.
    pub span_id: SpanId,
    flags: u8,
}

impl TraceId {
    /// Takes bytes; `None` when all are zero, which stands for no trace.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Option<Self> {
        (bytes != [0; 16]).then_some(Self(bytes))
    }

    /// Its bytes.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0
    }
}

impl SpanId {
    /// Takes bytes; `None` when all are zero, which stands for no span.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 8]) -> Option<Self> {
        (bytes != [0; 8]).then_some(Self(bytes))
    }

    /// Its bytes.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 8] {
        self.0
    }
}

impl TraceParent {
    /// How long its text is, in characters.
    pub const LENGTH: usize = 55;
    const SAMPLED: u8 = 0x01;
    /// The trace's id was drawn at random (level 2).
    const RANDOM: u8 = 0x02;

    /// A place in a trace, which is recorded or not.
    #[must_use]
    pub const fn new(trace_id: TraceId, span_id: SpanId, is_sampled: bool) -> Self {
        Self {
            trace_id,
            span_id,
            flags: if is_sampled { Self::SAMPLED } else { 0 },
        }
    }

    /// Reads the header; `None` where it is malformed, which the standard says to treat as absent. What a version
    /// to come may add is left out.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (known, rest) = text.as_bytes().split_at_checked(Self::LENGTH)?;
        let (version, known) = field::<1>(known)?;
        let (trace_id, known) = field::<16>(after_dash(known)?)?;
        let (span_id, known) = field::<8>(after_dash(known)?)?;
        let (flags, _) = field::<1>(after_dash(known)?)?;
        let understood = match (version, rest) {
            ([0], []) => Self::SAMPLED | Self::RANDOM,
            ([0 | 0xff], _) => return None,
            (_, [] | [b'-', ..]) => Self::SAMPLED,
            _ => return None,
        };
        let [flags] = flags;
        Some(Self {
            trace_id: TraceId::from_bytes(trace_id)?,
            span_id: SpanId::from_bytes(span_id)?,
            flags: flags & understood,
        })
    }

    /// Whether whoever sent it records this trace.
    #[must_use]
    pub const fn is_sampled(self) -> bool {
        self.flags & Self::SAMPLED != 0
    }

    /// Another place in the same trace, recorded or not.
    #[must_use]
    pub const fn at(self, span_id: SpanId, is_sampled: bool) -> Self {
        let sampled = if is_sampled { Self::SAMPLED } else { 0 };
        Self {
            trace_id: self.trace_id,
            span_id,
            flags: (self.flags & Self::RANDOM) | sampled,
        }
    }
}

fn after_dash(text: &[u8]) -> Option<&[u8]> {
    text.strip_prefix(b"-")
}

/// `N` bytes in lower-case hexadecimal, and what follows them.
fn field<const N: usize>(text: &[u8]) -> Option<([u8; N], &[u8])> {
    let (digits, rest) = text.split_at_checked(2 * N)?;
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        for digit in pair {
            let value = match digit {
                b'0'..=b'9' => digit - b'0',
                b'a'..=b'f' => digit - b'a' + 10,
                _ => return None,
            };
            *byte = (*byte << 4) | value;
        }
    }
    Some((bytes, rest))
}

fn hexadecimal(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hexadecimal(&self.0, f)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hexadecimal(&self.0, f)
    }
}

/// The header's value, in version 00.
impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            trace_id,
            span_id,
            flags,
        } = self;
        write!(f, "00-{trace_id}-{span_id}-{flags:02x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    #[track_caller]
    fn check(text: &str, expected: Option<&str>) {
        let parsed = TraceParent::parse(text).map(|parent| parent.to_string());
        assert_eq!(parsed.as_deref(), expected, "{text:?}");
    }

    #[test]
    fn the_present_version_is_kept_as_it_is() {
        for flags in ["00", "01", "02", "03"] {
            let text = format!("00-{TRACE}-{SPAN}-{flags}");
            check(&text, Some(&text));
        }
    }

    #[test]
    fn what_the_flags_will_mean_one_day_is_not_handed_on() {
        check(
            &format!("00-{TRACE}-{SPAN}-ff"),
            Some(&format!("00-{TRACE}-{SPAN}-03")),
        );
        check(
            &format!("01-{TRACE}-{SPAN}-ff"),
            Some(&format!("00-{TRACE}-{SPAN}-01")),
        );
    }

    #[test]
    fn a_version_to_come_is_read_as_far_as_it_is_known() {
        let known = Some(format!("00-{TRACE}-{SPAN}-01"));
        check(&format!("cc-{TRACE}-{SPAN}-01"), known.as_deref());
        check(
            &format!("cc-{TRACE}-{SPAN}-01-more.of it"),
            known.as_deref(),
        );
        check(&format!("cc-{TRACE}-{SPAN}-01-"), known.as_deref());
        check(&format!("cc-{TRACE}-{SPAN}-01more"), None);
        check(&format!("ff-{TRACE}-{SPAN}-01"), None);
    }

    #[test]
    fn what_is_malformed_is_nothing() {
        let zero = |text: &str| text.replace(|_| true, "0");
        for text in [
            String::new(),
            "00".to_owned(),
            format!("00-{TRACE}-{SPAN}"),
            format!("00-{TRACE}-{SPAN}-0"),
            format!("00-{TRACE}-{SPAN}-01-"),
            format!("00-{TRACE}-{SPAN}-01-more"),
            format!("00-{TRACE}-{SPAN}-0g"),
            format!("00_{TRACE}-{SPAN}-01"),
            format!("0-0{TRACE}-{SPAN}-01"),
            format!("00-{}-{SPAN}-01", zero(TRACE)),
            format!("00-{TRACE}-{}-01", zero(SPAN)),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("0{}-{TRACE}-{SPAN}-01", 'A'),
            format!("00-{TRACE}-{SPAN}-\u{e9}"),
            format!(" 00-{TRACE}-{SPAN}-01"),
        ] {
            check(&text, None);
        }
    }

    #[test]
    fn a_child_stays_in_its_trace() {
        let parent = TraceParent::parse(&format!("00-{TRACE}-{SPAN}-03")).unwrap();
        assert!(parent.is_sampled());
        let span = SpanId::from_bytes([1; 8]).unwrap();
        let child = parent.at(span, false);
        assert_eq!(child.to_string(), format!("00-{TRACE}-0101010101010101-02"));
        assert!(!child.is_sampled());
    }

    proptest! {
        #[test]
        fn each_comes_back_as_it_was_written(trace: [u8; 16], span: [u8; 8], is_sampled: bool) {
            prop_assume!(trace != [0; 16] && span != [0; 8]);
            let parent = TraceParent::new(
                TraceId::from_bytes(trace).unwrap(),
                SpanId::from_bytes(span).unwrap(),
                is_sampled,
            );
            let text = parent.to_string();
            prop_assert_eq!(text.len(), TraceParent::LENGTH);
            prop_assert_eq!(TraceParent::parse(&text), Some(parent));
        }

        #[test]
        fn no_text_does_harm(text in ".{0,80}") {
            if let Some(parent) = TraceParent::parse(&text) {
                prop_assert_eq!(TraceParent::parse(&parent.to_string()), Some(parent));
            }
        }
    }
}
