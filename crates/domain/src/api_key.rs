//! API keys: credentials that belong to a user.

use chrono::{DateTime, Utc};

use crate::id::{ApiKeyId, UserId};
use crate::scope::ScopeSet;
use crate::secret::SecretDigest;
use crate::text::text_type;

text_type! {
    /// What a key is called, so that its owner knows it again.
    KeyName, 1, 100
}

/// A credential. Its secret is not part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Its id; stays when the secret is rotated.
    pub id: ApiKeyId,
    /// Whose it is.
    pub user_id: UserId,
    /// What it is called.
    pub name: KeyName,
    /// What it permits.
    pub scopes: ScopeSet,
    /// When it was issued.
    pub created_at: DateTime<Utc>,
    /// From when on it is refused.
    pub expires_at: Option<DateTime<Utc>>,
    /// Since when it is refused.
    pub revoked_at: Option<DateTime<Utc>>,
    /// When it was last used; may lag some seconds behind.
    pub last_used_at: Option<DateTime<Utc>>,
}

/// A key that is about to be issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewApiKey {
    /// Its id.
    pub id: ApiKeyId,
    /// Whose it will be.
    pub user_id: UserId,
    /// What it is called.
    pub name: KeyName,
    /// What it permits.
    pub scopes: ScopeSet,
    /// From when on it is refused.
    pub expires_at: Option<DateTime<Utc>>,
    /// What is kept of its secret.
    pub digest: SecretDigest,
}
