//! What PlaceOrder, GetOrder and CancelOrder do, between the stock, the queue and the record.

use std::time::Duration;

use async_nats::jetstream;
use flashsale_errors::{Failure, Reason};
use flashsale_proto::inventory::{HoldState, PlaceHoldRequest};
use flashsale_queue::{OrderMessage, PublishError, QueueMessage, publish_within};
use flashsale_service::{
    boottime::BootInstant,
    deadline,
    page::{self, Place},
};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Hub, Intake};
use crate::{
    domain::{Details, Line, Order, OrderState},
    peers::inventory::{Carried, Stock, recorded},
    store::{Filter, ReadError, Record},
};

/// How long CancelOrder waits for the record to show the wish, at most.
const CANCEL_WAIT: Duration = Duration::from_secs(2);
/// How long a look at an order waits for the claims to come past what is in the queue, and how often it looks how far they are.
const CLAIMS_WAIT: Duration = Duration::from_millis(500);
const CLAIMS_POLL: Duration = Duration::from_millis(20);
/// What is left of a deadline for the answer itself.
const ANSWER_MARGIN: Duration = Duration::from_millis(200);

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Postgres(cause) => Failure::store("postgres", cause),
            ReadError::Corrupt(what) => Failure::internal(what),
        }
    }
}

/// An order that was found, and the message that would place it, where it is whole.
struct Found {
    order: Order,
    message: Option<OrderMessage>,
    /// Its hold cannot be read.
    broken: bool,
}

impl From<Order> for Found {
    fn from(order: Order) -> Self {
        Self { order, message: None, broken: false }
    }
}

impl From<Carried> for Found {
    fn from(carried: Carried) -> Self {
        let (message, broken) = (carried.message(), carried.unreadable().is_some());
        Self { order: carried.order, message, broken }
    }
}

/// Orders, from placing on.
#[derive(Debug, Clone)]
pub struct Orders {
    pub(crate) stock: Stock,
    pub(crate) record: Record,
    pub(crate) hub: Hub,
    pub(crate) intake: Intake,
    pub(crate) jetstream: jetstream::Context,
    pub(crate) publish_timeout: Duration,
}

impl Orders {
    /// Places an order: one script in the stock store, one publish. Nothing is undone when the publish fails: what is placed
    /// rolls forward, by the buyer's retry or by the relay.
    ///
    /// It is ACCEPTED only if the queue has acked it soon enough after the stock's check that its
    /// Redis counts ([`OrderState::placed`]). When that check is made only inventory knows, so that
    /// the clock starts before it is asked; a replay is checked anew and starts its own.
    ///
    /// # Errors
    /// The door's and inventory's refusals; they took nothing.
    pub async fn place(
        &self,
        request: PlaceHoldRequest,
        details: Details,
    ) -> Result<Order, Failure> {
        self.intake.admit(&request.sale_id)?;
        let before_check = BootInstant::now();
        let (carried, replayed) = self.take(request, details).await?;
        let Some(order) = carried.message() else {
            // Only a replay finds its order recorded, or no longer to be read; it is answered with
            // the order as it is now.
            return self.recorded_or(carried).await;
        };
        if replayed && carried.hold_state != HoldState::Placed {
            return self.recorded_or(carried).await;
        }
        let message = QueueMessage::Place { order };
        let room = self.intake.room();
        let published =
            publish_within(&self.jetstream, room, &message, None, self.publish_timeout).await;
        let acked = match published {
            Ok(_) => true,
            Err(PublishError::Full) => {
                self.intake.shut();
                false
            }
            Err(PublishError::Unknown | PublishError::Unavailable) => false,
        };
        let state = OrderState::placed(acked, before_check.elapsed());
        Ok(Order { state, ..carried.order })
    }

    /// The recorded order of a hold, or what the hold itself tells while Postgres is away.
    async fn recorded_or(&self, carried: Carried) -> Result<Order, Failure> {
        match self.record.order(carried.order.order_id).await {
            Ok(Some(order)) => Ok(order),
            Ok(None) if carried.unreadable().is_some() => {
                Ok(Order { state: OrderState::AcceptancePending, ..carried.order })
            }
            // Its units are lost and could not be taken anew: it is about to end, and is not accepted once more.
            Ok(None) if carried.hold_state != HoldState::Placed => {
                Ok(Order { state: OrderState::AcceptancePending, ..carried.order })
            }
            Ok(None) => Ok(carried.order),
            Err(error) => match carried.hold_state {
                HoldState::Placed => Ok(carried.order),
                HoldState::Sold => Ok(Order { state: OrderState::Confirmed, ..carried.order }),
                HoldState::Unspecified
                | HoldState::Held
                | HoldState::Released
                | HoldState::Expired => Err(error.into()),
            },
        }
    }

    /// An order, recorded, parked or only placed. Another buyer's, or another sale's, reads as not
    /// found.
    ///
    /// # Errors
    /// `ORDER_NOT_FOUND`.
    pub async fn get(
        &self,
        sale_id: Uuid,
        order_id: Uuid,
        buyer_id: Option<&str>,
    ) -> Result<Order, Failure> {
        Ok(self.find(sale_id, order_id, buyer_id).await?.order)
    }

    async fn find(
        &self,
        sale_id: Uuid,
        order_id: Uuid,
        buyer_id: Option<&str>,
    ) -> Result<Found, Failure> {
        let found = match self.record.order(order_id).await {
            Ok(Some(row)) if row.state == OrderState::DeadLetter => {
                match self.placed(sale_id, order_id).await {
                    Ok(carried) => carried.order.standing_as(&row).into(),
                    // It went with an older epoch of the stock.
                    Err(failure) if failure.reason() == Reason::OrderNotFound => row.into(),
                    Err(failure) => return Err(failure),
                }
            }
            Ok(Some(order)) => order.into(),
            // Parked orders have no hold in the stock as it is now, and may have waited since
            // before it was open.
            Ok(None) => match self.record.parked(order_id).await?.map(parked).transpose()? {
                Some(parked) => parked,
                None => match self.placed(sale_id, order_id).await {
                    Err(failure) if failure.reason() == Reason::OrderNotFound => {
                        self.unclaimed(sale_id, order_id).await?
                    }
                    placed => placed?.into(),
                },
            },
            // The stock store knows what is placed also while Postgres is away.
            Err(error) => match self.placed(sale_id, order_id).await {
                Ok(carried) if carried.hold_state == HoldState::Placed => carried.into(),
                Ok(_) | Err(_) => return Err(error.into()),
            },
        };
        let order = visible(found.order, sale_id, buyer_id)?;
        Ok(Found { order, ..found })
    }

    /// An order that neither the record nor the stock knows may wait for its claim behind a rebuild of the stock, which does not count it.
    /// That there is none can be told once the claims have come past what is in the queue.
    ///
    /// # Errors
    /// `ORDER_NOT_FOUND`, or `STOCK_FENCED` as long as nobody can tell.
    async fn unclaimed(&self, sale_id: Uuid, order_id: Uuid) -> Result<Found, Failure> {
        if !self.record.rebuilt(sale_id).await? {
            return Err(not_found(order_id));
        }
        let stream = tokio::time::timeout(
            self.publish_timeout,
            self.jetstream.get_stream(flashsale_queue::ORDERS),
        );
        let stream = stream
            .await
            .map_err(|error| Failure::store("order queue", error))?
            .map_err(|error| Failure::store("order queue", error))?;
        let queue = stream.cached_info();
        let passed = tokio::time::timeout(CLAIMS_WAIT, async {
            loop {
                let floor = self.record.floor(flashsale_queue::ORDERS).await?;
                let counts = floor.filter(|floor| floor.counts_in(queue.created));
                if counts.is_some_and(|floor| floor.seq >= queue.state.last_sequence) {
                    return Ok::<_, ReadError>(());
                }
                tokio::time::sleep(CLAIMS_POLL).await;
            }
        });
        let passed = passed.await;
        // In this order: what is no longer parked is recorded.
        let parked = self.record.parked(order_id).await?.map(parked).transpose()?;
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

    async fn placed(&self, sale_id: Uuid, order_id: Uuid) -> Result<Carried, Failure> {
        self.stock.by_order(sale_id, order_id).await.map_err(|failure| {
            // A sale that is not loaded, or not any longer, has no placed orders to show.
            let absent = matches!(
                failure.reason(),
                Reason::HoldNotFound | Reason::SaleNotFound | Reason::SaleNotOpen
            );
            if absent { not_found(order_id) } else { failure }
        })
    }

    /// Sends the wish to cancel through the queue: the claims meet it in order, so that no other writer races them. Waits a little for
    /// the record to show it.
    ///
    /// # Errors
    /// `ORDER_NOT_FOUND`, `ORDER_NOT_CANCELLABLE`, or `STORE_UNAVAILABLE` when the queue has not acked it.
    pub async fn cancel(
        &self,
        sale_id: Uuid,
        order_id: Uuid,
        buyer_id: &str,
    ) -> Result<Order, Failure> {
        let found = self.find(sale_id, order_id, Some(buyer_id)).await?;
        let Found { order, message, broken } = found;
        match order.state {
            OrderState::Cancelled => return Ok(order),
            OrderState::Confirmed | OrderState::Declined | OrderState::Refunded => {
                return Err(Failure::new(
                    Reason::OrderNotCancellable,
                    "the order has reached its end",
                )
                .with("state", order.state.recorded_name().unwrap_or_default()));
            }
            OrderState::AcceptancePending
            | OrderState::Accepted
            | OrderState::DeadLetter
            | OrderState::Claimed
            | OrderState::Paying
            | OrderState::ActionRequired => {}
        }
        if order.cancel_requested {
            return Ok(order);
        }
        let message = match order.state {
            // Not recorded yet: the wish carries the whole order, so that its row can be written as CANCELLED.
            OrderState::AcceptancePending | OrderState::Accepted if broken => {
                // A wish without the order would be lost. The relay is about to have it put aside;
                // then its id is enough.
                let what = "what its hold keeps cannot be read";
                return Err(Failure::store("stock", what));
            }
            OrderState::AcceptancePending | OrderState::Accepted => {
                message.unwrap_or_else(|| recorded(&order))
            }
            OrderState::DeadLetter
            | OrderState::Claimed
            | OrderState::Paying
            | OrderState::ActionRequired
            | OrderState::Confirmed
            | OrderState::Declined
            | OrderState::Cancelled
            | OrderState::Refunded => recorded(&order),
        };
        let now = flashsale_failpoint::now_utc().unix_timestamp_nanos() / 1_000_000;
        let wish = QueueMessage::Cancel {
            order: message,
            requested_at_ms: i64::try_from(now).unwrap_or(i64::MAX),
        };
        let mut changes = self.hub.follow(order_id);
        flashsale_queue::publish_order(&self.jetstream, &wish, self.publish_timeout)
            .await
            .map_err(|error| Failure::store("order queue", error))?;
        let patience = deadline::remaining()
            .map_or(CANCEL_WAIT, |left| left.saturating_sub(ANSWER_MARGIN).min(CANCEL_WAIT));
        let shown = tokio::time::timeout(patience, async {
            loop {
                match self.record.order(order_id).await? {
                    Some(order) if order.cancel_requested || !order.state.is_open() => {
                        return Ok::<_, ReadError>(order);
                    }
                    Some(_) | None => changes.changed().await,
                }
            }
        });
        match shown.await {
            Ok(Ok(order)) => Ok(order),
            // Queued durably, recorded a little later; also while the record cannot be read.
            Ok(Err(_)) | Err(_) => Ok(Order { cancel_requested: true, ..order }),
        }
    }

    /// A page of recorded orders, and where the next one begins.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn list(
        &self,
        filter: &Filter,
        after: Option<Place>,
        page_size: usize,
    ) -> Result<(Vec<Order>, Option<Place>), Failure> {
        let orders = self.record.list(filter, after, page::one_more(page_size)).await?;
        let last = |last: &Order| Place { at: last.placed_at, id: last.order_id };
        let (orders, next) = page::cut(orders, page_size, last);
        Ok((orders, next))
    }
}

/// An order that waits for its units to be taken anew.
fn parked(message: OrderMessage) -> Result<Found, Failure> {
    let placed_at =
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(message.placed_at_ms) * 1_000_000)
            .map_err(Failure::internal)?;
    let order = Order {
        order_id: message.order_id,
        sale_id: message.sale_id,
        buyer_id: message.buyer_id.clone(),
        hold_id: message.hold_id,
        state: OrderState::Accepted,
        lines: message
            .lines
            .iter()
            .map(|line| Line {
                sku: line.sku.clone(),
                quantity: line.quantity,
                unit_price_minor: line.unit_price_minor,
            })
            .collect(),
        currency: message.currency.clone(),
        total_minor: message.total_minor,
        placed_at,
        updated_at: placed_at,
        cancel_requested: false,
        end_reason: None,
    };
    Ok(Found { order, message: Some(message), broken: false })
}

/// The order, unless it is somebody else's.
pub fn visible(order: Order, sale_id: Uuid, buyer_id: Option<&str>) -> Result<Order, Failure> {
    let theirs = order.sale_id == sale_id && buyer_id.is_none_or(|buyer| buyer == order.buyer_id);
    if theirs { Ok(order) } else { Err(not_found(order.order_id)) }
}

fn not_found(order_id: Uuid) -> Failure {
    Failure::new(Reason::OrderNotFound, "there is no such order of this sale and buyer")
        .with("order_id", order_id)
}
