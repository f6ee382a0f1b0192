//! How a sale went, by the record: the tables of others are read here, never written.

use sqlx::{query_file_as, query_file_scalar};
use uuid::Uuid;

use super::{Store, StoreError};
use crate::domain::{ItemReport, Totals};

impl Store {
    /// Whether the sale's stock was ever loaded.
    ///
    /// # Errors
    /// When Postgres does not answer, as all of these.
    pub async fn was_loaded(&self, id: Uuid) -> Result<bool, StoreError> {
        Ok(query_file_scalar!("sql/was_loaded.sql", id).fetch_one(&self.pool).await?)
    }

    /// A sale's items and everything else that the record tells, as of one moment.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn outcome(&self, id: Uuid) -> Result<(Vec<ItemReport>, Totals), StoreError> {
        let mut snapshot =
            self.pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        let items = query_file_as!(ItemReport, "sql/report_items.sql", id)
            .fetch_all(&mut *snapshot)
            .await?;
        let totals =
            query_file_as!(Totals, "sql/report_totals.sql", id).fetch_one(&mut *snapshot).await?;
        snapshot.commit().await?;
        Ok((items, totals))
    }
}
