//! Audit events: who did what to whose account or key.

use chrono::{DateTime, Utc};

use crate::caller::Attribution;
use crate::id::{ApiKeyId, AuditEventId, UserId};

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AuditKind {
    /// A user was registered.
    UserCreated,
    /// A user was changed.
    UserUpdated,
    /// A user was disabled.
    UserDisabled,
    /// A user was enabled again.
    UserEnabled,
    /// A user was deleted.
    UserDeleted,
    /// A key was issued.
    KeyCreated,
    /// A key was revoked.
    KeyRevoked,
}

impl AuditKind {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::UserCreated,
        Self::UserUpdated,
        Self::UserDisabled,
        Self::UserEnabled,
        Self::UserDeleted,
        Self::KeyCreated,
        Self::KeyRevoked,
    ];

    /// Its name on the wire and in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UserCreated => "user.created",
            Self::UserUpdated => "user.updated",
            Self::UserDisabled => "user.disabled",
            Self::UserEnabled => "user.enabled",
            Self::UserDeleted => "user.deleted",
            Self::KeyCreated => "key.created",
            Self::KeyRevoked => "key.revoked",
        }
    }

    /// The kind of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// One entry of the audit log. It holds ids only, so that it can outlive what it speaks of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEvent {
    /// Its id; time-ordered.
    pub id: AuditEventId,
    /// When it was written.
    pub at: DateTime<Utc>,
    /// What happened.
    pub kind: AuditKind,
    /// Who did it. An actor whose kind is `key` carries the key's id.
    pub by: Attribution,
    /// The user that it happened to.
    pub user_id: UserId,
    /// The key that it happened to.
    pub api_key_id: Option<ApiKeyId>,
}
