use async_trait::async_trait;

use crate::audit::AuditEvent;
use crate::error::StoreError;
use crate::id::{AuditEventId, UserId};
use crate::page::{Page, PageRequest};

/// Which audit events to read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuditFilter {
    /// Those that happened to this user.
    pub user_id: Option<UserId>,
}

/// Reads audit events. They are written by the repositories, each with the change that it records.
#[cfg_attr(any(test, feature = "mocks"), mockall::automock)]
#[async_trait]
pub trait AuditLog: Send + Sync {
    /// Events, newest first.
    async fn list(
        &self,
        filter: &AuditFilter,
        page: PageRequest<AuditEventId>,
    ) -> Result<Page<AuditEvent, AuditEventId>, StoreError>;
}
