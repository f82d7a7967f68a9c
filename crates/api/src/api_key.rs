//! API keys on the wire.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

#[cfg(feature = "openapi")]
use crate::limits;
#[cfg(feature = "openapi")]
use deed_domain::{api_key::KeyName, page::Limit, scope::ScopeSet};

/// The body of POST `/api-keys`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(
    feature = "openapi",
    derive(garde::Validate, schemars::JsonSchema, apistos::ApiComponent)
)]
#[serde(deny_unknown_fields)]
pub struct CreateApiKey {
    /// What the key is called.
    #[cfg_attr(feature = "openapi", garde(custom(limits::key_name)))]
    #[cfg_attr(
        feature = "openapi",
        schemars(length(min = "KeyName::MIN", max = "KeyName::MAX"))
    )]
    pub name: String,
    /// What it permits: a subset of the caller's own scopes.
    #[cfg_attr(
        feature = "openapi",
        garde(custom(limits::scope_count), inner(custom(limits::scope))),
        schemars(length(min = 1, max = "ScopeSet::MAX"))
    )]
    pub scopes: Vec<String>,
    /// From when on it is refused; absent or null: never.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::time::rfc3339"
    )]
    #[cfg_attr(feature = "openapi", garde(skip))]
    pub expires_at: Option<DateTime<Utc>>,
}

/// A key, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(
    feature = "openapi",
    derive(schemars::JsonSchema, apistos::ApiComponent)
)]
pub struct ApiKeyBody {
    /// Its id.
    pub id: Uuid,
    /// Whose it is.
    pub user_id: Uuid,
    /// What it is called.
    pub name: String,
    /// What it permits.
    pub scopes: Vec<String>,
    /// When it was issued.
    pub created_at: DateTime<Utc>,
    /// From when on it is refused.
    pub expires_at: Option<DateTime<Utc>>,
    /// Since when it is refused.
    pub revoked_at: Option<DateTime<Utc>>,
    /// When it was last used; may lag some seconds behind.
    pub last_used_at: Option<DateTime<Utc>>,
}

/// A key that was just issued, with its secret: this once. It does not print.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(
    feature = "openapi",
    derive(schemars::JsonSchema, apistos::ApiComponent)
)]
pub struct IssuedApiKeyBody {
    /// The key.
    #[serde(flatten)]
    pub key: ApiKeyBody,
    /// What to send in `X-API-Key`. It is never shown again.
    pub secret: String,
}

impl std::fmt::Debug for IssuedApiKeyBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IssuedApiKeyBody")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// The query of GET `/api-keys`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(
    feature = "openapi",
    derive(garde::Validate, schemars::JsonSchema, apistos::ApiComponent)
)]
#[serde(deny_unknown_fields)]
pub struct ApiKeyQuery {
    /// How many items a page holds at the most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", garde(inner(custom(limits::page_limit))))]
    #[cfg_attr(
        feature = "openapi",
        schemars(range(min = "Limit::MIN", max = "Limit::MAX"))
    )]
    pub limit: Option<u16>,
    /// Where the page begins: a `next_cursor` of this list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", garde(skip))]
    pub cursor: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_print() {
        let key = IssuedApiKeyBody {
            key: ApiKeyBody {
                id: Uuid::nil(),
                user_id: Uuid::nil(),
                name: "laptop".to_owned(),
                scopes: vec!["actions:read".to_owned()],
                created_at: DateTime::UNIX_EPOCH,
                expires_at: None,
                revoked_at: None,
                last_used_at: None,
            },
            secret: "deedk_x".to_owned(),
        };
        assert!(!format!("{key:?}").contains("deedk_x"));
        assert!(
            serde_json::to_string(&key)
                .unwrap()
                .contains(r#""secret":"deedk_x""#)
        );
    }
}
