//! What Postgres has of a sale's units, for comparing it with the stock.

use std::collections::HashMap;

use flashsale_pg::statement;
use flashsale_record::OrderState;
use sqlx::{query_file, query_file_as};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Record, postgres::away};
use crate::{
    domain::{
        Refusal,
        reconcile::{OrderStanding, SeenOrder, SkuRecord},
    },
    steps,
};

/// How many orders one query reads.
const PAGE: i64 = 2_000;

/// The position of the claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Floor {
    /// The stream that it counts in, by its time of creation.
    pub stream_created: OffsetDateTime,
    /// The sequence number of the last message claimed.
    pub seq: u64,
}

impl Floor {
    /// Whether it counts in the stream created at `created`. NATS keeps nanoseconds, Postgres
    /// microseconds.
    pub fn counts_in(&self, created: OffsetDateTime) -> bool {
        let micros = |time: OffsetDateTime| time.unix_timestamp_nanos().div_euclid(1_000);
        micros(self.stream_created) == micros(created)
    }
}

/// The row of `reconcile_orders.sql` and `reconcile_orders_again.sql`.
struct OrderRow {
    order_id: Uuid,
    hold_id: Uuid,
    epoch: i64,
    state: String,
    age_ms: i64,
    skus: Option<Vec<String>>,
    quantities: Option<Vec<i64>>,
}

impl OrderRow {
    fn seen(self) -> Result<(Uuid, SeenOrder), Refusal> {
        let standing = OrderState::parse(&self.state)
            .map(OrderStanding::of)
            .ok_or_else(|| Refusal::Fault { cause: format!("an order is {}", self.state) })?;
        let skus = self.skus.unwrap_or_default();
        let lines = skus.into_iter().zip(self.quantities.unwrap_or_default()).collect();
        let (order_id, epoch, age_ms) = (self.order_id, self.epoch, self.age_ms);
        Ok((self.hold_id, SeenOrder { order_id, standing, epoch, age_ms, lines }))
    }
}

impl Record {
    /// Units by sku, as of one instant.
    ///
    /// # Errors
    /// [`Refusal::StoreAway`] while Postgres cannot be reached, [`Refusal::Fault`] for any other
    /// error of it.
    pub async fn units(&self, sale_id: Uuid) -> Result<Vec<SkuRecord>, Refusal> {
        statement!(
            steps::SQL_RECONCILE_UNITS,
            query_file_as!(SkuRecord, "sql/reconcile_units.sql", sale_id)
        )
        .fetch_all(&self.pool)
        .await
        .map_err(away)
    }

    /// Every order of a sale, by its hold.
    ///
    /// # Errors
    /// [`Refusal::StoreAway`] while Postgres cannot be reached, [`Refusal::Fault`] for any other
    /// error of it.
    pub async fn all_orders(&self, sale_id: Uuid) -> Result<HashMap<Uuid, SeenOrder>, Refusal> {
        let mut orders = HashMap::new();
        let mut last = Uuid::nil();
        loop {
            let rows = statement!(
                steps::SQL_RECONCILE_ORDERS,
                query_file_as!(OrderRow, "sql/reconcile_orders.sql", sale_id, last, PAGE)
            )
            .fetch_all(&self.pool)
            .await
            .map_err(away)?;
            let Some(end) = rows.last() else { return Ok(orders) };
            last = end.order_id;
            for row in rows {
                let (hold_id, order) = row.seen()?;
                // Where two orders name one hold, it belongs to the one that has not ended.
                if orders.get(&hold_id).is_none_or(has_ended) {
                    orders.insert(hold_id, order);
                }
            }
        }
    }

    /// These orders, by their holds.
    ///
    /// # Errors
    /// [`Refusal::StoreAway`] while Postgres cannot be reached, [`Refusal::Fault`] for any other
    /// error of it.
    pub async fn some_orders(
        &self,
        sale_id: Uuid,
        ids: &[Uuid],
    ) -> Result<HashMap<Uuid, SeenOrder>, Refusal> {
        statement!(
            steps::SQL_RECONCILE_ORDERS_AGAIN,
            query_file_as!(OrderRow, "sql/reconcile_orders_again.sql", sale_id, ids)
        )
        .fetch_all(&self.pool)
        .await
        .map_err(away)?
        .into_iter()
        .map(OrderRow::seen)
        .collect()
    }

    /// The position of the claims in a stream; `None` before the first claim.
    ///
    /// # Errors
    /// [`Refusal::StoreAway`] while Postgres cannot be reached, [`Refusal::Fault`] for any other
    /// error of it.
    pub async fn claims_floor(&self, stream: &str) -> Result<Option<Floor>, Refusal> {
        let row = statement!(steps::SQL_CLAIMS_FLOOR, query_file!("sql/claims_floor.sql", stream))
            .fetch_optional(&self.pool)
            .await
            .map_err(away)?;
        Ok(row.map(|row| Floor {
            stream_created: row.stream_created,
            seq: u64::try_from(row.seq).unwrap_or(0),
        }))
    }
}

fn has_ended(order: &SeenOrder) -> bool {
    order.standing == OrderStanding::Ended
}
