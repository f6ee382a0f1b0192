//! What the record knows of a sale for its checks. The tables of other services are only read.

use sqlx::{query_file, query_file_as};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    Store, StoreError,
    prices::{in_effect, revisions},
};
use crate::domain::{AboveRegular, Conflict, Drift};

/// What the record knows of a sale besides its row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordFacts {
    /// What the record's clock showed.
    pub now: OffsetDateTime,
    /// Units that the sale may sell.
    pub units: i64,
    /// One of its skus.
    pub sku: Option<String>,
    /// Whether its stock was ever loaded.
    pub loaded: bool,
}

impl Store {
    /// What the record knows of a sale for its checks.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn check_facts(&self, id: Uuid) -> Result<RecordFacts, StoreError> {
        Ok(query_file_as!(RecordFacts, "sql/check_facts.sql", id)
            .fetch_one(self.pool.reads())
            .await?)
    }

    /// Which skus of a sale cost more in it than outside of it, at most `limit` of them by name;
    /// `None` if the shop has given no regular price.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn above_regular(
        &self,
        id: Uuid,
        limit: i64,
    ) -> Result<Option<AboveRegular>, StoreError> {
        let row =
            query_file!("sql/check_prices.sql", id, limit).fetch_one(self.pool.reads()).await?;
        Ok(row.given.then_some(AboveRegular { first: row.first, skus: row.above }))
    }

    /// How what a sale has on sale differs from the file it was imported from; `None` if it is made
    /// of none.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn drift(&self, id: Uuid) -> Result<Option<Drift>, StoreError> {
        let in_effect = in_effect(&revisions(self.pool.reads(), id).await?);
        let row = query_file!("sql/check_sources.sql", id, &in_effect)
            .fetch_one(self.pool.reads())
            .await?;
        Ok((row.items > 0).then_some(Drift {
            items: row.items,
            more_units: row.more_units,
            other_prices: row.other_prices,
            first: row.first,
        }))
    }

    /// At most `limit` other sales that offer the same at the same time, the earliest first, and how
    /// many there are.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn conflicts(
        &self,
        id: Uuid,
        limit: i64,
    ) -> Result<(Vec<Conflict>, i64), StoreError> {
        let rows =
            query_file!("sql/check_conflicts.sql", id, limit).fetch_all(self.pool.reads()).await?;
        let sales = rows.first().map_or(0, |row| row.sales);
        let conflicts = rows.into_iter().map(|row| Conflict {
            sale_id: Some(row.sale_id),
            sku: row.sku,
            skus: row.skus,
        });
        Ok((conflicts.collect(), sales))
    }
}
