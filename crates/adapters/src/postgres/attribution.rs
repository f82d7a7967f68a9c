//! Who did it, as columns of an audit event.

use deed_domain::caller::Attribution;
use diesel::sql_types::{Nullable, Text, Uuid as SqlUuid};
use uuid::Uuid;

use super::statement::Statement;

impl<'a> Statement<'a> {
    /// Gives the next four parameters: actor, actor's key, subject, request id.
    pub(crate) fn bind_attribution(self, by: &Attribution) -> Self {
        let Attribution {
            actor,
            subject,
            request_id,
        } = by;
        self.bind::<Text, _>(actor.kind())
            .bind::<Nullable<SqlUuid>, Option<Uuid>>(actor.key_id().map(|id| id.as_uuid()))
            .bind::<Nullable<SqlUuid>, Option<Uuid>>(subject.map(|id| id.as_uuid()))
            // A client may choose the request id; PostgreSQL keeps no NUL.
            .bind::<Nullable<Text>, Option<String>>(
                request_id.as_ref().map(|id| id.replace('\0', "")),
            )
    }
}
