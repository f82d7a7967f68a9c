//! Whole numbers, however they are written: in JSON Schema `2.0` is an integer as `2` is, and some languages write it so.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};

/// The greatest number up to which a float tells all whole numbers apart: 2^53.
const FLOAT_MAX: f64 = 9_007_199_254_740_992.0;

/// Reads a whole number that must be there.
pub(crate) fn whole<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<u64>,
{
    Whole::deserialize(deserializer).map(|Whole(number)| number)
}

/// Reads a whole number, or null for none. A member that may be absent is `default` besides.
pub(crate) fn optional<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<u64>,
{
    let number = Option::<Whole<T>>::deserialize(deserializer)?;
    Ok(number.map(|Whole(number)| number))
}

struct Whole<T>(T);

impl<'de, T: TryFrom<u64>> Deserialize<'de> for Whole<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Digits(PhantomData)).map(Self)
    }
}

struct Digits<T>(PhantomData<T>);

impl<T: TryFrom<u64>> Visitor<'_> for Digits<T> {
    type Value = T;

    /// In the words of serde's own numbers, which are put into the interface's words where all are.
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("u64")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        T::try_from(number).map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &self))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        match u64::try_from(number) {
            Ok(number) => self.visit_u64(number),
            Err(_) => Err(E::invalid_value(Unexpected::Signed(number), &self)),
        }
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<T, E> {
        let refused = || E::invalid_type(Unexpected::Float(number), &self);
        if number.fract() != 0.0 || !(0.0..=FLOAT_MAX).contains(&number) {
            return Err(refused());
        }
        // Without a sign: -0.0 is 0.
        let digits = format!("{:.0}", number.abs());
        match digits.parse() {
            Ok(number) => self.visit_u64(number),
            Err(_) => Err(refused()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<u16, String> {
        whole(&mut serde_json::Deserializer::from_str(json)).map_err(|error| error.to_string())
    }

    #[test]
    fn a_whole_number_is_one_however_it_is_written() {
        for (json, expected) in [
            ("2", 2),
            ("2.0", 2),
            ("20e1", 200),
            ("6.5535e4", 65_535),
            ("0", 0),
            ("-0", 0),
            ("-0.0", 0),
        ] {
            assert_eq!(read(json), Ok(expected), "{json}");
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        for (json, said) in [
            ("2.5", "invalid type: floating point `2.5`, expected u64"),
            ("1e300", "expected u64"),
            ("65536", "invalid value: integer `65536`, expected u64"),
            ("65536.0", "invalid value: integer `65536`, expected u64"),
            ("-1", "invalid value: integer `-1`, expected u64"),
            ("\"2\"", "invalid type: string \"2\", expected u64"),
            ("null", "invalid type: null, expected u64"),
        ] {
            let error = read(json).unwrap_err();
            assert!(error.contains(said), "{json}: {error}");
        }
    }

    #[test]
    fn null_is_none_where_none_may_be() {
        let read = |json: &str| -> Result<Option<u8>, _> {
            optional(&mut serde_json::Deserializer::from_str(json))
        };
        assert_eq!(read("null").unwrap(), None);
        assert_eq!(read("9.0").unwrap(), Some(9));
        assert!(read("256").is_err());
    }
}
