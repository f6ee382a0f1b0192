//! The record of rebuilds: their leases, whether the claims have passed their marker, and what a
//! stock is computed from.

use std::time::Duration;

use flashsale_pg::statement;
use flashsale_record::OrderState;
use sqlx::{query_file, query_file_scalar};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    Prices,
    postgres::away,
    prices,
    record::{Record, RulesRow, millis},
};
use crate::{
    domain::{Item, OrderUnits, PlacedLine, RecordedOrder, Refusal, Rules, one_order_a_hold},
    steps,
};

/// How many recorded orders one query reads.
const ORDERS_PAGE: i64 = 2_000;

/// What a stock is filled with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    pub rules: Rules,
    /// What the sale offers and how much of it is allotted, by sku.
    pub items: Vec<Item>,
    pub prices: Prices,
    /// The orders of the sale, one for each hold.
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
    revisions: Vec<i64>,
}

impl OrderRow {
    fn into_order(self) -> Result<RecordedOrder, Refusal> {
        let units = OrderState::parse(&self.state).and_then(OrderUnits::of);
        let units = units.ok_or_else(|| Refusal::Fault {
            cause: format!("order {} is in an unknown state, {}", self.order_id, self.state),
        })?;
        let prices = self.prices.into_iter().zip(self.revisions);
        let lines = self.skus.into_iter().zip(self.quantities).zip(prices);
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
                .map(|((sku, quantity), (price_minor, price_revision))| PlacedLine {
                    sku,
                    quantity,
                    price_minor,
                    price_revision,
                })
                .collect(),
        })
    }
}

impl Record {
    /// Extends the lease. False when another rebuilder has it.
    ///
    /// # Errors
    /// [`Refusal::StoreAway`] while Postgres cannot be reached, [`Refusal::Fault`] for any other
    /// error of it.
    pub async fn renew_rebuild(
        &self,
        sale_id: Uuid,
        rebuilder: Uuid,
        lease: Duration,
        epoch: i64,
    ) -> Result<bool, Refusal> {
        let done = statement!(
            steps::SQL_REBUILD_RENEW,
            query_file!("sql/rebuild_renew.sql", sale_id, rebuilder, ms(lease), epoch)
        )
        .execute(&self.leases)
        .await
        .map_err(away)?;
        Ok(done.rows_affected() == 1)
    }

    /// Lets all instances use the rebuilt stock on `server`. False when another rebuilder has the
    /// lease, or the epoch was handed out on another server.
    ///
    /// # Errors
    /// [`Refusal::StoreAway`] while Postgres cannot be reached, [`Refusal::Fault`] for any other
    /// error of it.
    pub async fn end_rebuild(
        &self,
        sale_id: Uuid,
        rebuilder: Uuid,
        server: &str,
        epoch: i64,
    ) -> Result<bool, Refusal> {
        let done = statement!(
            steps::SQL_REBUILD_END,
            query_file!("sql/rebuild_end.sql", sale_id, rebuilder, server, epoch)
        )
        .execute(&self.pool)
        .await
        .map_err(away)?;
        Ok(done.rows_affected() == 1)
    }

    /// Gives back the lease of a rebuild that cannot go on.
    ///
    /// # Errors
    /// [`Refusal::StoreAway`] while Postgres cannot be reached, [`Refusal::Fault`] for any other
    /// error of it. The lease then expires by time.
    pub async fn release_rebuild(
        &self,
        sale_id: Uuid,
        rebuilder: Uuid,
        epoch: i64,
    ) -> Result<(), Refusal> {
        statement!(
            steps::SQL_REBUILD_RELEASE,
            query_file!("sql/rebuild_release.sql", sale_id, rebuilder, epoch)
        )
        .execute(&self.pool)
        .await
        .map_err(away)?;
        Ok(())
    }

    /// Sales whose rebuild was begun and whose lease has run out.
    ///
    /// # Errors
    /// [`Refusal::StoreAway`] while Postgres cannot be reached, [`Refusal::Fault`] for any other
    /// error of it.
    pub async fn rebuilds_cut_off(&self) -> Result<Vec<Uuid>, Refusal> {
        statement!(steps::SQL_REBUILDS_CUT_OFF, query_file_scalar!("sql/rebuilds_cut_off.sql"))
            .fetch_all(&self.pool)
            .await
            .map_err(away)
    }

    /// Whether the claims have passed the marker of `epoch`.
    ///
    /// # Errors
    /// [`Refusal::StoreAway`] while Postgres cannot be reached, [`Refusal::Fault`] for any other
    /// error of it.
    pub async fn fence_passed(&self, sale_id: Uuid, epoch: i64) -> Result<bool, Refusal> {
        statement!(
            steps::SQL_FENCE_PASSED,
            query_file_scalar!("sql/fence_passed.sql", sale_id, epoch)
        )
        .fetch_one(&self.pool)
        .await
        .map_err(away)
    }

    /// Everything that a stock is computed from, as of one instant.
    ///
    /// # Errors
    /// [`Refusal::SaleUnknown`]; [`Refusal::StoreAway`] while Postgres cannot be reached,
    /// [`Refusal::Fault`] for any other error of it.
    pub async fn snapshot(&self, sale_id: Uuid) -> Result<Snapshot, Refusal> {
        let mut transaction = self
            .pool
            .reads()
            .begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            .await
            .map_err(away)?;
        let rules: Rules = sqlx::query_file_as!(RulesRow, "sql/sale_rules.sql", sale_id)
            .fetch_optional(&mut *transaction)
            .await
            .map_err(away)?
            .ok_or(Refusal::SaleUnknown)?
            .try_into()?;
        let items = sqlx::query_file_as!(Item, "sql/items.sql", sale_id)
            .fetch_all(&mut *transaction)
            .await
            .map_err(away)?;
        let prices = prices::to_fill(&mut transaction, sale_id).await?;
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
        Ok(Snapshot { rules, items, prices, orders: one_order_a_hold(orders) })
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}
