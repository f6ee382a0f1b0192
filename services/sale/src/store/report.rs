//! Figures of a sale from the record. The tables of other services are only read.

use sqlx::{query_file, query_file_as, query_file_scalar};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Store, StoreError};
use crate::{
    domain::{ItemReport, Sale, Totals},
    steps,
};

/// For how long after a rebuild an order of an older epoch may come out of the queue: a publish is
/// given up within seconds, the rest is time for the claims to reach it.
const STRAGGLERS_FOR_S: f64 = 60.0;

impl Store {
    /// Whether the sale's stock was ever loaded.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn was_loaded(&self, id: Uuid) -> Result<bool, StoreError> {
        Ok(query_file_scalar!("sql/was_loaded.sql", id).fetch_one(self.pool.reads()).await?)
    }

    /// A sale's items and totals, from one snapshot of the record.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn outcome(&self, id: Uuid) -> Result<(Vec<ItemReport>, Totals), StoreError> {
        let mut snapshot =
            self.pool.reads().begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        let items = query_file_as!(ItemReport, "sql/report_items.sql", id)
            .fetch_all(&mut *snapshot)
            .await?;
        let totals = query_file_as!(Totals, "sql/report_totals.sql", id, STRAGGLERS_FOR_S)
            .fetch_one(&mut *snapshot)
            .await?;
        snapshot.commit().await?;
        Ok((items, totals))
    }

    /// At most `limit` ended sales after `after` that are not final yet, by id.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn to_finalize(&self, after: Uuid, limit: i64) -> Result<Vec<Uuid>, StoreError> {
        Ok(query_file_scalar!("sql/sales_to_finalize.sql", after, limit)
            .fetch_all(self.pool.reads())
            .await?)
    }

    /// Records that a settled sale is final. `None` if it was already, or something has begun since
    /// it was read.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn finalize(&self, sale: &Sale) -> Result<Option<OffsetDateTime>, StoreError> {
        let mut tx = self.pool.begin().await?;
        // Locked first: the statement below sees what the previous holder of the lock has written,
        // and the next holder sees that the sale is final.
        query_file!("sql/lock_stock.sql", sale.id).fetch_optional(&mut *tx).await?;
        let marked =
            query_file_scalar!("sql/mark_final.sql", sale.id, sale.version, STRAGGLERS_FOR_S)
                .fetch_optional(&mut *tx)
                .await?;
        tx.commit(steps::COMMIT_FINAL).await?;
        Ok(marked)
    }
}
