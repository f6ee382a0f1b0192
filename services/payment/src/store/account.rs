//! `provider_account`: whose account has this deployment's payments.

use flashsale_pg::statement;
use sqlx::query_file;
use time::OffsetDateTime;

use super::Store;
use crate::steps;

/// The account at the provider that has the payments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderAccount {
    /// Its id there.
    pub id: String,
    /// Whether its money is real. A test key sees none of the live intents of the same account.
    pub is_live: bool,
    /// Since when that is known. Payments that were recorded before may be another account's.
    pub bound_at: Option<OffsetDateTime>,
}

impl Store {
    /// The account that has the payments so far. `None` before the first one.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn account(&self) -> sqlx::Result<Option<ProviderAccount>> {
        let row = query_file!("sql/account.sql").fetch_one(self.pool.reads()).await?;
        let bound_at = row.bound_at;
        let noted = row.account_id.zip(row.is_live);
        Ok(noted.map(|(id, is_live)| ProviderAccount { id, is_live, bound_at }))
    }

    /// Notes the account of the first payment, unless one is noted.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn bind_account(&self, id: &str, is_live: bool) -> sqlx::Result<()> {
        statement!(steps::SQL_BIND_ACCOUNT, query_file!("sql/bind_account.sql", id, is_live))
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// The intents of the payments recorded last, a few at most.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn newest_intents(&self) -> sqlx::Result<Vec<String>> {
        let rows = query_file!("sql/newest_intents.sql").fetch_all(self.pool.reads()).await?;
        Ok(rows.into_iter().map(|row| row.intent_id).collect())
    }
}
