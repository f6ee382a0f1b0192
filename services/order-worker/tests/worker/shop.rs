//! A sale in a database of the test's own, and questions about what became of its orders.

use std::{sync::Arc, time::Duration};

use flashsale_order_worker::store::{
    claims::{Claimed, Summary, claim},
    position::{self, Position},
    received::{Received, receive},
};
use flashsale_pg::SteppedPool;
use flashsale_queue::{Line, ORDERS, OrderDetails, OrderMessage, QueueMessage};
use flashsale_testbed::{
    TestPg,
    fixtures::{self, PaymentSpec, PriceRevision, RefundSpec, SaleItem, SaleSpec},
};
use sqlx::PgPool;
use time::OffsetDateTime;
use uuid::Uuid;

/// How long a dead letter waits for a decision.
pub(crate) const REVIEW: Duration = Duration::from_secs(3_600);
/// The epoch of the sale's stock.
pub(crate) const EPOCH: i64 = 2;
/// The epoch of the first rebuild.
pub(crate) const NEXT: i64 = EPOCH + 1;
/// What follows for an order that ends cancelled, without ever being claimed.
pub(crate) const CANCELLED: [&str; 3] =
    ["close_hold/RELEASED", "event/CANCELLED", "mail/CANCELLED"];

pub(crate) struct Shop {
    pub(crate) pg: Arc<TestPg>,
    pub(crate) sale: Uuid,
    record: SteppedPool,
}

impl Shop {
    /// A sale of these skus with this many units each, at 1.00 EUR.
    pub(crate) async fn open(items: &[(&str, i64)]) -> Self {
        Self::add(Arc::new(flashsale_testbed::postgres().await), items).await
    }

    /// One more sale in the same record.
    pub(crate) async fn another(&self, items: &[(&str, i64)]) -> Self {
        Self::add(Arc::clone(&self.pg), items).await
    }

    async fn add(pg: Arc<TestPg>, items: &[(&str, i64)]) -> Self {
        let spec = SaleSpec {
            name: "Summer <sale>",
            starts_in_ms: 0,
            hold_ms: 1_000,
            ..SaleSpec::default()
        };
        let items = items.iter().map(|(sku, units)| SaleItem {
            title: format!("A <{sku}>"),
            ..SaleItem::from(&(*sku, *units, 0_i64, 100_i64))
        });
        let sale = fixtures::record_sale(&pg.pool, spec, items).await.unwrap();
        fixtures::record_stock(&pg.pool, sale, EPOCH).await.unwrap();
        let record = SteppedPool::new(pg.pool_of("order-worker"));
        Self { pg, sale, record }
    }

    /// The record as the worker reaches it.
    pub(crate) fn record(&self) -> &SteppedPool {
        &self.record
    }

    pub(crate) fn pool(&self) -> &PgPool {
        &self.pg.pool
    }

    /// A new order of these lines.
    pub(crate) fn order(&self, lines: &[(&str, i64)]) -> OrderMessage {
        OrderMessage {
            order_id: Uuid::new_v4(),
            sale_id: self.sale,
            buyer_id: "buyer-1".to_owned(),
            hold_id: Uuid::new_v4(),
            epoch: EPOCH,
            admission_id: None,
            request_id: Uuid::new_v4(),
            request_hash: "00ff".to_owned(),
            lines: lines
                .iter()
                .map(|(sku, quantity)| Line {
                    sku: (*sku).to_owned(),
                    quantity: *quantity,
                    unit_price_minor: 100,
                    price_revision: 1,
                })
                .collect(),
            currency: "EUR".to_owned(),
            total_minor: lines.iter().map(|(_, quantity)| quantity * 100).sum(),
            placed_at_ms: 1_795_000_000_000,
            details: OrderDetails {
                email: "buyer@example.com".to_owned(),
                contact_name: "Bea Buyer".to_owned(),
                payment_method: "pm_card_visa".to_owned(),
                ..OrderDetails::default()
            },
        }
    }

    /// Records a revision of the sale's prices.
    pub(crate) async fn revise(&self, revision: PriceRevision<'_>) {
        fixtures::record_price_revision(self.pool(), self.sale, revision).await.unwrap();
    }

    /// Claims these messages as the first ones of a stream.
    pub(crate) async fn claim(&self, messages: &[QueueMessage]) -> Summary {
        let from = self.position().await;
        let batch = batch(from, messages);
        done(claim(self.record(), ORDERS, from, &batch, REVIEW).await.unwrap())
    }

    /// Claims new orders of one unit each of `sku` and returns them.
    pub(crate) async fn claimed_orders(&self, sku: &str, count: usize) -> Vec<OrderMessage> {
        let orders: Vec<OrderMessage> = (0..count).map(|_| self.order(&[(sku, 1)])).collect();
        let messages: Vec<QueueMessage> = orders.iter().map(place).collect();
        self.claim(&messages).await;
        orders
    }

    /// Where the claims are in a stream that never ends.
    pub(crate) async fn position(&self) -> Position {
        position::open(self.record(), ORDERS, OffsetDateTime::UNIX_EPOCH, u64::MAX).await.unwrap()
    }

    pub(crate) async fn units_claimed(&self, sku: &str) -> i64 {
        sqlx::query_scalar("SELECT claimed FROM allotments WHERE sale_id = $1 AND sku = $2")
            .bind(self.sale)
            .bind(sku)
            .fetch_one(self.pool())
            .await
            .unwrap()
    }

    /// The order's state, and its reason after a slash if it has one.
    pub(crate) async fn state(&self, order: Uuid) -> Option<String> {
        sqlx::query_scalar(
            "SELECT state || COALESCE('/' || end_reason, '') FROM orders WHERE order_id = $1",
        )
        .bind(order)
        .fetch_optional(self.pool())
        .await
        .unwrap()
    }

    /// What the order is or was owed, as `kind/about`, sorted.
    pub(crate) async fn owed(&self, order: Uuid) -> Vec<String> {
        sqlx::query_scalar("SELECT kind || '/' || about FROM outbox WHERE order_id = $1 ORDER BY 1")
            .bind(order)
            .fetch_all(self.pool())
            .await
            .unwrap()
    }

    /// What is not carried out yet, of all orders.
    pub(crate) async fn undone(&self) -> Vec<String> {
        sqlx::query_scalar(
            "SELECT kind || '/' || about FROM outbox WHERE done_at IS NULL ORDER BY 1",
        )
        .fetch_all(self.pool())
        .await
        .unwrap()
    }

    /// The order's history, as `from>to:cause`.
    pub(crate) async fn history(&self, order: Uuid) -> Vec<String> {
        sqlx::query_scalar(
            "SELECT COALESCE(from_state, '') || '>' || to_state || ':' || cause FROM order_transitions
             WHERE order_id = $1 ORDER BY transition_id",
        )
        .bind(order)
        .fetch_all(self.pool())
        .await
        .unwrap()
    }

    /// Dead letters as (sequence number, reason).
    pub(crate) async fn dead(&self) -> Vec<(i64, String)> {
        sqlx::query_as("SELECT seq, reason FROM dead_letters ORDER BY seq")
            .fetch_all(self.pool())
            .await
            .unwrap()
    }

    /// The latest rebuild that the claims have come past.
    pub(crate) async fn fence(&self) -> Option<i64> {
        sqlx::query_scalar("SELECT epoch FROM stock_fences WHERE sale_id = $1")
            .bind(self.sale)
            .fetch_optional(self.pool())
            .await
            .unwrap()
    }

    /// Gives the sale's stock this epoch, as a rebuild does that begins.
    pub(crate) async fn begin_epoch(&self, epoch: i64) {
        sqlx::query("UPDATE sale_stock SET epoch = $2, run_id = '' WHERE sale_id = $1")
            .bind(self.sale)
            .bind(epoch)
            .execute(self.pool())
            .await
            .unwrap();
    }

    /// Orders of this sale that are parked.
    pub(crate) async fn parked(&self) -> Vec<Uuid> {
        sqlx::query_scalar("SELECT order_id FROM parked_orders WHERE sale_id = $1 ORDER BY seq")
            .bind(self.sale)
            .fetch_all(self.pool())
            .await
            .unwrap()
    }

    /// The marker of a rebuild that gives this sale's stock the epoch.
    pub(crate) fn marker(&self, epoch: i64) -> QueueMessage {
        QueueMessage::Fence { sale_id: self.sale, epoch }
    }

    /// Has the payment of `order` stand in `state`, as the payment service would record it.
    pub(crate) async fn pay(&self, order: &OrderMessage, state: &str, decline_code: Option<&str>) {
        let payment = PaymentSpec {
            order_id: order.order_id,
            sale_id: order.sale_id,
            state,
            currency: &order.currency,
            amount_minor: order.total_minor,
            payment_method: &order.details.payment_method,
            decline_code,
        };
        fixtures::record_payment(self.pool(), payment).await.unwrap();
    }

    /// Has a refund of `order` stand in `state`, as the payment service would record it.
    pub(crate) async fn refund(
        &self,
        order: &OrderMessage,
        refund_id: Uuid,
        state: &str,
        amount_minor: i64,
    ) {
        let order_id = order.order_id;
        let refund = RefundSpec { refund_id, order_id, state, amount_minor };
        fixtures::record_refund(self.pool(), refund).await.unwrap();
    }

    /// Asserts that what is claimed is exactly what the orders hold.
    pub(crate) async fn assert_books_balance(&self) {
        let differences: Vec<(String, i64, i64)> = sqlx::query_as(
            "SELECT a.sku, a.claimed, COALESCE(held.units, 0)::bigint
             FROM allotments a
             LEFT JOIN (
                 SELECT o.sale_id, l.sku, sum(l.quantity) AS units
                 FROM orders o JOIN order_lines l USING (order_id)
                 WHERE o.state NOT IN ('DECLINED', 'CANCELLED')
                 GROUP BY o.sale_id, l.sku
             ) held USING (sale_id, sku)
             WHERE a.claimed <> COALESCE(held.units, 0) OR a.claimed > a.allotted",
        )
        .fetch_all(self.pool())
        .await
        .unwrap();
        assert!(differences.is_empty(), "(sku, claimed, held by orders): {differences:?}");
    }
}

/// Has a line of the order cost `price` a unit, and the order what its lines cost then.
pub(crate) fn reprice(order: &mut OrderMessage, line: usize, price: i64) {
    order.lines[line].unit_price_minor = price;
    order.total_minor = order.lines.iter().map(|line| line.quantity * line.unit_price_minor).sum();
}

/// Has a line of the order cost `price` a unit in this revision of the sale's prices.
pub(crate) fn in_revision(order: &mut OrderMessage, line: usize, revision: i64, price: i64) {
    order.lines[line].price_revision = revision;
    reprice(order, line, price);
}

/// A time in milliseconds since 1970.
pub(crate) fn at(unix_ms: i64) -> OffsetDateTime {
    OffsetDateTime::UNIX_EPOCH + time::Duration::milliseconds(unix_ms)
}

pub(crate) fn place(order: &OrderMessage) -> QueueMessage {
    QueueMessage::Place { order: order.clone() }
}

pub(crate) fn cancel(order: &OrderMessage) -> QueueMessage {
    QueueMessage::Cancel { target: order.clone().into(), requested_at_ms: 1_795_000_001_000 }
}

/// These messages as they come after `from`.
pub(crate) fn batch(from: Position, messages: &[QueueMessage]) -> Vec<Received> {
    (from.seq + 1..).zip(messages).map(|(seq, message)| receive(seq, message.encode())).collect()
}

pub(crate) fn done(claimed: Claimed) -> Summary {
    match claimed {
        Claimed::Done(summary) => summary,
        Claimed::Overtaken => panic!("another claimer moved the position"),
    }
}
