//! Reads sales.

use std::time::Duration;

use flashsale_service::page::Place;
use iso_currency::Currency;
use serde::Deserialize;
use sqlx::{PgExecutor, query_file, query_file_as};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    Store, StoreError,
    prices::{in_effect, revisions},
};
use crate::domain::{Item, Room, Sale, SaleState, Settings};

/// How often a sale is read again that changes while it is read.
const MAX_READS: usize = 5;

/// A row of `sales`, also as the history keeps it. What a column that came later is in an older row
/// is its default.
#[derive(Debug, Deserialize)]
pub(super) struct SaleRow {
    sale_id: Uuid,
    name: String,
    currency: String,
    state: String,
    #[serde(with = "time::serde::rfc3339")]
    starts_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    ends_at: OffsetDateTime,
    hold_ms: i64,
    payment_patience_ms: Option<i64>,
    room_rate: Option<f64>,
    room_admission_ms: Option<i64>,
    #[serde(default)]
    room_pre_queue_ms: Option<i64>,
    #[serde(default)]
    cancel_requested: bool,
    #[serde(default)]
    allow_shared_skus: bool,
    #[serde(default)]
    expected_peak_per_second: Option<i64>,
    version: i64,
    propagated_version: i64,
    #[serde(default, with = "time::serde::rfc3339::option")]
    final_at: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    updated_at: OffsetDateTime,
}

impl TryFrom<SaleRow> for Sale {
    type Error = StoreError;

    fn try_from(row: SaleRow) -> Result<Self, StoreError> {
        let id = row.sale_id;
        let corrupt = |what: &str| StoreError::corrupt(format!("the sale {id} has {what}"));
        let room = match (row.room_rate, row.room_admission_ms) {
            (Some(rate), Some(admission)) => {
                let admission = ms(admission).ok_or_else(|| corrupt("an impossible admission"))?;
                let pre_queue = ms(row.room_pre_queue_ms.unwrap_or_default())
                    .ok_or_else(|| corrupt("an impossible time before its start"))?;
                Some(Room { rate, admission, pre_queue })
            }
            (None, _) | (_, None) => None,
        };
        Ok(Self {
            id,
            settings: Settings {
                name: row.name,
                currency: Currency::from_code(&row.currency)
                    .ok_or_else(|| corrupt("an unknown currency"))?,
                starts_at: row.starts_at,
                ends_at: row.ends_at,
                hold: ms(row.hold_ms).ok_or_else(|| corrupt("an impossible hold"))?,
                payment_patience: row
                    .payment_patience_ms
                    .map(|patience| ms(patience).ok_or_else(|| corrupt("an impossible patience")))
                    .transpose()?,
                room,
                expected_peak: row.expected_peak_per_second,
            },
            state: SaleState::parse(&row.state).ok_or_else(|| corrupt("an unknown state"))?,
            cancel_requested: row.cancel_requested,
            allow_shared_skus: row.allow_shared_skus,
            items: Vec::new(),
            revisions: Vec::new(),
            version: row.version,
            propagated_version: row.propagated_version,
            final_at: row.final_at,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

fn ms(ms: i64) -> Option<Duration> {
    u64::try_from(ms).ok().map(Duration::from_millis)
}

/// A sale without its items.
pub(super) async fn sale(
    executor: impl PgExecutor<'_>,
    id: Uuid,
) -> Result<Option<Sale>, StoreError> {
    let row = query_file_as!(SaleRow, "sql/read_sale.sql", id).fetch_optional(executor).await?;
    row.map(Sale::try_from).transpose()
}

impl Store {
    /// A sale without its items.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn head(&self, id: Uuid) -> Result<Option<Sale>, StoreError> {
        sale(self.pool.reads(), id).await
    }

    /// A sale with its items, by sku, and the revisions of their prices: those of the version that
    /// was read.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn get(&self, id: Uuid) -> Result<Option<Sale>, StoreError> {
        for _ in 0..MAX_READS {
            let Some(mut sale) = self.head(id).await? else { return Ok(None) };
            // Of each moment: what is in effect by the first reading is what the items cost.
            sale.revisions = revisions(self.pool.reads(), id).await?;
            let in_effect = in_effect(&sale.revisions);
            self.read_waiting(&mut sale).await?;
            sale.items = query_file_as!(Item, "sql/read_items.sql", id, sale.version, &in_effect)
                .fetch_all(self.pool.reads())
                .await?;
            // Every sale has an item.
            if !sale.items.is_empty() {
                return Ok(Some(sale));
            }
        }
        Err(StoreError::corrupt(format!("the sale {id} has no items, or changes all the time")))
    }

    /// At most `limit` sales behind `after`, newest first, without their items.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn list(&self, after: Option<Place>, limit: i64) -> Result<Vec<Sale>, StoreError> {
        let rows = query_file_as!(
            SaleRow,
            "sql/list_sales.sql",
            after.map(|last| last.at),
            after.map(|last| last.id),
            limit
        )
        .fetch_all(self.pool.reads())
        .await?;
        rows.into_iter().map(Sale::try_from).collect()
    }

    /// At most `limit` sales that the clock of the record changes, and its present time. `lead` is
    /// how long before its start a sale is prepared at least.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn due(
        &self,
        lead: Duration,
        limit: i64,
    ) -> Result<Vec<(Uuid, OffsetDateTime)>, StoreError> {
        let lead_ms = i64::try_from(lead.as_millis()).unwrap_or(i64::MAX);
        let rows =
            query_file!("sql/due_sales.sql", lead_ms, limit).fetch_all(self.pool.reads()).await?;
        Ok(rows.into_iter().map(|row| (row.sale_id, row.now)).collect())
    }

    /// What the clock of the record shows: that of an instance may be off.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn now(&self) -> Result<OffsetDateTime, StoreError> {
        Ok(query_file!("sql/now.sql").fetch_one(self.pool.reads()).await?.now)
    }

    /// How many sales should sell by now, or at other prices by now, and do not.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn late(&self) -> Result<i64, StoreError> {
        Ok(query_file!("sql/late_sales.sql").fetch_one(self.pool.reads()).await?.late)
    }

    /// The version and the propagated version of each of these sales.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn versions(&self, ids: &[Uuid]) -> Result<Vec<(Uuid, (i64, i64))>, StoreError> {
        let rows =
            query_file!("sql/watched_versions.sql", ids).fetch_all(self.pool.reads()).await?;
        Ok(rows
            .into_iter()
            .map(|row| (row.sale_id, (row.version, row.propagated_version)))
            .collect())
    }
}
