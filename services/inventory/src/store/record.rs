//! What Postgres has on record of a sale's stock.

use std::time::Duration;

use flashsale_failpoint::Step as _;
use sqlx::{PgPool, query_file, query_file_scalar};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Unchanged, servers};
use crate::domain::{Item, PlacedLine, RecordedOrder, Refusal, Rules, Units, one_order_a_hold};

/// The record of stock.
#[derive(Debug, Clone)]
pub struct Record {
    pub(super) pool: PgPool,
    /// For leases, which must not run out because everything else is in use.
    leases: PgPool,
}

/// What is known of a sale's stock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// The sale's state.
    pub state: String,
    /// The latest epoch and whether it may be used; `None` when stock was never loaded.
    pub epoch: Option<(i64, bool)>,
    /// The server that the epoch was raised on; empty when stock was never loaded.
    pub server: String,
    /// Whether that epoch is a rebuild's that has not ended.
    pub rebuilding: bool,
    /// Whether the sale's report is final: nothing happens to its stock any more.
    pub is_final: bool,
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

/// How many recorded orders are read at once.
const ORDERS_PAGE: i64 = 2_000;

/// What a stock is rebuilt from.
#[derive(Debug)]
pub struct Snapshot {
    /// The rules.
    pub rules: Rules,
    /// What the sale offers and how much of it is allotted, by sku.
    pub items: Vec<Item>,
    /// The orders of the sale, each hold's one.
    pub orders: Vec<RecordedOrder>,
}

/// The row of `recorded_orders.sql`.
struct OrderRow {
    order_id: Uuid,
    buyer_id: String,
    hold_id: Uuid,
    admission_id: Option<String>,
    request_id: Uuid,
    request_hash: String,
    state: String,
    placed_at: OffsetDateTime,
    skus: Vec<String>,
    quantities: Vec<i64>,
    prices: Vec<i64>,
}

impl OrderRow {
    fn into_order(self) -> Result<RecordedOrder, Refusal> {
        let units = Units::of(&self.state).ok_or_else(|| Refusal::Fault {
            cause: format!("order {} is in an unknown state, {}", self.order_id, self.state),
        })?;
        let lines = self.skus.into_iter().zip(self.quantities).zip(self.prices);
        Ok(RecordedOrder {
            order_id: self.order_id,
            buyer_id: self.buyer_id,
            hold_id: self.hold_id,
            admission_id: self.admission_id,
            request_id: self.request_id,
            request_hash: self.request_hash,
            units,
            placed_ms: millis(self.placed_at),
            lines: lines
                .map(|((sku, quantity), price_minor)| PlacedLine { sku, quantity, price_minor })
                .collect(),
        })
    }
}

impl Record {
    /// The record behind `pool`; leases are kept by `leases`.
    pub fn new(pool: PgPool, leases: PgPool) -> Self {
        Self { pool, leases }
    }

    /// What is known of a sale's stock.
    ///
    /// # Errors
    /// [`Refusal::SaleUnknown`], or when Postgres does not answer.
    pub async fn lookup(&self, sale_id: Uuid) -> Result<Known, Refusal> {
        let row = query_file!("sql/lookup.sql", sale_id)
            .fetch_optional(&self.pool)
            .step("sql/lookup")
            .await
            .map_err(away)?
            .ok_or(Refusal::SaleUnknown)?;
        let epoch =
            row.epoch.map(|epoch| (epoch, row.run_id.is_some_and(|run_id| !run_id.is_empty())));
        Ok(Known {
            state: row.state,
            epoch,
            server: row.server.unwrap_or_default(),
            rebuilding: row.rebuilding,
            is_final: row.r#final,
        })
    }

    /// The stocks that may have holds to sweep, with their epochs.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn loaded_sales(&self) -> Result<Vec<(Uuid, i64)>, Refusal> {
        let rows = query_file!("sql/loaded_sales.sql")
            .fetch_all(&self.pool)
            .step("sql/loaded_sales")
            .await
            .map_err(away)?;
        Ok(rows.into_iter().map(|row| (row.sale_id, row.epoch)).collect())
    }

    /// The sales whose stock is shown in metrics, at most `limit`.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn watched_sales(&self, limit: i64) -> Result<Vec<Uuid>, Refusal> {
        query_file_scalar!("sql/watched_sales.sql", limit)
            .fetch_all(&self.pool)
            .step("sql/watched_sales")
            .await
            .map_err(away)
    }

    /// A sale's rules as they are now.
    ///
    /// # Errors
    /// [`Refusal::SaleUnknown`], or when Postgres does not answer.
    pub async fn rules(&self, sale_id: Uuid) -> Result<Rules, Refusal> {
        let row = sqlx::query_file_as!(RulesRow, "sql/sale_rules.sql", sale_id)
            .fetch_optional(&self.pool)
            .step("sql/sale_rules")
            .await
            .map_err(away)?;
        row.map(Rules::from).ok_or(Refusal::SaleUnknown)
    }

    /// Hands out the next epoch on the server `own` and writes the allotments, in one transaction. Nobody may use the epoch before
    /// [`Record::publish`]. `None` when the record is not any more as it was `seen`. `unchanged` is for how long the row of the recorded
    /// server has stood still.
    ///
    /// # Errors
    /// [`Refusal::SaleUnknown`]; [`Refusal::Fenced`] when orders exist: what is left for sale is then no longer what the sale
    /// began with, or when the recorded server is another one that still counts; [`Refusal::NotLoadable`] when the sale offers nothing; or when Postgres does not answer.
    pub async fn claim(
        &self,
        sale_id: Uuid,
        seen: &Known,
        own: &str,
        unchanged: Unchanged,
    ) -> Result<Option<Claimed>, Refusal> {
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
            .map(|row| ((row.epoch, !row.run_id.is_empty()), row.server));
        let (current, recorded) = current.unzip();
        if (&rules.state, current) != (&seen.state, seen.epoch) {
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
        transaction.commit().step("commit/claim").await.map_err(away)?;
        Ok(Some(Claimed { epoch, rules, items }))
    }

    /// Lets everybody use an epoch, loaded into the server that it was handed out on. False when a later one was handed out since, or
    /// `server` is another one.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn publish(&self, sale_id: Uuid, epoch: i64, server: &str) -> Result<bool, Refusal> {
        let done = query_file!("sql/publish_stock.sql", sale_id, epoch, server)
            .execute(&self.pool)
            .step("sql/publish_stock")
            .await
            .map_err(away)?;
        Ok(done.rows_affected() == 1)
    }

    /// Keeps the lease for longer. False when another one has it.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn renew_rebuild(
        &self,
        sale_id: Uuid,
        rebuilder: Uuid,
        lease: Duration,
        epoch: i64,
    ) -> Result<bool, Refusal> {
        let done = query_file!("sql/rebuild_renew.sql", sale_id, rebuilder, ms(lease), epoch)
            .execute(&self.leases)
            .step("sql/rebuild_renew")
            .await
            .map_err(away)?;
        Ok(done.rows_affected() == 1)
    }

    /// Lets everybody use the rebuilt stock, which stands on `server`. False when another one has the lease, or the epoch was handed out on
    /// another server.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn end_rebuild(
        &self,
        sale_id: Uuid,
        rebuilder: Uuid,
        server: &str,
        epoch: i64,
    ) -> Result<bool, Refusal> {
        let done = query_file!("sql/rebuild_end.sql", sale_id, rebuilder, server, epoch)
            .execute(&self.pool)
            .step("sql/rebuild_end")
            .await
            .map_err(away)?;
        Ok(done.rows_affected() == 1)
    }

    /// Gives the lease of a rebuild back that cannot go on.
    ///
    /// # Errors
    /// When Postgres does not answer; then the lease runs out by itself.
    pub async fn release_rebuild(
        &self,
        sale_id: Uuid,
        rebuilder: Uuid,
        epoch: i64,
    ) -> Result<(), Refusal> {
        query_file!("sql/rebuild_release.sql", sale_id, rebuilder, epoch)
            .execute(&self.pool)
            .step("sql/rebuild_release")
            .await
            .map_err(away)?;
        Ok(())
    }

    /// Sales whose rebuild was begun and is nobody's any more.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn rebuilds_cut_off(&self) -> Result<Vec<Uuid>, Refusal> {
        query_file_scalar!("sql/rebuilds_cut_off.sql")
            .fetch_all(&self.pool)
            .step("sql/rebuilds_cut_off")
            .await
            .map_err(away)
    }

    /// Whether the claims have come past the marker of `epoch`.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn fence_passed(&self, sale_id: Uuid, epoch: i64) -> Result<bool, Refusal> {
        query_file_scalar!("sql/fence_passed.sql", sale_id, epoch)
            .fetch_one(&self.pool)
            .step("sql/fence_passed")
            .await
            .map_err(away)
    }

    /// Everything a stock is computed from, as of one instant.
    ///
    /// # Errors
    /// [`Refusal::SaleUnknown`], or when Postgres does not answer.
    pub async fn snapshot(&self, sale_id: Uuid) -> Result<Snapshot, Refusal> {
        let mut transaction = self
            .pool
            .begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            .await
            .map_err(away)?;
        let rules = sqlx::query_file_as!(RulesRow, "sql/sale_rules.sql", sale_id)
            .fetch_optional(&mut *transaction)
            .await
            .map_err(away)?
            .map(Rules::from)
            .ok_or(Refusal::SaleUnknown)?;
        let items = sqlx::query_file_as!(Item, "sql/items.sql", sale_id)
            .fetch_all(&mut *transaction)
            .await
            .map_err(away)?;
        let mut orders = Vec::new();
        let mut behind: Option<(OffsetDateTime, Uuid)> = None;
        loop {
            let (placed_at, order_id) = behind.unzip();
            let page = sqlx::query_file_as!(
                OrderRow,
                "sql/recorded_orders.sql",
                sale_id,
                placed_at,
                order_id,
                ORDERS_PAGE
            )
            .fetch_all(&mut *transaction)
            .await
            .map_err(away)?;
            let Some(last) = page.last() else { break };
            behind = Some((last.placed_at, last.order_id));
            for row in page {
                orders.push(row.into_order()?);
            }
        }
        Ok(Snapshot { rules, items, orders: one_order_a_hold(orders) })
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}
