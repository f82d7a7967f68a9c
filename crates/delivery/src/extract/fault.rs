//! Faults of shape and of limits, told with the place where they are.

use deed_api::problem::Fault;

use crate::problem::{ErrorCode, Refusal};

/// Where a request's faults are: decides between `pointer` and `parameter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Body,
    Query,
}

impl Part {
    fn fault(self, path: &[String], message: String) -> Fault {
        match self {
            Self::Body => Fault::at_pointer(pointer(path), message),
            Self::Query => Fault::in_parameter(path.join("."), message),
        }
    }
}

/// A JSON Pointer as a URI fragment: `#/a/0`. (RFC 6901, sections 3 and 6.)
pub(super) fn pointer(path: &[String]) -> String {
    let mut text = String::from("#");
    for part in path {
        text.push('/');
        for c in part.chars() {
            match c {
                '~' => text.push_str("~0"),
                '/' => text.push_str("~1"),
                c if c.is_ascii_graphic() && !"\"<>\\^`{|}#%".contains(c) => text.push(c),
                c => {
                    let mut buffer = [0; 4];
                    for byte in c.encode_utf8(&mut buffer).bytes() {
                        text.push_str(&format!("%{byte:02X}"));
                    }
                }
            }
        }
    }
    text
}

/// An error of shape: the one place where serde stopped.
pub(super) fn shape(part: Part, path: &serde_path_to_error::Path, message: &str) -> Refusal {
    let mut path: Vec<String> =
        path.iter()
            .filter_map(|segment| match segment {
                serde_path_to_error::Segment::Seq { index } => Some(index.to_string()),
                serde_path_to_error::Segment::Map { key } => Some(key.clone()),
                serde_path_to_error::Segment::Enum { .. }
                | serde_path_to_error::Segment::Unknown => None,
            })
            .collect();
    let message = without_place(message);
    let named = |kind: &str| {
        message
            .strip_prefix(kind)?
            .split('`')
            .next()
            .map(str::to_owned)
    };
    let what = match part {
        Part::Body => "field",
        Part::Query => "parameter",
    };
    let missing = named("missing field `");
    let unknown = named("unknown field `");
    let twice = named("duplicate field `");
    let said = match (&missing, &unknown, &twice) {
        (Some(_), _, _) => format!("this {what} is required"),
        (_, Some(_), _) => format!("there is no such {what}"),
        (_, _, Some(_)) => format!("this {what} stands twice"),
        _ => said_by_us(message),
    };
    if let Some(field) = missing.or(unknown).or(twice)
        && path.last() != Some(&field)
    {
        path.push(field);
    }
    Refusal::new(ErrorCode::ValidationFailed).faults(vec![part.fault(&path, said)])
}

/// What serde says of a value that does not fit its type, in the interface's words. What a type of ours says of its
/// own values stays as it is.
fn said_by_us(message: &str) -> String {
    if let Some(names) = message.strip_prefix("unknown variant ") {
        // "`x`, expected `a` or `b`", or "`x`, expected one of `a`, `b`, `c`": the value may hold anything but the last.
        let names = names
            .rsplit_once("expected ")
            .map_or("", |(_, names)| names);
        let names: Vec<&str> = names.split('`').skip(1).step_by(2).collect();
        return format!("must be one of {}", names.join(", "));
    }
    let said = match message {
        "invalid digit found in string" | "cannot parse integer from empty string" => {
            "must be a whole number"
        }
        "number too large to fit in target type" | "number too small to fit in target type" => {
            "is out of range"
        }
        _ => match mismatch(message) {
            Some((found, expected)) => fitting(found, expected),
            None => message,
        },
    };
    said.to_owned()
}

/// What was found and what was expected, of serde's "invalid type: integer `5`, expected a string".
fn mismatch(message: &str) -> Option<(&str, &str)> {
    let rest = ["invalid type: ", "invalid value: ", "invalid length "]
        .iter()
        .find_map(|kind| message.strip_prefix(kind))?;
    // What was found is repeated from the request, and may itself say "expected".
    rest.rsplit_once(", expected ")
}

fn fitting(found: &str, expected: &str) -> &'static str {
    match expected {
        _ if found == "null" => "must not be null",
        "a string" | "a borrowed string" => "must be a text",
        "a boolean" => "must be true or false",
        "a sequence" => "must be a list",
        "a map" => "must be an object",
        "f32" | "f64" => "must be a number",
        "u8" | "u16" | "u32" | "u64" | "usize" | "i8" | "i16" | "i32" | "i64" | "isize" => {
            if found.starts_with("integer ") {
                "is out of range"
            } else {
                "must be a whole number"
            }
        }
        _ if expected.starts_with("struct ") => "must be an object",
        _ => "is not of the right type",
    }
}

/// serde_json ends its messages with a line and column, which mean nothing beside a pointer.
fn without_place(message: &str) -> &str {
    message
        .rfind(" at line ")
        .and_then(|at| message.get(..at))
        .unwrap_or(message)
}

/// All broken limits of a value together, each place in its own fault.
pub(super) fn limits(part: Part, report: &garde::Report) -> Refusal {
    let faults = report
        .iter()
        .map(|(path, error)| part.fault(&segments(&path.to_string()), error.message().to_owned()))
        .collect();
    Refusal::new(ErrorCode::ValidationFailed).faults(faults)
}

/// Splits garde's `scopes[0]` or `a.b` into its parts. Names of wire types hold neither dots nor brackets.
fn segments(path: &str) -> Vec<String> {
    path.split(['.', '[', ']'])
        .filter(|part| !part.is_empty())
        .map(|part| part.strip_prefix("r#").unwrap_or(part).to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_are_escaped() {
        let check = |path: &[&str], expected: &str| {
            let path: Vec<String> = path.iter().map(|&part| part.to_owned()).collect();
            assert_eq!(pointer(&path), expected);
        };
        check(&[], "#");
        check(&["email"], "#/email");
        check(&["scopes", "0"], "#/scopes/0");
        check(&["a/b", "c~d"], "#/a~1b/c~0d");
        check(&["ä b", "%"], "#/%C3%A4%20b/%25");
    }

    #[test]
    fn gardes_paths_are_split() {
        assert_eq!(segments("scopes[0]"), ["scopes", "0"]);
        assert_eq!(segments("a.b[12].c"), ["a", "b", "12", "c"]);
        assert_eq!(segments("r#type"), ["type"]);
        assert_eq!(segments(""), [""; 0]);
    }

    #[test]
    fn serdes_words_become_ours() {
        let check = |theirs: &str, ours: &str| assert_eq!(said_by_us(theirs), ours, "{theirs}");
        check(
            "invalid type: integer `5`, expected a string",
            "must be a text",
        );
        check("invalid type: null, expected a string", "must not be null");
        check(
            "invalid type: string \"x\", expected u8",
            "must be a whole number",
        );
        check(
            "invalid type: floating point `1.5`, expected u8",
            "must be a whole number",
        );
        check(
            "invalid value: integer `256`, expected u8",
            "is out of range",
        );
        check("invalid type: map, expected a sequence", "must be a list");
        check(
            "invalid type: sequence, expected struct CreateUser",
            "must be an object",
        );
        check(
            "invalid type: integer `1`, expected a boolean",
            "must be true or false",
        );
        check(
            "invalid type: map, expected path string",
            "is not of the right type",
        );
        check(
            "invalid type: string \", expected a string\", expected a sequence",
            "must be a list",
        );
        check("invalid digit found in string", "must be a whole number");
        check(
            "cannot parse integer from empty string",
            "must be a whole number",
        );
        check("number too large to fit in target type", "is out of range");
        check(
            "unknown variant `gone`, expected `active` or `disabled`",
            "must be one of active, disabled",
        );
        check(
            "unknown variant `expected `x``, expected one of `a`, `b`, `c`",
            "must be one of a, b, c",
        );
        check(
            "not an RFC 3339 date and time",
            "not an RFC 3339 date and time",
        );
    }

    #[test]
    fn the_place_is_cut_off() {
        assert_eq!(
            without_place("invalid type: null, expected a string at line 1 column 9"),
            "invalid type: null, expected a string"
        );
        assert_eq!(without_place("nothing to cut"), "nothing to cut");
    }
}
