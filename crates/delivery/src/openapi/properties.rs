//! What the types of members can't say: the form of a text that a parser of the domain checks.

use deed_domain::action::{ActionError, ActionTypeName, Sequence};
use deed_domain::scope::Permission;
use serde_json::{Value, json};

use super::{DocumentError, failed};

/// A text of one line that is not blank.
pub(super) const ONE_LINE: &str = "^[^\\u0000-\\u001f\\u007f-\\u009f]*[^\\s\\u0000-\\u001f\\u007f-\\u009f][^\\u0000-\\u001f\\u007f-\\u009f]*$";
/// A text that PostgreSQL can keep.
const NO_NUL: &str = "^[^\\u0000]*$";
/// Visible ASCII.
const VISIBLE: &str = "^[!-~]+$";

/// Members of requests: the schema, where the member stands in it, and what is said of it beyond its type.
fn said() -> Vec<(&'static str, &'static str, Value)> {
    let one_line = json!({ "pattern": ONE_LINE });
    let type_name = json!({ "minLength": 1, "maxLength": ActionTypeName::MAX, "pattern": ActionTypeName::PATTERN });
    vec![
        ("CreateUser", "name", one_line.clone()),
        ("CreateUser", "external_id", one_line.clone()),
        (
            "CreateUser",
            "password",
            json!({ "format": "password", "writeOnly": true }),
        ),
        ("PatchUser", "name", one_line.clone()),
        ("PatchUser", "external_id", one_line.clone()),
        ("CreateApiKey", "name", one_line),
        ("CreateApiKey", "scopes/items", scope()),
        ("LeaseActions", "types/items", type_name),
        ("LeaseActions", "request_id", json!({ "pattern": VISIBLE })),
        ("LeaseActions", "worker", json!({ "pattern": NO_NUL })),
        (
            "ReportEvents",
            "from_seq",
            json!({ "maximum": Sequence::MAX }),
        ),
        (
            "FailureError",
            "code",
            json!({ "minLength": 1, "maxLength": ActionError::CODE_MAX, "pattern": NO_NUL }),
        ),
        (
            "FailureError",
            "message",
            json!({ "minLength": 1, "maxLength": ActionError::MESSAGE_MAX, "pattern": NO_NUL }),
        ),
    ]
}

/// The forms of a scope: a permission, the actions' also narrowed to a type or to the types below a name, each as long as
/// a type's name may be.
fn scope() -> Value {
    let name = ActionTypeName::PATTERN.trim_matches(['^', '$']);
    let names: Vec<_> = Permission::ALL.iter().map(|one| one.as_str()).collect();
    let form = |pattern: String| json!({ "type": "string", "pattern": format!("^{pattern}$") });
    let mut forms = vec![form(format!("({})", names.join("|")))];
    for permission in Permission::ALL
        .into_iter()
        .filter(|one| one.is_narrowable())
    {
        for (end, written) in [("", ""), ("\\.\\*", ".*")] {
            let longest = format!("{permission}:{written}").len();
            let mut narrowed = form(format!("{permission}:{name}{end}"));
            narrowed["maxLength"] = json!(longest.saturating_add(ActionTypeName::MAX));
            forms.push(narrowed);
        }
    }
    json!({ "anyOf": forms })
}

/// Puts it into the schemas.
///
/// # Errors
/// [`DocumentError`] when a schema has no such member.
pub(super) fn say(document: &mut Value) -> Result<(), DocumentError> {
    for (name, member, words) in said() {
        let place = format!("/components/schemas/{name}/properties/{member}");
        let schema = document
            .pointer_mut(&place)
            .and_then(Value::as_object_mut)
            .ok_or_else(|| failed(format!("there is nothing at {place}")))?;
        schema.extend(words.as_object().cloned().unwrap_or_default());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use deed_domain::action::LeaseRequestId;
    use deed_domain::api_key::KeyName;
    use deed_domain::scope::Scope;
    use deed_domain::user::{DisplayName, ExternalId};

    const TEXTS: [&str; 18] = [
        "",
        " ",
        "a",
        "é",
        "a b",
        " a",
        "a ",
        "\u{0}",
        "a\u{0}b",
        "a\nb",
        "\u{85}a",
        "\u{a0}",
        "users:read",
        "users:read:echo",
        "actions:work:report.*",
        "actions:work:report*",
        "actions:read:a.b",
        "actions:read:*",
    ];

    /// The document and the domain draw the same line.
    #[track_caller]
    fn check(place: &str, is_one: fn(&str) -> bool) {
        let document: Value = serde_json::from_str(&super::super::document().unwrap()).unwrap();
        let schema = document
            .pointer(&format!("/components/schemas/{place}"))
            .unwrap();
        let validator = jsonschema::validator_for(schema).unwrap();
        for text in TEXTS {
            assert_eq!(
                validator.is_valid(&json!(text)),
                is_one(text),
                "{place}: {text:?}"
            );
        }
    }

    #[test]
    fn names_are_one_line() {
        let display_name = |text: &str| DisplayName::parse(text).is_ok();
        check("CreateUser/properties/name", display_name);
        check("PatchUser/properties/name", display_name);
        let external_id = |text: &str| ExternalId::parse(text).is_ok();
        check("CreateUser/properties/external_id", external_id);
        check("PatchUser/properties/external_id", external_id);
        check("CreateApiKey/properties/name", |text| {
            KeyName::parse(text).is_ok()
        });
    }

    #[test]
    fn scopes_and_types_have_their_form() {
        check("CreateApiKey/properties/scopes/items", |text| {
            text.parse::<Scope>().is_ok()
        });
        check("LeaseActions/properties/types/items", |text| {
            ActionTypeName::parse(text).is_ok()
        });
        check("LeaseActions/properties/request_id", |text| {
            LeaseRequestId::parse(text).is_ok()
        });
        let validator = jsonschema::validator_for(&scope()).unwrap();
        for permission in Permission::ALL {
            assert!(validator.is_valid(&json!(permission.as_str())));
            for length in [ActionTypeName::MAX, ActionTypeName::MAX + 1] {
                for end in ["", ".*"] {
                    let text = format!("{permission}:{}{end}", "a".repeat(length));
                    let is_one = text.parse::<Scope>().is_ok();
                    assert_eq!(validator.is_valid(&json!(text)), is_one, "{text}");
                }
            }
        }
    }

    #[test]
    fn a_member_that_is_not_there_is_an_error() {
        assert!(say(&mut json!({})).is_err());
    }
}
