use std::time::Duration;

use async_trait::async_trait;

use crate::error::Cause;
use crate::password::{Password, PasswordHash};

/// Why a password was not hashed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum HashingError {
    /// Too many are waiting already.
    #[error("too many passwords are being hashed")]
    Overloaded {
        /// After how long to try again.
        retry_after: Duration,
    },
    /// A bug.
    #[error("the password hasher failed")]
    Failed(#[source] Cause),
}

/// Hashes passwords, slowly, apart from everything else, and only so many at a time.
#[cfg_attr(any(test, feature = "mocks"), mockall::automock)]
#[async_trait]
pub trait PasswordHasher: Send + Sync {
    /// Hashes a new password with a salt of its own.
    async fn hash(&self, password: &Password) -> Result<PasswordHash, HashingError>;

    /// Whether `password` is the one that `hash` was made of.
    async fn verify(&self, password: &Password, hash: &PasswordHash) -> Result<bool, HashingError>;
}
