//! Paying with another card.

use flashsale_errors::{Failure, Reason};
use uuid::Uuid;

use super::Orders;
use crate::domain::{Order, OrderState, Recorded};

impl Orders {
    /// Has another card tried for an order whose last one was refused, and returns the order. The
    /// payment service decides whether it waits for one: the record follows it.
    ///
    /// # Errors
    /// `ORDER_NOT_FOUND`, `PAYMENT_RETRY_CLOSED`, `REQUEST_ID_REUSED`, or `PEER_UNAVAILABLE` where
    /// the payment service does not answer.
    pub async fn retry_payment(
        &self,
        request_id: Uuid,
        sale_id: Uuid,
        order_id: Uuid,
        buyer_id: &str,
        method: &str,
    ) -> Result<Order, Failure> {
        let order = self.get(sale_id, order_id, Some(buyer_id)).await?;
        match order.state {
            // Nothing was charged yet: payment may not know it.
            OrderState::AcceptancePending
            | OrderState::Accepted
            | OrderState::Recorded(Recorded::DeadLetter | Recorded::Claimed) => {
                let what = "no card of the order was refused";
                let failure = Failure::new(Reason::PaymentRetryClosed, what);
                return Err(failure.with("order_id", order_id).with("state", "DUE"));
            }
            // Of one that has ended a repeated request is still answered as before.
            OrderState::Recorded(
                Recorded::Paying
                | Recorded::ActionRequired
                | Recorded::Confirmed
                | Recorded::Declined
                | Recorded::Cancelled
                | Recorded::Refunded,
            ) => {}
        }
        self.payments.retry(request_id, order_id, method).await?;
        self.get(sale_id, order_id, Some(buyer_id)).await
    }
}
