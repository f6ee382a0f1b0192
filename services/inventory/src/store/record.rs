//! What Postgres has on record of a sale's stock.

use sqlx::{PgPool, query_file, query_file_scalar};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::{Item, Refusal, Rules};

/// The record of stock.
#[derive(Debug, Clone)]
pub struct Record {
    pool: PgPool,
}

/// What is known of a sale's stock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// The sale's state.
    pub state: String,
    /// The latest epoch and whether it may be used; `None` when stock was never loaded.
    pub epoch: Option<(i64, bool)>,
}

/// A sale whose stock may now be loaded under a new epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// The epoch.
    pub epoch: i64,
    /// The rules.
    pub rules: Rules,
    /// What it offers, by sku.
    pub items: Vec<Item>,
}

/// Classes of SQLSTATE that say something of the server's condition, not of the statement: connections, conflicts, resources,
/// interventions.
const CONDITIONS: [&str; 4] = ["08", "40", "53", "57"];

pub(super) fn away(error: sqlx::Error) -> Refusal {
    let cause = error.to_string();
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    if code.is_some_and(|code| !CONDITIONS.iter().any(|class| code.starts_with(class))) {
        return Refusal::Fault { cause };
    }
    Refusal::StoreAway { store: "postgres", cause }
}

fn millis(time: OffsetDateTime) -> i64 {
    i64::try_from(time.unix_timestamp_nanos().div_euclid(1_000_000)).unwrap_or(i64::MAX)
}

/// The row of `sale_rules.sql` and `lock_sale.sql`.
struct RulesRow {
    version: i64,
    state: String,
    currency: String,
    starts_at: OffsetDateTime,
    ends_at: OffsetDateTime,
    hold_ms: i64,
    room: bool,
}

impl From<RulesRow> for Rules {
    fn from(row: RulesRow) -> Self {
        Self {
            version: row.version,
            state: row.state,
            currency: row.currency,
            starts_ms: millis(row.starts_at),
            ends_ms: millis(row.ends_at),
            hold_ms: row.hold_ms,
            room: row.room,
        }
    }
}

impl Record {
    /// The record behind `pool`.
    pub fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    /// What is known of a sale's stock.
    ///
    /// # Errors
    /// [`Refusal::SaleUnknown`], or when Postgres does not answer.
    pub async fn lookup(&self, sale_id: Uuid) -> Result<Known, Refusal> {
        let row = query_file!("sql/lookup.sql", sale_id)
            .fetch_optional(&self.pool)
            .await
            .map_err(away)?
            .ok_or(Refusal::SaleUnknown)?;
        let epoch =
            row.epoch.map(|epoch| (epoch, row.run_id.is_some_and(|run_id| !run_id.is_empty())));
        Ok(Known { state: row.state, epoch })
    }

    /// The stocks that may have holds to sweep, with their epochs.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn loaded_sales(&self) -> Result<Vec<(Uuid, i64)>, Refusal> {
        let rows = query_file!("sql/loaded_sales.sql").fetch_all(&self.pool).await.map_err(away)?;
        Ok(rows.into_iter().map(|row| (row.sale_id, row.epoch)).collect())
    }

    /// The sales whose stock is shown in metrics, at most `limit`.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn watched_sales(&self, limit: i64) -> Result<Vec<Uuid>, Refusal> {
        query_file_scalar!("sql/watched_sales.sql", limit).fetch_all(&self.pool).await.map_err(away)
    }

    /// A sale's rules as they are now.
    ///
    /// # Errors
    /// [`Refusal::SaleUnknown`], or when Postgres does not answer.
    pub async fn rules(&self, sale_id: Uuid) -> Result<Rules, Refusal> {
        let row = sqlx::query_file_as!(RulesRow, "sql/sale_rules.sql", sale_id)
            .fetch_optional(&self.pool)
            .await
            .map_err(away)?;
        row.map(Rules::from).ok_or(Refusal::SaleUnknown)
    }

    /// Hands out the next epoch and writes the allotments, in one transaction. Nobody may use the epoch before
    /// [`Record::publish`]. `None` when the record is not any more as it was `seen`.
    ///
    /// # Errors
    /// [`Refusal::SaleUnknown`]; [`Refusal::Fenced`] when orders exist: what is left for sale is then no longer what the sale
    /// began with; [`Refusal::NotLoadable`] when the sale offers nothing; or when Postgres does not answer.
    pub async fn claim(&self, sale_id: Uuid, seen: &Known) -> Result<Option<Claimed>, Refusal> {
        let mut transaction = self.pool.begin().await.map_err(away)?;
        let rules = sqlx::query_file_as!(RulesRow, "sql/lock_sale.sql", sale_id)
            .fetch_optional(&mut *transaction)
            .await
            .map_err(away)?
            .map(Rules::from)
            .ok_or(Refusal::SaleUnknown)?;
        let current = query_file!("sql/lock_stock.sql", sale_id)
            .fetch_optional(&mut *transaction)
            .await
            .map_err(away)?
            .map(|row| (row.epoch, !row.run_id.is_empty()));
        if (&rules.state, current) != (&seen.state, seen.epoch) {
            return Ok(None);
        }
        let orders =
            query_file_scalar!("sql/has_orders.sql", sale_id).fetch_one(&mut *transaction).await;
        if orders.map_err(away)? {
            return Err(Refusal::Fenced);
        }
        let epoch = if current.is_some() {
            query_file_scalar!("sql/next_epoch.sql", sale_id)
                .fetch_optional(&mut *transaction)
                .await
        } else {
            query_file_scalar!("sql/first_epoch.sql", sale_id)
                .fetch_optional(&mut *transaction)
                .await
        };
        let Some(epoch) = epoch.map_err(away)? else { return Ok(None) };
        query_file!("sql/drop_allotments.sql", sale_id)
            .execute(&mut *transaction)
            .await
            .map_err(away)?;
        query_file!("sql/write_allotments.sql", sale_id)
            .execute(&mut *transaction)
            .await
            .map_err(away)?;
        let items = sqlx::query_file_as!(Item, "sql/items.sql", sale_id)
            .fetch_all(&mut *transaction)
            .await
            .map_err(away)?;
        if items.is_empty() {
            return Err(Refusal::NotLoadable { why: "the sale offers nothing" });
        }
        transaction.commit().await.map_err(away)?;
        Ok(Some(Claimed { epoch, rules, items }))
    }

    /// Lets everybody use an epoch, loaded into the server with this run id. False when a later one was handed out since.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn publish(&self, sale_id: Uuid, epoch: i64, run_id: &str) -> Result<bool, Refusal> {
        let done = query_file!("sql/publish_stock.sql", sale_id, epoch, run_id)
            .execute(&self.pool)
            .await
            .map_err(away)?;
        Ok(done.rows_affected() == 1)
    }
}
