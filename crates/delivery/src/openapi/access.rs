//! Who may call an operation, as the document says it.

use serde_json::{Value, json};

use super::{DocumentError, failed};
use crate::extract::TICKET;
use crate::extract::caller::{ANY_KEY, OR_TICKET, SCHEME_PREFIX};

/// Who may call an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Public,
    AnyKey,
    Scope,
}

/// Expands the one requirement that apistos knows (`deed:users:read`) into the two ways to send a key, and the ticket
/// where one will do. The scope stands in `x-scope`, and in words in the description: only OAuth has scopes in a
/// requirement. An operation without one is marked `x-public`. A key is never optional: that a server may be told to register strangers is a thing of its
/// operator, and the document is the same for all.
///
/// # Errors
/// [`DocumentError`] when a requirement is not one of ours.
pub(super) fn secure(described: &mut Value) -> Result<Access, DocumentError> {
    let found = described["security"].take();
    let mut access = Access::Public;
    let mut words = "Needs no key.".to_owned();
    let mut requirements = Vec::new();
    for requirement in found
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_object)
    {
        let Some(need) = requirement
            .keys()
            .next()
            .and_then(|name| name.strip_prefix(SCHEME_PREFIX))
        else {
            return Err(failed(format!("an unknown requirement: {requirement:?}")));
        };
        let (need, or_ticket) = match need.strip_suffix(OR_TICKET) {
            Some(need) => (need, " Or a ticket for it."),
            None => (need, ""),
        };
        if need == ANY_KEY {
            access = Access::AnyKey;
            words = "Needs a key; any scope will do.".to_owned();
        } else {
            access = Access::Scope;
            words = format!("Needs the scope `{need}`.{or_ticket}");
            described["x-scope"] = json!(need);
        }
        requirements.push(json!({ "ApiKey": [] }));
        requirements.push(json!({ "Bearer": [] }));
        if !or_ticket.is_empty() {
            requirements.push(json!({ "StreamTicket": [] }));
        }
    }
    if access == Access::Public {
        described["x-public"] = json!(true);
    }
    let description = described["description"].as_str().unwrap_or_default();
    described["description"] = json!(format!("{description}\n\n{words}"));
    described["security"] = Value::Array(requirements);
    Ok(access)
}

/// The ways to send a key.
pub(super) fn schemes() -> Value {
    json!({
        "ApiKey": {
            "type": "apiKey",
            "in": "header",
            "name": "X-API-Key",
            "description": "The secret of an API key, or the root key. What a key permits is told by its \
                scopes; each operation says which one it needs.",
        },
        "StreamTicket": {
            "type": "apiKey",
            "in": "query",
            "name": TICKET,
            "description": "A ticket of `createStreamTicket`: for one request, within 60 seconds, for the event stream of \
                one action. A request that carries one carries no key.",
        },
        "Bearer": {
            "type": "http",
            "scheme": "bearer",
            "description": "The same secret, as `Authorization: Bearer`. Both at once are fine when they are the same.",
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(requirement: &str, access: Access, words: &str) {
        let security = match requirement {
            "" => json!([]),
            name => json!([{ name: [] }]),
        };
        let mut described = json!({ "description": "Does it.", "security": security });
        assert_eq!(secure(&mut described).unwrap(), access);
        assert_eq!(described["description"], format!("Does it.\n\n{words}"));
    }

    #[test]
    fn who_may_call_is_said_in_words() {
        check("", Access::Public, "Needs no key.");
        let any = format!("{SCHEME_PREFIX}{ANY_KEY}");
        check(&any, Access::AnyKey, "Needs a key; any scope will do.");
        let scope = format!("{SCHEME_PREFIX}users:read");
        check(&scope, Access::Scope, "Needs the scope `users:read`.");
        let words = "Needs the scope `users:read`. Or a ticket for it.";
        check(&format!("{scope}{OR_TICKET}"), Access::Scope, words);
    }

    #[test]
    fn a_foreign_requirement_is_an_error() {
        assert!(secure(&mut json!({ "security": [{ "other": [] }] })).is_err());
    }
}
