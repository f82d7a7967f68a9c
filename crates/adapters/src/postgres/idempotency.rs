//! What an idempotency key was used for before.

use deed_domain::idempotency::Idempotency;
use diesel::QueryableByName;
use diesel::sql_types::{Array, Binary, Nullable, Text, Uuid as SqlUuid};
use uuid::Uuid;

use super::error::DbError;
use super::pool::{Access, Database};
use super::statement::Statement;

/// What is known of a key that refused a row.
pub(crate) enum Before {
    /// The same request made this.
    Made {
        /// What was made, or the first of them.
        id: Uuid,
        /// All actions of a batch, in the order asked; a batch of one has none here.
        batch: Option<Vec<Uuid>>,
    },
    /// It was used for another request.
    OtherRequest,
    /// Nothing: the first request was rolled back meanwhile.
    Nothing,
}

#[derive(QueryableByName)]
struct KeyRow {
    #[diesel(sql_type = SqlUuid)]
    resource_id: Uuid,
    #[diesel(sql_type = Nullable<Array<SqlUuid>>)]
    action_ids: Option<Vec<Uuid>>,
    #[diesel(sql_type = Binary)]
    request_hash: Vec<u8>,
}

/// Looks the key up. A statement of its own: the one that met the conflict can't see what it met.
pub(crate) async fn look_up(database: &Database, asked: &Idempotency) -> Result<Before, DbError> {
    let statement = Statement::new(include_str!("sql/idempotency_look_up.sql"))
        .bind::<Binary, _>(asked.scope.as_bytes().to_vec())
        .bind::<Text, _>(asked.key.as_str());
    Ok(
        match database.row::<KeyRow>(Access::Read, &statement).await? {
            None => Before::Nothing,
            Some(row) if row.request_hash == asked.request_hash => Before::Made {
                id: row.resource_id,
                batch: row.action_ids,
            },
            Some(_) => Before::OtherRequest,
        },
    )
}
