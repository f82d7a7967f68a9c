use std::time::Duration;

use chrono::TimeDelta;
use deed_domain::error::StoreError;
use deed_domain::ports::Ids;
use diesel::sql_types::{Interval, Uuid as SqlUuid};
use uuid::Uuid;

use crate::postgres::pool::{Access, Database};
use crate::postgres::statement::Statement;

/// The right to look after the database: one holder at a time, until a moment of the database's clock.
pub struct Term {
    database: Database,
    holder: Uuid,
    length: TimeDelta,
}

impl Term {
    /// A term of `length` at a time, for a holder of its own. It is nobody's before [`Term::take`].
    #[must_use]
    pub fn new(database: Database, ids: &dyn Ids, length: Duration) -> Self {
        Self {
            database,
            holder: ids.time_ordered(),
            length: TimeDelta::from_std(length).unwrap_or(TimeDelta::MAX),
        }
    }

    /// Begins a term, or renews it; answers whether it is held now. It is not while somebody else's runs.
    ///
    /// # Errors
    /// When PostgreSQL is away.
    pub async fn take(&self) -> Result<bool, StoreError> {
        let statement = Statement::new(include_str!("../sql/term_take.sql"))
            .bind::<SqlUuid, _>(self.holder)
            .bind::<Interval, _>(self.length);
        Ok(self.database.run(Access::Write, &statement).await? == 1)
    }

    /// Ends it where it is held, so that the next who asks takes it.
    ///
    /// # Errors
    /// When PostgreSQL is away.
    pub async fn give_back(&self) -> Result<(), StoreError> {
        let statement = Statement::new(include_str!("../sql/term_give_back.sql"))
            .bind::<SqlUuid, _>(self.holder);
        self.database.run(Access::Write, &statement).await?;
        Ok(())
    }

    /// Who holds it, in the row of the table.
    pub(super) fn holder(&self) -> Uuid {
        self.holder
    }
}
