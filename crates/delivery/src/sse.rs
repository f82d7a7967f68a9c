//! The text of an event stream (`text/event-stream`), as the HTML standard reads it. Pure.

use bytes::Bytes;

/// How long a client waits before it reconnects, in milliseconds.
pub const RETRY_MILLISECONDS: u32 = 2000;

/// A comment, which a client skips: it shows that the connection lives.
pub(crate) const HEARTBEAT: Bytes = Bytes::from_static(b": heartbeat\n\n");

/// What every stream begins with, and what one ends with that its server ends early.
pub(crate) const RETRY: Bytes = Bytes::from_static(b"retry: 2000\n\n");

/// Encodes one stored event.
///
/// `id` is its sequence. `event` must be a name: where it has a line break, only the part before it is sent, so that
/// no text can forge a field. Each line of `data` becomes a `data:` field of its own; stored data have one line.
pub fn encode(id: u32, event: &str, data: &str) -> Bytes {
    let name = event.split(['\n', '\r', '\0']).next().unwrap_or_default();
    let mut text = String::with_capacity(name.len() + data.len() + 40);
    text.push_str("id: ");
    text.push_str(&id.to_string());
    text.push_str("\nevent: ");
    text.push_str(name);
    text.push('\n');
    for line in lines(data) {
        text.push_str("data: ");
        text.push_str(line);
        text.push('\n');
    }
    text.push('\n');
    Bytes::from(text)
}

/// Splits at `\r\n`, `\n` and `\r`, the three line ends of the format; an empty text is one empty line.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(end) = text.find(['\n', '\r']) else {
            rest = None;
            return Some(text);
        };
        let (line, tail) = text.split_at(end);
        rest = tail.strip_prefix("\r\n").or_else(|| tail.get(1..));
        Some(line)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Default, PartialEq, Eq)]
    struct Decoded {
        id: String,
        event: String,
        data: String,
    }

    /// Reads a stream as the HTML standard says ("interpreting an event stream").
    fn decode(stream: &str) -> Vec<Decoded> {
        let stream = stream.replace("\r\n", "\n").replace('\r', "\n");
        let (mut events, mut id, mut event, mut data) =
            (Vec::new(), String::new(), String::new(), String::new());
        for line in stream.split('\n') {
            if line.is_empty() {
                if !data.is_empty() {
                    data.pop();
                    events.push(Decoded {
                        id: id.clone(),
                        event: std::mem::take(&mut event),
                        data: std::mem::take(&mut data),
                    });
                }
                event.clear();
                continue;
            }
            if line.starts_with(':') {
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "id" if !value.contains('\0') => id = value.to_owned(),
                "event" => event = value.to_owned(),
                "data" => {
                    data.push_str(value);
                    data.push('\n');
                }
                _ => {}
            }
        }
        events
    }

    #[test]
    fn an_event_as_text() {
        let text = encode(3, "message", r#"{"text":"hello"}"#);
        assert_eq!(
            text,
            "id: 3\nevent: message\ndata: {\"text\":\"hello\"}\n\n"
        );
    }

    #[test]
    fn a_lone_carriage_return_forges_nothing() {
        let text =
            String::from_utf8(encode(1, "message", "a\revent: done\rdata: b").to_vec()).unwrap();
        let events = decode(&text);
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].event, "message");
        let text = String::from_utf8(encode(1, "mess\nid: 9", "a").to_vec()).unwrap();
        assert_eq!(
            decode(&text),
            [Decoded {
                id: "1".into(),
                event: "mess".into(),
                data: "a".into()
            }]
        );
    }

    #[test]
    fn heartbeat_and_retry_are_no_events() {
        let mut stream = RETRY.to_vec();
        stream.extend_from_slice(&HEARTBEAT);
        assert_eq!(decode(std::str::from_utf8(&stream).unwrap()), []);
        assert_eq!(RETRY, format!("retry: {RETRY_MILLISECONDS}\n\n"));
    }

    proptest! {
        #[test]
        fn decoding_undoes_encoding(id: u32, event in "[a-z_]{1,20}", data in "(.|\n|\r|\r\n){1,80}") {
            let text = String::from_utf8(encode(id, &event, &data).to_vec()).unwrap();
            let data = data.replace("\r\n", "\n").replace('\r', "\n");
            prop_assert_eq!(decode(&text), vec![Decoded { id: id.to_string(), event, data }]);
        }

        #[test]
        fn one_line_of_data_is_one_field(data in "[^\n\r]{0,80}") {
            let text = String::from_utf8(encode(1, "message", &data).to_vec()).unwrap();
            prop_assert_eq!(text.matches('\n').count(), 4);
        }
    }
}
