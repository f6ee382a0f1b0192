//! The record of a sale's stock in Postgres.

use flashsale_pg::{SteppedPool, statement};
use flashsale_record::{SaleState, UnknownName};
use sqlx::{PgPool, query_file, query_file_scalar};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Snapshot, Unchanged, postgres::away, prices, servers};
use crate::{
    domain::{Item, Refusal, Rules},
    steps,
};

#[derive(Debug, Clone)]
pub struct Record {
    pub(super) pool: SteppedPool,
    /// For leases, which must not run out because other work uses up the pool.
    pub(super) leases: SteppedPool,
}

/// What is on record of a sale's stock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    pub state: SaleState,
    /// The latest epoch and whether it may be used; `None` when stock was never loaded.
    pub epoch: Option<(i64, bool)>,
    /// The server that the epoch was raised on; empty when stock was never loaded.
    pub server: String,
    /// Whether that epoch belongs to a rebuild that has not ended.
    pub rebuilding: bool,
    /// Whether the sale's report is final: its stock does not change any more.
    pub is_final: bool,
}

/// A load that has begun: its epoch, and what it has to load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadBegun {
    pub epoch: i64,
    /// Without orders: there are none.
    pub snapshot: Snapshot,
}

pub(super) fn millis(time: OffsetDateTime) -> i64 {
    i64::try_from(time.unix_timestamp_nanos().div_euclid(1_000_000)).unwrap_or(i64::MAX)
}

/// The row of `sale_rules.sql` and `lock_sale.sql`.
pub(super) struct RulesRow {
    pub(super) version: i64,
    pub(super) state: String,
    pub(super) currency: String,
    pub(super) starts_at: OffsetDateTime,
    pub(super) ends_at: OffsetDateTime,
    pub(super) hold_ms: i64,
    pub(super) room: bool,
    pub(super) cancel_requested: bool,
    pub(super) begun: bool,
    pub(super) over: bool,
}

/// Parses a sale's state as the record spells it.
fn sale_state(name: &str) -> Result<SaleState, Refusal> {
    name.parse().map_err(|unknown: UnknownName| Refusal::Fault { cause: unknown.to_string() })
}

impl TryFrom<RulesRow> for Rules {
    type Error = Refusal;

    fn try_from(row: RulesRow) -> Result<Self, Refusal> {
        Ok(Self {
            version: row.version,
            state: sale_state(&row.state)?,
            currency: row.currency,
            starts_ms: millis(row.starts_at),
            ends_ms: millis(row.ends_at),
            hold_ms: row.hold_ms,
            room: row.room,
            cancel_requested: row.cancel_requested,
            begun: row.begun,
            over: row.over,
        })
    }
}

impl Record {
    /// The record behind `pool`; leases are kept over `leases`.
    pub fn new(pool: PgPool, leases: PgPool) -> Self {
        Self { pool: SteppedPool::new(pool), leases: SteppedPool::new(leases) }
    }

    ///
    /// # Errors
    /// [`Refusal::SaleUnknown`]; [`Refusal::StoreAway`] while Postgres cannot be reached,
    /// [`Refusal::Fault`] for any other error of it.
    pub async fn lookup(&self, sale_id: Uuid) -> Result<Known, Refusal> {
        let row = statement!(steps::SQL_LOOKUP, query_file!("sql/lookup.sql", sale_id))
            .fetch_optional(&self.pool)
            .await
            .map_err(away)?
            .ok_or(Refusal::SaleUnknown)?;
        let epoch =
            row.epoch.map(|epoch| (epoch, row.run_id.is_some_and(|run_id| !run_id.is_empty())));
        Ok(Known {
            state: sale_state(&row.state)?,
            epoch,
            server: row.server.unwrap_or_default(),
            rebuilding: row.rebuilding,
            is_final: row.r#final,
        })
    }

    /// The stocks that may have holds to sweep, with their epochs.
    ///
    /// # Errors
    /// [`Refusal::StoreAway`] while Postgres cannot be reached, [`Refusal::Fault`] for any other
    /// error of it.
    pub async fn loaded_sales(&self) -> Result<Vec<(Uuid, i64)>, Refusal> {
        let rows = statement!(steps::SQL_LOADED_SALES, query_file!("sql/loaded_sales.sql"))
            .fetch_all(&self.pool)
            .await
            .map_err(away)?;
        Ok(rows.into_iter().map(|row| (row.sale_id, row.epoch)).collect())
    }

    /// The sales whose stock is shown in metrics, at most `limit`.
    ///
    /// # Errors
    /// [`Refusal::StoreAway`] while Postgres cannot be reached, [`Refusal::Fault`] for any other
    /// error of it.
    pub async fn watched_sales(&self, limit: i64) -> Result<Vec<Uuid>, Refusal> {
        statement!(steps::SQL_WATCHED_SALES, query_file_scalar!("sql/watched_sales.sql", limit))
            .fetch_all(&self.pool)
            .await
            .map_err(away)
    }

    /// A sale's rules as they are now.
    ///
    /// # Errors
    /// [`Refusal::SaleUnknown`]; [`Refusal::StoreAway`] while Postgres cannot be reached,
    /// [`Refusal::Fault`] for any other error of it.
    pub async fn rules(&self, sale_id: Uuid) -> Result<Rules, Refusal> {
        let row = statement!(
            steps::SQL_SALE_RULES,
            sqlx::query_file_as!(RulesRow, "sql/sale_rules.sql", sale_id)
        )
        .fetch_optional(&self.pool)
        .await
        .map_err(away)?;
        row.ok_or(Refusal::SaleUnknown)?.try_into()
    }

    /// Hands out the next epoch on the server `own` and writes the allotments, in one transaction.
    /// No instance may use the epoch before [`Record::publish`]. `None` when the record has changed
    /// since it was `seen`. `unchanged` is how long the row of the recorded server has been
    /// unchanged.
    ///
    /// # Errors
    /// [`Refusal::SaleUnknown`]; [`Refusal::Fenced`] when orders exist, since what is left for sale
    /// is then no longer what the sale began with, or when the recorded server is another one that
    /// still counts; [`Refusal::NotLoadable`] when the sale offers nothing; [`Refusal::StoreAway`]
    /// while Postgres cannot be reached, [`Refusal::Fault`] for any other error of it.
    pub async fn begin_load(
        &self,
        sale_id: Uuid,
        seen: &Known,
        own: &str,
        unchanged: Unchanged,
    ) -> Result<Option<LoadBegun>, Refusal> {
        let mut transaction = self.pool.begin().await.map_err(away)?;
        // The sale's row, and that of its stock if there is one, stay locked up to the commit:
        // state and epoch cannot change in between.
        let rules: Rules = sqlx::query_file_as!(RulesRow, "sql/lock_sale.sql", sale_id)
            .fetch_optional(&mut *transaction)
            .await
            .map_err(away)?
            .ok_or(Refusal::SaleUnknown)?
            .try_into()?;
        let current = query_file!("sql/lock_stock.sql", sale_id)
            .fetch_optional(&mut *transaction)
            .await
            .map_err(away)?
            .map(|row| ((row.epoch, !row.run_id.is_empty()), row.server));
        let (current, recorded) = current.unzip();
        if (rules.state, current) != (seen.state, seen.epoch) {
            return Ok(None);
        }
        if let Some(recorded) = recorded
            && !servers::judge(&mut transaction, &recorded, own, unchanged).await?
        {
            return Err(Refusal::Fenced);
        }
        let orders =
            query_file_scalar!("sql/has_orders.sql", sale_id).fetch_one(&mut *transaction).await;
        if orders.map_err(away)? {
            return Err(Refusal::Fenced);
        }
        let epoch = if current.is_some() {
            query_file_scalar!("sql/next_epoch.sql", sale_id, own)
                .fetch_optional(&mut *transaction)
                .await
        } else {
            query_file_scalar!("sql/first_epoch.sql", sale_id, own)
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
        let prices = prices::to_fill(&mut transaction, sale_id).await?;
        transaction.commit(steps::COMMIT_CLAIM).await.map_err(away)?;
        let snapshot = Snapshot { rules, items, prices, orders: Vec::new() };
        Ok(Some(LoadBegun { epoch, snapshot }))
    }

    /// Lets all instances use an epoch, loaded into the server that it was handed out on. False
    /// when a later epoch was handed out since, or `server` is another one.
    ///
    /// # Errors
    /// [`Refusal::StoreAway`] while Postgres cannot be reached, [`Refusal::Fault`] for any other
    /// error of it.
    pub async fn publish(&self, sale_id: Uuid, epoch: i64, server: &str) -> Result<bool, Refusal> {
        let done = statement!(
            steps::SQL_PUBLISH_STOCK,
            query_file!("sql/publish_stock.sql", sale_id, epoch, server)
        )
        .execute(&self.pool)
        .await
        .map_err(away)?;
        Ok(done.rows_affected() == 1)
    }
}
