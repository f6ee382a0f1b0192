//! How a sale went, by the record: the tables of others are read here, never written.

use sqlx::{query_file, query_file_as, query_file_scalar};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Store, StoreError};
use crate::domain::{ItemReport, Sale, Totals};

/// For how long after a rebuild an order of an older epoch may come out of the queue. Whoever placed it there gave up its publish within
/// seconds; the rest is for the claims to get to it.
const STRAGGLERS_FOR_S: f64 = 60.0;

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
        let totals = query_file_as!(Totals, "sql/report_totals.sql", id, STRAGGLERS_FOR_S)
            .fetch_one(&mut *snapshot)
            .await?;
        snapshot.commit().await?;
        Ok((items, totals))
    }

    /// At most `limit` ended sales that are not final yet, by id, from behind `after` on.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn to_finalize(&self, after: Uuid, limit: i64) -> Result<Vec<Uuid>, StoreError> {
        Ok(query_file_scalar!("sql/sales_to_finalize.sql", after, limit)
            .fetch_all(&self.pool)
            .await?)
    }

    /// Writes down that a settled sale is final. `None` if it is already, or something has begun since it was read.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn finalize(&self, sale: &Sale) -> Result<Option<OffsetDateTime>, StoreError> {
        let mut tx = self.pool.begin().await?;
        // First, so that the statement below sees what whoever had it has written, and whoever gets it afterwards sees the sale final.
        query_file!("sql/lock_stock.sql", sale.id).fetch_optional(&mut *tx).await?;
        let marked =
            query_file_scalar!("sql/mark_final.sql", sale.id, sale.version, STRAGGLERS_FOR_S)
                .fetch_optional(&mut *tx)
                .await?;
        tx.commit().await?;
        Ok(marked)
    }
}
