//! Cancelling orders.

use std::time::Duration;

use flashsale_errors::{Failure, Reason};
use flashsale_queue::{CancelTarget, QueueMessage};
use flashsale_service::deadline;
use uuid::Uuid;

use super::{Orders, orders::Found};
use crate::{
    domain::{Order, OrderState, Recorded, unix_ms},
    store::{ReadError, unavailable},
};

/// How long CancelOrder waits, at most, for the record to show the request.
const CANCEL_WAIT: Duration = Duration::from_secs(2);
/// The part of a deadline that is kept for the answer.
const ANSWER_MARGIN: Duration = Duration::from_millis(200);

impl Orders {
    /// Publishes the request to cancel to the queue: the claims process it in the stream's order,
    /// so that no second writer races them. Waits briefly for the record to show it.
    ///
    /// # Errors
    /// `ORDER_NOT_FOUND`, `ORDER_NOT_CANCELLABLE`, or `STORE_UNAVAILABLE` where the queue has not
    /// acked the request.
    pub async fn cancel(
        &self,
        sale_id: Uuid,
        order_id: Uuid,
        buyer_id: &str,
    ) -> Result<Order, Failure> {
        let found = self.find(sale_id, order_id, Some(buyer_id)).await?;
        let Found { order, message, unreadable } = found;
        match order.state {
            OrderState::Recorded(Recorded::Cancelled) => return Ok(order),
            OrderState::Recorded(
                state @ (Recorded::Confirmed | Recorded::Declined | Recorded::Refunded),
            ) => {
                return Err(Failure::new(
                    Reason::OrderNotCancellable,
                    "the order has reached its end",
                )
                .with("state", state));
            }
            OrderState::AcceptancePending
            | OrderState::Accepted
            | OrderState::Recorded(
                Recorded::DeadLetter
                | Recorded::Claimed
                | Recorded::Paying
                | Recorded::ActionRequired,
            ) => {}
        }
        if order.cancel_requested {
            return Ok(order);
        }
        let target = match order.state {
            // Not recorded yet: the request carries the whole order, so that its row can be written
            // as CANCELLED.
            OrderState::AcceptancePending | OrderState::Accepted if unreadable => {
                // A request without the order would be lost. The relay is about to report the hold,
                // which makes it a dead letter; from then on the id is enough.
                let what = "what its hold keeps cannot be read";
                return Err(Failure::store("stock", what));
            }
            OrderState::AcceptancePending | OrderState::Accepted => {
                message.map_or_else(|| recorded(&order), CancelTarget::Placed)
            }
            OrderState::Recorded(_) => recorded(&order),
        };
        let requested_at_ms = unix_ms(flashsale_failpoint::now_utc());
        let cancellation = QueueMessage::Cancel { target, requested_at_ms };
        let mut subscription = self.subscriptions.follow(order_id);
        self.queue.publish_cancellation(&cancellation).await.map_err(unavailable)?;
        let patience = deadline::remaining()
            .map_or(CANCEL_WAIT, |left| left.saturating_sub(ANSWER_MARGIN).min(CANCEL_WAIT));
        let shown = tokio::time::timeout(patience, async {
            loop {
                match self.record.order(order_id).await? {
                    Some(order) if order.cancel_requested || !order.state.is_open() => {
                        return Ok::<_, ReadError>(order);
                    }
                    Some(_) | None => subscription.changed().await,
                }
            }
        });
        match shown.await {
            Ok(Ok(order)) => Ok(order),
            // Durably queued, recorded a little later; also while the record cannot be read.
            Ok(Err(_)) | Err(_) => Ok(Order { cancel_requested: true, ..order }),
        }
    }
}

fn recorded(order: &Order) -> CancelTarget {
    CancelTarget::Recorded(order.recorded_order())
}
