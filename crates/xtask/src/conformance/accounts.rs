//! Users with keys, made as the operator makes them.

use std::net::SocketAddr;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use super::server::ROOT_KEY;
use crate::http::{Request, unchunked};

/// Every scope.
pub(super) const ALL_SCOPES: [&str; 11] = [
    "users:read",
    "users:write",
    "users:credentials",
    "users:act_as",
    "keys:read",
    "keys:write",
    "actions:read",
    "actions:write",
    "actions:work",
    "types:write",
    "audit:read",
];

/// The scopes that reach nothing but the user's own.
pub(super) const OWN_SCOPES: [&str; 4] =
    ["keys:read", "keys:write", "actions:read", "actions:write"];

/// A user with a key.
pub(super) struct Account {
    pub(super) user: String,
    pub(super) key: String,
    pub(super) secret: String,
}

impl Account {
    /// Registers a user of this name, and issues a key with these scopes.
    pub(super) fn create(address: SocketAddr, name: &str, scopes: &[&str]) -> anyhow::Result<Self> {
        let user = json!({
            "email": format!("{name}@example.com"), "name": name, "password": "correct horse"
        });
        let user = text(&post(address, "/users", &user, None)?, "id")?;
        let key = json!({"name": name, "scopes": scopes});
        let key = post(address, "/api-keys", &key, Some(&user))?;
        Ok(Self {
            key: text(&key, "id")?,
            secret: text(&key, "secret")?,
            user,
        })
    }
}

/// Posts as the operator, for `user` if one is named, and answers the body.
fn post(
    address: SocketAddr,
    path: &str,
    body: &Value,
    user: Option<&str>,
) -> anyhow::Result<Value> {
    let mut request = Request::post(path, &body.to_string()).header("X-API-Key", ROOT_KEY);
    if let Some(user) = user {
        request = request.header("X-User-ID", user);
    }
    let answer = request.send(address)?;
    if !matches!(answer.status, 200..=299) {
        bail!("POST {path}: {} {}", answer.status, answer.body);
    }
    Ok(serde_json::from_str(unchunked(&answer.body))?)
}

fn text(body: &Value, name: &str) -> anyhow::Result<String> {
    let text = body.get(name).and_then(Value::as_str);
    Ok(text.with_context(|| format!("no {name}"))?.to_owned())
}
