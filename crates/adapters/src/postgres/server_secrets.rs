//! Secrets that every replica must share: made by the first one that asks.

use deed_domain::error::StoreError;
use deed_domain::ports::Ids;
use diesel::QueryableByName;
use diesel::sql_types::{Binary, Text};
use zeroize::Zeroizing;

use super::error::{BadRow, DbError};
use super::pool::{Access, Database};
use super::statement::Statement;

#[derive(QueryableByName)]
struct SecretRow {
    #[diesel(sql_type = Binary)]
    secret: Vec<u8>,
}

/// The 64 bytes that all replicas of this database know by `name`; random ones from `ids` if nobody has asked
/// before.
///
/// # Errors
/// When PostgreSQL is away.
pub async fn server_secret(
    database: &Database,
    ids: &dyn Ids,
    name: &str,
) -> Result<Zeroizing<[u8; 64]>, StoreError> {
    let proposal = Zeroizing::new(ids.random_bytes());
    let statement = Statement::new(include_str!("sql/server_secret.sql"))
        .bind::<Text, _>(name)
        .bind::<Binary, _>(proposal.to_vec());
    // Who waited for another's row can't see it in the same statement.
    for _ in 0..3 {
        if let Some(row) = database.row::<SecretRow>(Access::Write, &statement).await? {
            let secret: [u8; 64] = row
                .secret
                .try_into()
                .map_err(|_| BadRow::new("server_secrets", "secret", name, "not 64 bytes"))?;
            return Ok(Zeroizing::new(secret));
        }
    }
    Err(DbError::Unavailable("the server's secret could not be read".to_owned()).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::SystemIds;
    use deed_testkit::TestDatabase;

    #[tokio::test]
    async fn everybody_gets_the_same_secret_by_its_name() {
        let test = TestDatabase::fresh().await;
        let one = Database::new(&test.url(), 4).unwrap();
        let other = Database::new(&test.url(), 4).unwrap();
        let asked = (0..8).map(|n| {
            server_secret(
                if n % 2 == 0 { &one } else { &other },
                &SystemIds,
                "cursors",
            )
        });
        let secrets = futures_util::future::join_all(asked).await;
        let first = secrets[0].as_ref().unwrap();
        assert!(
            secrets
                .iter()
                .all(|secret| secret.as_ref().unwrap() == first)
        );
        assert_ne!(
            &server_secret(&one, &SystemIds, "idempotency")
                .await
                .unwrap(),
            first
        );
        assert_eq!(
            &server_secret(&other, &SystemIds, "cursors").await.unwrap(),
            first
        );
    }
}
