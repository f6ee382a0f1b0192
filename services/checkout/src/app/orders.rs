//! Finds and lists orders, across the record in Postgres, the stock and the queue.

use std::time::Duration;

use flashsale_errors::{Failure, Reason};
use flashsale_proto::inventory::{Hold, HoldState, ReserveRequest};
use flashsale_queue::{ORDERS, OrderMessage};
use flashsale_service::page::{self, Place};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{AdmissionControl, OrderSubscriptions};
use crate::{
    domain::{Order, OrderFilter},
    peers::{
        inventory::{Inventory, PlacedOrder},
        payment::Payments,
    },
    store::{Queue, ReadError, Record},
};

/// How long a lookup waits for the claims to pass what is in the queue, and how often it checks.
const CLAIMS_WAIT: Duration = Duration::from_millis(500);
const CLAIMS_POLL: Duration = Duration::from_millis(20);

/// An order, and the message that would place it where that is known in full.
pub(super) struct Found {
    pub(super) order: Order,
    pub(super) message: Option<OrderMessage>,
    /// What its hold keeps cannot be read.
    pub(super) unreadable: bool,
}

impl Found {
    /// An order whose units have to be taken again after a rebuild, from its parked message.
    fn parked(message: OrderMessage) -> Result<Self, Failure> {
        let order = Order::from_message(&message).map_err(Failure::internal)?;
        Ok(Self { order, message: Some(message), unreadable: false })
    }
}

impl From<Order> for Found {
    fn from(order: Order) -> Self {
        Self { order, message: None, unreadable: false }
    }
}

impl From<PlacedOrder> for Found {
    fn from(placed: PlacedOrder) -> Self {
        let (message, unreadable) = (placed.message(), placed.unreadable().is_some());
        Self { order: placed.order, message, unreadable }
    }
}

/// The use cases of orders. Clones share everything.
#[derive(Debug, Clone)]
pub struct Orders {
    pub(crate) inventory: Inventory,
    pub(crate) payments: Payments,
    pub(crate) record: Record,
    pub(crate) subscriptions: OrderSubscriptions,
    pub(crate) admission_control: AdmissionControl,
    pub(crate) queue: Queue,
}

impl Orders {
    /// Reserves units before the buyer checks out.
    ///
    /// # Errors
    /// Inventory's refusals, unchanged.
    pub async fn begin(&self, request: ReserveRequest) -> Result<Hold, Failure> {
        self.inventory.reserve(request).await
    }

    /// An order, whether it is recorded, parked or only placed. One of another buyer or sale reads
    /// as not found.
    ///
    /// # Errors
    /// `ORDER_NOT_FOUND`; `STOCK_FENCED` while the answer depends on unclaimed messages;
    /// `STORE_UNAVAILABLE` or a failure of inventory's where a store does not answer.
    pub async fn get(
        &self,
        sale_id: Uuid,
        order_id: Uuid,
        buyer_id: Option<&str>,
    ) -> Result<Order, Failure> {
        Ok(self.find(sale_id, order_id, buyer_id).await?.order)
    }

    pub(super) async fn find(
        &self,
        sale_id: Uuid,
        order_id: Uuid,
        buyer_id: Option<&str>,
    ) -> Result<Found, Failure> {
        let found = match self.record.order(order_id).await {
            Ok(Some(row)) if row.state.is_dead_letter() => {
                match self.placed_order(sale_id, order_id).await {
                    Ok(placed) => placed.order.with_state_of(&row).into(),
                    // Its hold is gone with an older epoch of the stock.
                    Err(failure) if failure.reason() == Reason::OrderNotFound => row.into(),
                    Err(failure) => return Err(failure),
                }
            }
            Ok(Some(order)) => order.into(),
            // Looked up before the hold: a parked order has none in the present stock, and may have
            // waited since before the sale was open.
            Ok(None) => match self.record.parked(order_id).await?.map(Found::parked).transpose()? {
                Some(parked) => parked,
                None => match self.placed_order(sale_id, order_id).await {
                    Err(failure) if failure.reason() == Reason::OrderNotFound => {
                        self.unclaimed(sale_id, order_id).await?
                    }
                    placed => placed?.into(),
                },
            },
            // The stock store knows placed orders while Postgres is unavailable.
            Err(error) => match self.placed_order(sale_id, order_id).await {
                Ok(placed) if placed.hold_state == HoldState::Placed => placed.into(),
                Ok(_) | Err(_) => return Err(error.into()),
            },
        };
        let order = visible(found.order, sale_id, buyer_id)?;
        Ok(Found { order, ..found })
    }

    /// Looks for an order that neither the record nor the stock knows. After a rebuild, which does
    /// not count unclaimed orders, it may still wait in the queue; only when the claims have passed
    /// what is in the queue now is its absence certain.
    ///
    /// # Errors
    /// `ORDER_NOT_FOUND`, or `STOCK_FENCED` while the claims have not passed the queue's end.
    async fn unclaimed(&self, sale_id: Uuid, order_id: Uuid) -> Result<Found, Failure> {
        if !self.record.rebuilt(sale_id).await? {
            return Err(not_found(order_id));
        }
        let queue = self.queue.state().await?;
        let passed = tokio::time::timeout(CLAIMS_WAIT, async {
            loop {
                let position = self.record.claim_position(ORDERS).await?;
                let counts = position.filter(|position| position.counts_in(queue.created()));
                if counts.is_some_and(|position| position.seq >= queue.last_sequence()) {
                    return Ok::<_, ReadError>(());
                }
                tokio::time::sleep(CLAIMS_POLL).await;
            }
        });
        let passed = passed.await;
        // Parked before recorded: an order that is no longer parked is recorded.
        let parked = self.record.parked(order_id).await?.map(Found::parked).transpose()?;
        match (self.record.order(order_id).await?.map(Found::from).or(parked), passed) {
            (Some(found), _) => Ok(found),
            (None, Ok(passed)) => {
                passed?;
                Err(not_found(order_id))
            }
            (None, Err(_)) => Err(Failure::new(
                Reason::StockFenced,
                "the stock was rebuilt, and what waits in the queue is not claimed yet",
            )),
        }
    }

    async fn placed_order(&self, sale_id: Uuid, order_id: Uuid) -> Result<PlacedOrder, Failure> {
        self.inventory.by_order(sale_id, order_id).await.map_err(|failure| {
            // A sale that is not loaded, or no longer, has no placed orders to show.
            let absent = matches!(
                failure.reason(),
                Reason::HoldNotFound | Reason::SaleNotFound | Reason::SaleNotOpen
            );
            if absent { not_found(order_id) } else { failure }
        })
    }

    /// A page of recorded orders, newest first, and where the next one begins.
    ///
    /// # Errors
    /// `STORE_UNAVAILABLE` while Postgres does not answer.
    pub async fn list(
        &self,
        filter: &OrderFilter,
        after: Option<Place>,
        page_size: usize,
    ) -> Result<(Vec<Order>, Option<Place>), Failure> {
        let orders = self.record.list(filter, after, page::one_more(page_size)).await?;
        let last = |last: &Order| Place { at: last.placed_at, id: last.order_id };
        let (orders, next) = page::cut(orders, page_size, last);
        Ok((orders, next))
    }

    /// A page of recorded orders that changed after `since`, the oldest change first, and where the
    /// next one begins.
    ///
    /// # Errors
    /// `STORE_UNAVAILABLE` while Postgres does not answer.
    pub async fn list_changed(
        &self,
        filter: &OrderFilter,
        since: OffsetDateTime,
        after: Option<Place>,
        page_size: usize,
    ) -> Result<(Vec<Order>, Option<Place>), Failure> {
        // Behind every order that changed at that very time.
        let after = after.unwrap_or(Place { at: since, id: Uuid::max() });
        let orders = self.record.list_changed(filter, after, page::one_more(page_size)).await?;
        let last = |last: &Order| Place { at: last.updated_at, id: last.order_id };
        let (orders, next) = page::cut(orders, page_size, last);
        Ok((orders, next))
    }
}

/// The order, if it belongs to this sale and, where one is given, this buyer.
///
/// # Errors
/// `ORDER_NOT_FOUND` otherwise, so that the existence of the order is not disclosed.
pub(super) fn visible(
    order: Order,
    sale_id: Uuid,
    buyer_id: Option<&str>,
) -> Result<Order, Failure> {
    let theirs = order.sale_id == sale_id && buyer_id.is_none_or(|buyer| buyer == order.buyer_id);
    if theirs { Ok(order) } else { Err(not_found(order.order_id)) }
}

fn not_found(order_id: Uuid) -> Failure {
    Failure::new(Reason::OrderNotFound, "there is no such order of this sale and buyer")
        .with("order_id", order_id)
}
