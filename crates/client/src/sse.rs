//! Reads event streams (`text/event-stream`) as the HTML standard describes them, however the bytes are cut. Pure.

use std::collections::VecDeque;
use std::time::Duration;

/// What a stream brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Item {
    Event(Block),
    /// How long to wait before reconnecting.
    Retry(Duration),
    /// Shows that the connection lives.
    Comment,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Block {
    /// The id that stands in this very block; the standard's "last event id" would go on from one to the next.
    pub(crate) id: Option<String>,
    /// Its name; `message` where none is said.
    pub(crate) name: String,
    pub(crate) data: String,
}

/// Why a stream can't be read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Broken {
    #[error("an event is larger than {0} bytes")]
    TooLarge(usize),
    #[error("an event is not UTF-8")]
    NotUtf8,
}

/// Cuts what arrives into items. An event that the stream's end cuts off is none.
#[derive(Debug)]
pub(crate) struct Parser {
    /// How many bytes the lines of one event may have together.
    limit: usize,
    /// The line that is not complete yet.
    line: Vec<u8>,
    /// How many bytes the complete lines of the present event had.
    size: usize,
    /// Whether the last line ended with a carriage return: a line feed right after it belongs to it.
    after_return: bool,
    is_first_line: bool,
    id: Option<String>,
    name: String,
    data: Option<String>,
    items: VecDeque<Item>,
}

impl Parser {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            line: Vec::new(),
            size: 0,
            after_return: false,
            is_first_line: true,
            id: None,
            name: String::new(),
            data: None,
            items: VecDeque::new(),
        }
    }

    /// The next item of what has arrived.
    pub(crate) fn next(&mut self) -> Option<Item> {
        self.items.pop_front()
    }

    /// Takes bytes in. After an error the stream is of no use.
    pub(crate) fn push(&mut self, mut bytes: &[u8]) -> Result<(), Broken> {
        while let Some(first) = bytes.first() {
            if std::mem::take(&mut self.after_return) && *first == b'\n' {
                bytes = bytes.get(1..).unwrap_or_default();
                continue;
            }
            let end = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let (part, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
            if self
                .size
                .saturating_add(self.line.len())
                .saturating_add(part.len())
                > self.limit
            {
                return Err(Broken::TooLarge(self.limit));
            }
            self.line.extend_from_slice(part);
            bytes = match rest.split_first() {
                Some((end, rest)) => {
                    self.after_return = *end == b'\r';
                    self.end_line()?;
                    rest
                }
                None => rest,
            };
        }
        Ok(())
    }

    fn end_line(&mut self) -> Result<(), Broken> {
        let line = std::mem::take(&mut self.line);
        let mut text = std::str::from_utf8(&line).map_err(|_| Broken::NotUtf8)?;
        if std::mem::take(&mut self.is_first_line) {
            text = text.strip_prefix('\u{feff}').unwrap_or(text);
        }
        if text.is_empty() {
            self.dispatch();
            return Ok(());
        }
        if text.starts_with(':') {
            self.items.push_back(Item::Comment);
            return Ok(());
        }
        self.size = self.size.saturating_add(line.len());
        let (field, value) = text.split_once(':').unwrap_or((text, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.name),
            "id" if !value.contains('\0') => self.id = Some(value.to_owned()),
            "data" => match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            },
            "retry" if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) => {
                let wait = Duration::from_millis(value.parse().unwrap_or(u64::MAX));
                self.items.push_back(Item::Retry(wait));
            }
            // Others are to be ignored.
            _ => {}
        }
        Ok(())
    }

    fn dispatch(&mut self) {
        self.size = 0;
        let (id, name) = (self.id.take(), std::mem::take(&mut self.name));
        if let Some(data) = self.data.take() {
            let name = if name.is_empty() {
                "message".to_owned()
            } else {
                name
            };
            self.items.push_back(Item::Event(Block { id, name, data }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMIT: usize = 1000;

    fn read(parts: &[&[u8]], limit: usize) -> Result<Vec<Item>, Broken> {
        let mut parser = Parser::new(limit);
        let mut items = Vec::new();
        for part in parts {
            parser.push(part)?;
            items.extend(std::iter::from_fn(|| parser.next()));
        }
        Ok(items)
    }

    fn event(id: Option<&str>, name: &str, data: &str) -> Item {
        Item::Event(Block {
            id: id.map(str::to_owned),
            name: name.to_owned(),
            data: data.to_owned(),
        })
    }

    fn check(text: &str, expected: &[Item]) {
        assert_eq!(
            read(&[text.as_bytes()], LIMIT).unwrap(),
            expected,
            "{text:?}"
        );
    }

    #[test]
    fn an_event_has_id_name_and_data() {
        check(
            "id: 3\nevent: progress\ndata: {}\n\n",
            &[event(Some("3"), "progress", "{}")],
        );
        check("data: a\n\n", &[event(None, "message", "a")]);
        check("data:a\nid\n\n", &[event(Some(""), "message", "a")]);
        check("data:  a\n\n", &[event(None, "message", " a")]);
    }

    #[test]
    fn an_id_belongs_to_its_own_block() {
        check(
            "id: 1\ndata: a\n\ndata: b\n\n",
            &[
                event(Some("1"), "message", "a"),
                event(None, "message", "b"),
            ],
        );
    }

    #[test]
    fn lines_end_in_three_ways() {
        for end in ["\n", "\r", "\r\n"] {
            check(
                &format!("data: a{end}data: b{end}{end}data{end}{end}"),
                &[event(None, "message", "a\nb"), event(None, "message", "")],
            );
        }
        check(
            "data: a\r\rdata: b\n\r\n",
            &[event(None, "message", "a"), event(None, "message", "b")],
        );
    }

    #[test]
    fn a_block_without_data_is_no_event() {
        check("id: 1\nevent: x\n\n\n\n", &[]);
        check("event: x\n\ndata: a\n\n", &[event(None, "message", "a")]);
    }

    #[test]
    fn comments_and_waits() {
        check(": alive\n\n", &[Item::Comment]);
        check(
            "retry: 2000\n\nretry: -1\nretry:\nretry: 1.5\n",
            &[Item::Retry(Duration::from_millis(2000))],
        );
        check(
            "retry: 99999999999999999999999\n",
            &[Item::Retry(Duration::from_millis(u64::MAX))],
        );
    }

    #[test]
    fn a_byte_order_mark_is_skipped_once() {
        check("\u{feff}data: a\n\n", &[event(None, "message", "a")]);
        check("\u{feff}\u{feff}data: a\n\n", &[]);
        check(":\n\u{feff}data: a\n\n", &[Item::Comment]);
    }

    #[test]
    fn unknown_fields_and_ids_with_nul_are_ignored() {
        check("x: y\nid: a\0\ndata: a\n\n", &[event(None, "message", "a")]);
    }

    #[test]
    fn what_the_end_cuts_off_is_no_event() {
        check("data: a\n\ndata: b\n", &[event(None, "message", "a")]);
    }

    #[test]
    fn an_event_is_bounded_by_bytes() {
        let large = "x".repeat(40);
        let text = format!("data: {large}\ndata: {large}\n\n");
        assert!(read(&[text.as_bytes()], 92).is_ok());
        assert_eq!(read(&[text.as_bytes()], 91), Err(Broken::TooLarge(91)));
        // Also one whose line never ends.
        assert_eq!(
            read(&[&[b'x'; 60], &[b'x'; 60]], 91),
            Err(Broken::TooLarge(91))
        );
        // Each for itself; comments are no part of one.
        let many = format!("data: {large}\n\n: {large}\n").repeat(10);
        assert!(read(&[many.as_bytes()], 50).is_ok());
    }

    #[test]
    fn what_is_not_utf_8_is_refused() {
        assert_eq!(read(&[b"data: \xff\n"], LIMIT), Err(Broken::NotUtf8));
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_items(
            text in "((data|id|event|retry|:)?:? ?[a-zé0-9]{0,6}(\r|\n|\r\n)){0,30}",
            cuts in proptest::collection::vec(0usize..400, 0..20),
        ) {
            let whole = read(&[text.as_bytes()], LIMIT);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.sort_unstable();
            let mut parts = Vec::new();
            let mut from = 0;
            for cut in cuts {
                parts.push(&text.as_bytes()[from..cut]);
                from = cut;
            }
            parts.push(&text.as_bytes()[from..]);
            prop_assert_eq!(read(&parts, LIMIT), whole.clone());
            let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
            prop_assert_eq!(read(&bytes, LIMIT), whole);
        }

        #[test]
        fn any_bytes_are_read_without_harm(bytes: Vec<u8>) {
            let _ = read(&[&bytes], 64);
        }
    }
}
