//! Creates sales and changes their state, once per request id.

use std::time::Duration;

use sqlx::{PgConnection, query_file};
use uuid::Uuid;

use super::{Store, StoreError};
use crate::{
    domain::{NewSale, Sale, SaleState, StateChange, must_be_told},
    steps,
};

/// A mutating request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub id: Uuid,
    /// A SHA-256 of its content, in hexadecimal.
    pub hash: String,
}

/// The outcome of creating a sale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    /// It is recorded.
    New,
    /// The request id was recorded before; nothing changed.
    Taken,
}

/// The outcome of changing a sale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// The change and the request are recorded.
    Done,
    /// The sale has changed since it was read; nothing changed.
    Lost,
    /// The request id was recorded meanwhile; nothing changed.
    Taken,
}

impl Store {
    /// The content hash and the sale of a recorded request.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn request(&self, id: Uuid) -> Result<Option<(String, Uuid)>, StoreError> {
        let row = query_file!("sql/read_request.sql", id).fetch_optional(self.pool.reads()).await?;
        Ok(row.map(|row| (row.content_hash, row.sale_id)))
    }

    /// Records a new sale, its items and the request: all or nothing.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn create(&self, sale: &NewSale, request: &Request) -> Result<Created, StoreError> {
        Ok(flashsale_pg::retry_conflicts(|| self.try_create(sale, request)).await?)
    }

    async fn try_create(&self, sale: &NewSale, request: &Request) -> sqlx::Result<Created> {
        let settings = &sale.settings;
        let state = SaleState::Draft;
        let mut tx = self.pool.begin().await?;
        query_file!(
            "sql/insert_sale.sql",
            sale.id,
            settings.name,
            settings.currency.code(),
            state.as_str(),
            settings.starts_at,
            settings.ends_at,
            ms(settings.hold),
            settings.room.map(|room| room.rate),
            settings.room.map(|room| ms(room.admission)),
            settings.payment_patience.map(ms),
            must_be_told(None, state),
        )
        .execute(&mut *tx)
        .await?;
        let (mut skus, mut titles) = (Vec::new(), Vec::new());
        let (mut prices, mut quantities, mut limits) = (Vec::new(), Vec::new(), Vec::new());
        for item in &sale.items {
            skus.push(item.sku.clone());
            titles.push(item.title.clone());
            prices.push(item.price_minor);
            quantities.push(item.quantity);
            limits.push(item.per_buyer_limit);
        }
        query_file!("sql/insert_items.sql", sale.id, &skus, &titles, &prices, &quantities, &limits)
            .execute(&mut *tx)
            .await?;
        // Last, because it waits for a transaction that is recording the same id, and it references
        // the sale's row.
        if !record(&mut tx, request, sale.id).await? {
            tx.rollback().await?;
            return Ok(Created::Taken);
        }
        tx.commit(steps::COMMIT_CREATE).await?;
        Ok(Created::New)
    }

    /// Changes the state of `sale`, if it is still as it was read, and records the request that
    /// asked for it, if one did.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn change(
        &self,
        sale: &Sale,
        change: StateChange,
        request: Option<&Request>,
    ) -> Result<Written, StoreError> {
        Ok(flashsale_pg::retry_conflicts(|| self.try_change(sale, change, request)).await?)
    }

    async fn try_change(
        &self,
        sale: &Sale,
        change: StateChange,
        request: Option<&Request>,
    ) -> sqlx::Result<Written> {
        let mut tx = self.pool.begin().await?;
        if let StateChange::To { to, tell } = change {
            let changed =
                query_file!("sql/change_state.sql", sale.id, sale.version, to.as_str(), tell)
                    .execute(&mut *tx)
                    .await?;
            if changed.rows_affected() == 0 {
                tx.rollback().await?;
                return Ok(Written::Lost);
            }
        }
        if let Some(request) = request
            && !record(&mut tx, request, sale.id).await?
        {
            tx.rollback().await?;
            return Ok(Written::Taken);
        }
        tx.commit(steps::COMMIT_CHANGE).await?;
        Ok(Written::Done)
    }
}

/// Records what a request id did; false if it is taken.
async fn record(tx: &mut PgConnection, request: &Request, sale: Uuid) -> sqlx::Result<bool> {
    let recorded =
        query_file!("sql/insert_request.sql", request.id, request.hash, sale).execute(tx).await?;
    Ok(recorded.rows_affected() == 1)
}

fn ms(length: Duration) -> i64 {
    // At most an hour: the rules say so.
    i64::try_from(length.as_millis()).unwrap_or(i64::MAX)
}
