//! Reads the revisions of a sale's prices.

use std::collections::BTreeMap;

use sqlx::{PgExecutor, query_file};
use uuid::Uuid;

use super::{Store, StoreError};
use crate::domain::{Price, PriceRevision, Sale};

/// The revisions of a sale's prices by number, without what they change.
///
/// # Errors
/// When Postgres does not answer.
pub(super) async fn revisions(
    executor: impl PgExecutor<'_>,
    sale: Uuid,
) -> Result<Vec<PriceRevision>, StoreError> {
    let rows = query_file!("sql/price_revisions.sql", sale).fetch_all(executor).await?;
    let revisions = rows.into_iter().map(|row| PriceRevision {
        revision: row.revision,
        effective_at: row.effective_at,
        switches_at: row.switches_at,
        replaced_by: row.replaced_by,
        skus: row.skus,
        in_effect: row.in_effect,
        rows: BTreeMap::new(),
    });
    Ok(revisions.collect())
}

/// The numbers of those that are in effect: what the queries of present prices take.
pub(super) fn in_effect(revisions: &[PriceRevision]) -> Vec<i64> {
    let in_effect = revisions.iter().filter(|revision| revision.in_effect);
    in_effect.map(|revision| revision.revision).collect()
}

impl Store {
    /// Reads what those of the sale's revisions change that wait.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub(super) async fn read_waiting(&self, sale: &mut Sale) -> Result<(), StoreError> {
        let waiting: Vec<i64> = sale.waiting().map(|revision| revision.revision).collect();
        if waiting.is_empty() {
            return Ok(());
        }
        let rows = query_file!("sql/read_prices.sql", sale.id, &waiting)
            .fetch_all(self.pool.reads())
            .await?;
        for row in rows {
            let price = Price {
                price_minor: row.price_minor,
                regular_minor: row.regular_minor,
                per_buyer_limit: row.per_buyer_limit,
            };
            let mut revisions = sale.revisions.iter_mut();
            if let Some(of) = revisions.find(|revision| revision.revision == row.revision) {
                of.rows.insert(row.sku, price);
            }
        }
        Ok(())
    }
}
