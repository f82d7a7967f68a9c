//! The lists of tags in `If-Match` and `If-None-Match`.

/// What a header names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Tags {
    /// `*`: whatever there is.
    Any,
    /// These; what was no tag is left out, and matches nothing.
    Listed(Vec<Tag>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tag {
    is_weak: bool,
    opaque: String,
}

impl Tags {
    /// Reads the lines of a header, which make one list; `None` where there is no line.
    pub(crate) fn parse<'a>(lines: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let lines: Vec<&str> = lines.into_iter().collect();
        match lines.as_slice() {
            [] => None,
            [line] if line.trim() == "*" => Some(Self::Any),
            lines => Some(Self::Listed(
                lines.iter().flat_map(|line| list(line)).collect(),
            )),
        }
    }

    /// Whether one of them is this strong tag.
    pub(crate) fn match_strongly(&self, opaque: &str) -> bool {
        self.strong().is_none_or(|tags| tags.contains(&opaque))
    }

    /// Whether one of them is this tag, weak or strong.
    pub(crate) fn match_weakly(&self, opaque: &str) -> bool {
        self.all().is_none_or(|tags| tags.contains(&opaque))
    }

    /// The strong ones; `None` is whatever there is.
    pub(crate) fn strong(&self) -> Option<Vec<&str>> {
        self.chosen(|tag| !tag.is_weak)
    }

    /// All of them, weak and strong; `None` is whatever there is.
    pub(crate) fn all(&self) -> Option<Vec<&str>> {
        self.chosen(|_| true)
    }

    fn chosen(&self, choose: impl Fn(&Tag) -> bool) -> Option<Vec<&str>> {
        match self {
            Self::Any => None,
            Self::Listed(tags) => Some(
                tags.iter()
                    .filter(|tag| choose(tag))
                    .map(|tag| tag.opaque.as_str())
                    .collect(),
            ),
        }
    }
}

/// The tags of one line. Commas and blanks may stand within a tag: its end is its second quotation mark.
fn list(line: &str) -> Vec<Tag> {
    let mut tags = Vec::new();
    let mut rest = line;
    loop {
        rest = rest.trim_start_matches([',', ' ', '\t']);
        if rest.is_empty() {
            return tags;
        }
        let (is_weak, quoted) = match rest.strip_prefix("W/") {
            Some(quoted) => (true, quoted),
            None => (false, rest),
        };
        let found = quoted
            .strip_prefix('"')
            .and_then(|opened| opened.split_once('"'));
        // Up to the next comma nothing else may follow; if something does, all of it is no tag.
        let (tag, after) = match found {
            Some((opaque, after)) => (Some(opaque), after),
            None => (None, rest),
        };
        let (trailing, next) = after.split_once(',').unwrap_or((after, ""));
        if let Some(opaque) = tag
            && trailing.trim().is_empty()
        {
            tags.push(Tag {
                is_weak,
                opaque: opaque.to_owned(),
            });
        }
        rest = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Weak tags are written with `W/`, as they came.
    #[track_caller]
    fn check(lines: &[&str], expected: &[&str]) {
        let found = match Tags::parse(lines.iter().copied()) {
            Some(Tags::Listed(tags)) => tags,
            other => panic!("{lines:?}: {other:?}"),
        };
        let found: Vec<String> = found
            .iter()
            .map(|tag| format!("{}{}", if tag.is_weak { "W/" } else { "" }, tag.opaque))
            .collect();
        assert_eq!(found, expected, "{lines:?}");
    }

    #[test]
    fn lists_are_read_over_all_lines() {
        check(&["\"a\""], &["a"]);
        check(&["W/\"a\""], &["W/a"]);
        check(&["\"a\", W/\"b\",\"c\""], &["a", "W/b", "c"]);
        check(&["\"a\"", "\"b\", \"c\""], &["a", "b", "c"]);
        check(&[",, \"a\" ,\t, \"b\","], &["a", "b"]);
        check(&["\"\""], &[""]);
        check(&["\"a,b\", \"c d\""], &["a,b", "c d"]);
        check(&["\"W/a\""], &["W/a"]);
    }

    #[test]
    fn what_is_no_tag_is_left_out() {
        check(&[""], &[]);
        check(&["a"], &[]);
        check(&["w/\"a\""], &[]);
        check(&["W/ \"a\""], &[]);
        check(&["\"a"], &[]);
        check(&["a, \"b\""], &["b"]);
        check(&["\"a\"x, \"b\""], &["b"]);
        check(&["\"a\" \"b\", \"c\""], &["c"]);
        check(&["*, \"a\""], &["a"]);
        check(&["*", "\"a\""], &["a"]);
        check(&["**"], &[]);
    }

    #[test]
    fn a_star_stands_alone() {
        assert_eq!(Tags::parse(["*"]), Some(Tags::Any));
        assert_eq!(Tags::parse([" * "]), Some(Tags::Any));
        assert_eq!(Tags::parse([]), None);
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_harm(lines in proptest::collection::vec(".{0,60}", 1..4)) {
            prop_assert!(Tags::parse(lines.iter().map(String::as_str)).is_some());
        }

        #[test]
        fn what_is_written_as_a_list_is_read_as_it(tags in proptest::collection::vec("[!#-~]{0,8}", 1..6)) {
            let line = tags.iter().map(|tag| format!("\"{tag}\"")).collect::<Vec<_>>().join(", ");
            let read = Tags::parse([line.as_str()]).unwrap();
            prop_assert_eq!(read.strong().unwrap(), tags);
        }
    }
}
