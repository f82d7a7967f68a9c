//! Actions as they are now.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use deed_domain::action::{Action, ActionFilter, ActionOverview, ActionTypeName};
use deed_domain::caller::Reach;
use deed_domain::error::StoreError;
use deed_domain::id::{ActionId, UserId};
use deed_domain::page::{Page, PageRequest};
use deed_domain::ports::ActionReader;
use diesel::sql_types::{Array, Nullable, Text, Uuid as SqlUuid};
use uuid::Uuid;

use super::action_list::list_sql;
use super::action_row::{ActionRow, OverviewRow, like_patterns};
use super::pool::{Access, Database};
use super::statement::Statement;
use super::users::one_more;

/// Actions in PostgreSQL.
pub struct PgActionReader {
    database: Database,
}

impl PgActionReader {
    /// Actions of `database`.
    #[must_use]
    pub fn new(database: Database) -> Self {
        Self { database }
    }
}

#[async_trait]
impl ActionReader for PgActionReader {
    async fn find(&self, id: ActionId, reach: &Reach) -> Result<Option<Action>, StoreError> {
        let Reach { owner, types } = reach;
        let statement = Statement::new(include_str!("sql/action.sql"))
            .bind::<SqlUuid, _>(id.as_uuid())
            .bind::<Nullable<SqlUuid>, _>(owner.map(UserId::as_uuid))
            .bind::<Nullable<Array<Text>>, _>(like_patterns(types));
        let row = self
            .database
            .row::<ActionRow>(Access::Read, &statement)
            .await?;
        Ok(row.map(ActionRow::into_domain).transpose()?)
    }

    async fn overviews(
        &self,
        ids: &[ActionId],
        reach: &Reach,
    ) -> Result<Vec<ActionOverview>, StoreError> {
        let Reach { owner, types } = reach;
        let statement = Statement::new(include_str!("sql/overviews.sql"))
            .bind::<Array<SqlUuid>, Vec<Uuid>>(ids.iter().map(|id| id.as_uuid()).collect())
            .bind::<Nullable<SqlUuid>, _>(owner.map(UserId::as_uuid))
            .bind::<Nullable<Array<Text>>, _>(like_patterns(types));
        let rows: Vec<OverviewRow> = self.database.rows(Access::Read, &statement).await?;
        let overviews = rows.into_iter().map(ActionOverview::try_from);
        Ok(overviews.collect::<Result<_, _>>()?)
    }

    async fn list(
        &self,
        filter: &ActionFilter,
        reach: &Reach,
        page: PageRequest<ActionId>,
    ) -> Result<Page<ActionOverview, ActionId>, StoreError> {
        let ActionFilter {
            status,
            action_type,
            created_after,
            created_before,
        } = filter;
        let Reach { owner, types } = reach;
        // Ids carry the time of creation, to the millisecond.
        let from = created_after.map_or(Uuid::nil(), |after| floor(after, 1));
        let before = created_before.map_or(Uuid::max(), |before| floor(before, 0));
        let before = page
            .after
            .map_or(before, |after| before.min(after.as_uuid()));
        let statement = Statement::new(list_sql(*status, owner.is_some()))
            .bind::<Nullable<SqlUuid>, _>(owner.map(UserId::as_uuid))
            .bind::<SqlUuid, _>(from)
            .bind::<SqlUuid, _>(before)
            .bind::<Nullable<Array<Text>>, _>(like_patterns(types))
            .bind::<Nullable<Text>, _>(action_type.as_ref().map(ActionTypeName::as_str))
            .bind::<diesel::sql_types::Int4, _>(
                i32::try_from(one_more(page.limit)).unwrap_or(i32::MAX),
            );
        let rows: Vec<OverviewRow> = self.database.rows(Access::Read, &statement).await?;
        let actions = rows
            .into_iter()
            .map(ActionOverview::try_from)
            .collect::<Result<_, _>>()?;
        Ok(Page::from_rows(
            actions,
            page.limit,
            |action: &ActionOverview| action.id,
        ))
    }
}

/// The smallest id of `milliseconds` after that moment.
fn floor(at: DateTime<Utc>, milliseconds: i64) -> Uuid {
    let at = u64::try_from(at.timestamp_millis().saturating_add(milliseconds)).unwrap_or(0);
    Uuid::from_u128(u128::from(at.min((1 << 48) - 1)) << 80)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_a_moment_lies_above_its_floor_and_below_the_next() {
        let id = Uuid::try_parse("01890a5d-ac96-774b-bcce-b302099a8057").unwrap();
        let at = ActionId::from_uuid(id).made_at().unwrap();
        assert!(floor(at, 0) < id && id < floor(at, 1));
    }

    #[test]
    fn moments_outside_the_ids_are_their_ends() {
        assert_eq!(floor(DateTime::<Utc>::MIN_UTC, 0), Uuid::nil());
        assert!(floor(DateTime::<Utc>::MAX_UTC, 1) < Uuid::max());
    }
}
