//! Audit events, for reading; each repository writes its own.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use deed_domain::audit::{AuditEvent, AuditKind};
use deed_domain::caller::{Actor, Attribution};
use deed_domain::error::StoreError;
use deed_domain::id::{ApiKeyId, AuditEventId, UserId};
use deed_domain::page::{Page, PageRequest};
use deed_domain::ports::{AuditFilter, AuditLog};
use diesel::{ExpressionMethods as _, HasQuery, QueryDsl as _};
use diesel_async::RunQueryDsl as _;
use futures_util::FutureExt as _;
use uuid::Uuid;

use super::error::BadRow;
use super::pool::Database;
use super::schema::audit_events;
use super::users::one_more;

/// The audit log in PostgreSQL.
pub struct PgAuditLog {
    database: Database,
}

impl PgAuditLog {
    /// The audit log of `database`.
    #[must_use]
    pub fn new(database: Database) -> Self {
        Self { database }
    }
}

#[derive(HasQuery)]
#[diesel(table_name = audit_events, check_for_backend(diesel::pg::Pg))]
struct AuditRow {
    id: Uuid,
    at: DateTime<Utc>,
    kind: String,
    actor: String,
    actor_key_id: Option<Uuid>,
    subject_id: Option<Uuid>,
    request_id: Option<String>,
    user_id: Uuid,
    api_key_id: Option<Uuid>,
}

impl TryFrom<AuditRow> for AuditEvent {
    type Error = BadRow;

    fn try_from(row: AuditRow) -> Result<Self, BadRow> {
        let AuditRow {
            id,
            at,
            kind,
            actor,
            actor_key_id,
            subject_id,
            request_id,
            user_id,
            api_key_id,
        } = row;
        let bad = |column| BadRow::new("audit_events", column, id, "unknown");
        let actor = match (actor.as_str(), actor_key_id) {
            ("anonymous", None) => Actor::Anonymous,
            ("operator", None) => Actor::Operator,
            ("root", None) => Actor::Root,
            ("key", Some(key)) => Actor::Key(ApiKeyId::from_uuid(key)),
            _ => return Err(bad("actor")),
        };
        Ok(Self {
            id: AuditEventId::from_uuid(id),
            at,
            kind: AuditKind::from_name(&kind).ok_or_else(|| bad("kind"))?,
            by: Attribution {
                actor,
                subject: subject_id.map(UserId::from_uuid),
                request_id,
            },
            user_id: UserId::from_uuid(user_id),
            api_key_id: api_key_id.map(ApiKeyId::from_uuid),
        })
    }
}

#[async_trait]
impl AuditLog for PgAuditLog {
    async fn list(
        &self,
        filter: &AuditFilter,
        page: PageRequest<AuditEventId>,
    ) -> Result<Page<AuditEvent, AuditEventId>, StoreError> {
        let AuditFilter { user_id } = filter;
        let mut query = AuditRow::query()
            .order(audit_events::id.desc())
            .limit(one_more(page.limit))
            .into_boxed();
        if let Some(user) = user_id {
            query = query.filter(audit_events::user_id.eq(user.as_uuid()));
        }
        if let Some(after) = page.after {
            query = query.filter(audit_events::id.lt(after.as_uuid()));
        }
        let rows = self
            .database
            .select(move |connection| query.load::<AuditRow>(connection).boxed())
            .await?;
        let events = rows
            .into_iter()
            .map(AuditEvent::try_from)
            .collect::<Result<_, _>>()?;
        Ok(Page::from_rows(events, page.limit, |event: &AuditEvent| {
            event.id
        }))
    }
}
