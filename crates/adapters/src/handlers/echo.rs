//! `echo`: says its text back, word by word.

use std::time::Duration;

use async_trait::async_trait;
use deed_domain::action::payload::json_string;
use deed_domain::action::{ActionType, Payload, PerformedBy};
use deed_domain::ports::{ActionHandler, Context, Failure, Task};
use serde::Deserialize;
use serde_json::Value;

/// The form of its input; unknown members are accepted.
const SCHEMA: &str = r#"{"type":"object","required":["text"],"properties":{"text":{"type":"string","description":"What to say, one chunk a word."},"delay_ms":{"type":"integer","minimum":0,"maximum":60000,"description":"Pause before each word, in milliseconds."},"repeat":{"type":"integer","minimum":1,"maximum":100000,"description":"How often to say it."},"fail_at":{"type":"integer","minimum":1,"description":"Fails before the word of this number."}}}"#;

/// How many chunks one echo says at the most: a small request must not fill the store.
const CHUNKS_MAX: u64 = 100_000;

/// Emits one chunk `{"text": word}` for each word, and answers its input. Takes `text`, and optionally `delay_ms`
/// before each word, `repeat`, and `fail_at`: the number of the word before which it fails, for good. It also fails
/// for good, before the first word, when it would say more than 100,000 of them. An attempt after another goes on after
/// the words that are in the log already.
#[derive(Debug, Clone, Copy, Default)]
pub struct Echo;

struct Input {
    text: String,
    delay: Duration,
    repeat: u64,
    fail_at: Option<u64>,
}

impl Input {
    fn read(payload: &Payload) -> Result<Self, Failure> {
        let bad = || Failure::permanent("invalid_input", "The input is not of the type's form.");
        let wire: Wire = serde_json::from_str(payload.as_str()).map_err(|_| bad())?;
        let number =
            |value: Option<Value>| value.map(|value| whole(&value).ok_or_else(bad)).transpose();
        Ok(Self {
            text: wire.text,
            delay: Duration::from_millis(number(wire.delay_ms)?.unwrap_or(0)),
            repeat: number(wire.repeat)?.unwrap_or(1),
            fail_at: number(wire.fail_at)?,
        })
    }
}

/// The members that are of use; others may be as deep and as large as any payload.
#[derive(Deserialize)]
struct Wire {
    text: String,
    delay_ms: Option<Value>,
    repeat: Option<Value>,
    fail_at: Option<Value>,
}

/// JSON Schema calls `2.0` an integer too.
pub(super) fn whole(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| {
        let float = value
            .as_f64()
            .filter(|float| float.fract() == 0.0 && (0.0..=9e15).contains(float))?;
        format!("{float:.0}").parse().ok()
    })
}

#[async_trait]
impl ActionHandler for Echo {
    fn action_type(&self) -> ActionType {
        ActionType {
            input_schema: Some(Payload::from_stored(SCHEMA)),
            ..ActionType::new(super::type_name("echo"), PerformedBy::Handler)
        }
    }

    async fn perform(&self, task: &Task, context: &Context) -> Result<Payload, Failure> {
        let Input {
            text,
            delay,
            repeat,
            fail_at,
        } = Input::read(&task.input)?;
        let words: Vec<Payload> = text
            .split_whitespace()
            .map(|word| Payload::from_stored(format!("{{\"text\":{}}}", json_string(word))))
            .collect();
        let count = u64::try_from(words.len()).unwrap_or(u64::MAX);
        if count.saturating_mul(repeat) > CHUNKS_MAX {
            let message = format!("It would say more than {CHUNKS_MAX} words.");
            return Err(Failure::permanent("too_many_chunks", message));
        }
        let mut number = 0;
        for _ in 0..repeat {
            for word in &words {
                number += 1;
                if number <= u64::from(task.messages_before) {
                    continue;
                }
                if !delay.is_zero() {
                    tokio::select! {
                        () = tokio::time::sleep(delay) => {}
                        () = context.cancelled() => {}
                    }
                }
                if context.is_cancelled() {
                    return Err(Failure::retryable("stopped", "The echo was stopped."));
                }
                if fail_at == Some(number) {
                    let message = format!("It was asked to fail before word {number}.");
                    return Err(Failure::permanent("echo_failed", message));
                }
                context.message(word.clone()).await?;
            }
        }
        Ok(task.input.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handlers::testing::{perform, perform_after, schema_takes};

    fn texts(words: &[&str]) -> Vec<String> {
        words
            .iter()
            .map(|word| format!("{{\"text\":\"{word}\"}}"))
            .collect()
    }

    #[tokio::test]
    async fn it_says_its_text_word_by_word_and_answers_its_input() {
        let input = r#"{"text":"hello  wide\tworld", "other": 1}"#;
        let (chunks, answer) = perform(&Echo, input).await;
        assert_eq!(chunks, texts(&["hello", "wide", "world"]));
        assert_eq!(answer.unwrap().as_str(), input);
    }

    #[tokio::test]
    async fn members_that_it_does_not_know_may_be_any_json() {
        let deep = format!("{}{}", "[".repeat(127), "]".repeat(127));
        let input = format!(r#"{{"text":"a","deep":{deep},"large":1e999}}"#);
        let (chunks, answer) = perform(&Echo, &input).await;
        assert_eq!(chunks, texts(&["a"]));
        assert_eq!(answer.unwrap().as_str(), input);
    }

    #[tokio::test]
    async fn it_repeats() {
        let (chunks, _) = perform(&Echo, r#"{"text":"a b","repeat":2}"#).await;
        assert_eq!(chunks, texts(&["a", "b", "a", "b"]));
    }

    #[tokio::test]
    async fn a_small_request_does_not_fill_the_store() {
        let (chunks, answer) = perform(&Echo, r#"{"text":"a b","repeat":50001}"#).await;
        assert_eq!(chunks.len(), 0);
        let failure = answer.unwrap_err();
        assert_eq!(
            (failure.error.code.as_str(), failure.is_retryable),
            ("too_many_chunks", false)
        );
    }

    #[tokio::test]
    async fn it_fails_before_the_word_that_it_is_told() {
        let (chunks, answer) = perform(&Echo, r#"{"text":"a b c","fail_at":3}"#).await;
        assert_eq!(chunks, texts(&["a", "b"]));
        let failure = answer.unwrap_err();
        assert_eq!(
            (failure.error.code.as_str(), failure.is_retryable),
            ("echo_failed", false)
        );
        let (chunks, answer) = perform(&Echo, r#"{"text":"a","fail_at":2}"#).await;
        assert_eq!((chunks.len(), answer.is_ok()), (1, true));
    }

    #[tokio::test(start_paused = true)]
    async fn it_goes_on_after_what_an_earlier_attempt_has_said() {
        let input = r#"{"text":"a b c","repeat":2,"delay_ms":100}"#;
        let before = tokio::time::Instant::now();
        let (chunks, answer) = perform_after(&Echo, input, 4).await;
        assert_eq!(chunks, texts(&["b", "c"]));
        assert_eq!(answer.unwrap().as_str(), input);
        assert_eq!(before.elapsed(), Duration::from_millis(200));
        let (chunks, answer) = perform_after(&Echo, input, 6).await;
        assert_eq!((chunks.len(), answer.is_ok()), (0, true));
    }

    #[tokio::test(start_paused = true)]
    async fn it_pauses_before_each_word() {
        let before = tokio::time::Instant::now();
        perform(&Echo, r#"{"text":"a b c","delay_ms":100}"#)
            .await
            .1
            .unwrap();
        assert_eq!(before.elapsed(), Duration::from_millis(300));
    }

    #[tokio::test]
    async fn words_are_escaped() {
        let (chunks, _) = perform(&Echo, r#"{"text":"\"q\" \u0000"}"#).await;
        assert_eq!(chunks, [r#"{"text":"\"q\""}"#, r#"{"text":"\u0000"}"#]);
    }

    #[test]
    fn its_schema_takes_what_it_takes() {
        for (input, ok) in [
            (r#"{"text":""}"#, true),
            (r#"{"text":"a","x":[]}"#, true),
            (r#"{"text":"a","delay_ms":0,"repeat":1,"fail_at":1}"#, true),
            ("{}", false),
            (r#"{"text":1}"#, false),
            (r#"{"text":"a","repeat":0}"#, false),
            (r#"{"text":"a","delay_ms":60001}"#, false),
            (r#"{"text":"a","fail_at":1.5}"#, false),
        ] {
            assert_eq!(schema_takes(&Echo, input), ok, "{input}");
        }
    }

    #[test]
    fn whole_numbers_may_be_written_as_floats() {
        assert_eq!(whole(&serde_json::json!(2.0)), Some(2));
        assert_eq!(whole(&serde_json::json!(2.5)), None);
        assert_eq!(whole(&serde_json::json!(-1)), None);
        assert_eq!(whole(&serde_json::json!(1e300)), None);
    }
}
