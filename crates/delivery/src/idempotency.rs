//! The form of `Idempotency-Key` on the wire: quoted, as a structured field's string, or bare.

/// Takes the quotes off: `"abc"` and `abc` are the same key. What a key may consist of, the domain knows.
pub(crate) fn unquoted(value: &str) -> Result<String, &'static str> {
    let value = value.trim();
    match value.strip_prefix('"') {
        Some(rest) => unquote(rest).ok_or("a quoted key ends with its closing quote"),
        None => Ok(value.to_owned()),
    }
}

/// The content of a quoted string whose opening quote is gone; nothing may follow the closing one.
fn unquote(rest: &str) -> Option<String> {
    let mut key = String::with_capacity(rest.len());
    let mut characters = rest.chars();
    loop {
        match characters.next()? {
            '"' => return characters.next().is_none().then_some(key),
            '\\' => key.push(characters.next()?),
            c => key.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use deed_domain::idempotency::IdempotencyKey;
    use proptest::prelude::*;

    fn parse(value: &str) -> Option<String> {
        let text = unquoted(value).ok()?;
        IdempotencyKey::parse(&text)
            .ok()
            .map(|key| key.as_str().to_owned())
    }

    #[test]
    fn quoted_and_bare_are_the_same() {
        for value in ["abc", "\"abc\"", " abc ", "\"a\\bc\""] {
            assert_eq!(parse(value).as_deref(), Some("abc"), "{value}");
        }
        assert_eq!(parse("\"a\\\"b\\\\\"").as_deref(), Some("a\"b\\"));
    }

    #[test]
    fn limits() {
        assert!(parse(&"k".repeat(255)).is_some());
        for value in [
            &"k".repeat(256),
            "",
            "\"\"",
            "a b",
            "\"abc",
            "\"abc\"d",
            "\"abc\\",
            "é",
        ] {
            assert_eq!(parse(value), None, "{value}");
        }
    }

    proptest! {
        #[test]
        fn any_visible_key_survives_quoting(key in "[!-~]{1,255}") {
            let quoted = format!("\"{}\"", key.replace('\\', "\\\\").replace('"', "\\\""));
            prop_assert_eq!(parse(&quoted), Some(key));
        }

        #[test]
        fn any_text_is_read_without_harm(text in ".{0,300}") {
            if let Some(key) = parse(&text) {
                prop_assert!((1..=IdempotencyKey::MAX).contains(&key.len()));
            }
        }
    }
}
