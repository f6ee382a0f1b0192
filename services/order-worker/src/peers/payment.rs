//! The payment service: records, cancels and refunds payments. The order id is the idempotency key
//! of every call.

use flashsale_errors::{Failure, Reason, Retry};
use flashsale_failpoint::Outside;
use flashsale_proto::payment::{
    CancelPaymentRequest, CreatePaymentsRequest, Payment, PaymentOrder, RefundRequest,
    payment_service_client::PaymentServiceClient,
};
use flashsale_service::peer::PeerChannel;
use tonic::Status;
use uuid::Uuid;

use crate::steps;

/// What makes the id of the request that gives back what was paid after an order's end, in the
/// order's id.
const PAID_AFTER_END: &[u8] = b"paid-after-end";

/// The payment service. A clone uses the same channel.
#[derive(Debug, Clone)]
pub struct Payments {
    channel: Outside<PeerChannel>,
}

/// Why a call failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CallError {
    /// The reason that the service gave, or that stands for the transport's.
    pub(crate) code: &'static str,
    /// Whether the service would refuse the same call again.
    pub(crate) refused: bool,
}

impl Payments {
    /// Over a channel that may not be connected yet.
    pub fn new(channel: PeerChannel) -> Self {
        Self { channel: Outside::new(channel) }
    }

    /// Calls `CreatePayments`. `None` if the answer does not match `orders`.
    ///
    /// # Errors
    /// [`CallError`]: then none of the payments may have been recorded, or all of them.
    pub(crate) async fn create(
        &self,
        orders: &[PaymentOrder],
    ) -> Result<Option<Vec<Payment>>, CallError> {
        let request = CreatePaymentsRequest {
            request_id: Uuid::new_v4().to_string(),
            orders: orders.to_vec(),
        };
        let answer = self
            .channel
            .step(steps::PAYMENT_CREATE, async |channel| {
                PaymentServiceClient::new(channel.clone()).create_payments(request).await
            })
            .await
            .map_err(|status| call_error(&status))?
            .into_inner();
        let fits = answer.payments.len() == orders.len()
            && answer
                .payments
                .iter()
                .zip(orders)
                .all(|(payment, order)| payment.order_id == order.order_id);
        Ok(fits.then_some(answer.payments))
    }

    /// Calls `CancelPayment`. The payment may still succeed, if it was under way.
    ///
    /// # Errors
    /// [`CallError`].
    pub(crate) async fn cancel(&self, order_id: Uuid) -> Result<(), CallError> {
        let request = CancelPaymentRequest {
            request_id: Uuid::new_v4().to_string(),
            order_id: order_id.to_string(),
        };
        self.channel
            .step(steps::PAYMENT_CANCEL, async |channel| {
                PaymentServiceClient::new(channel.clone()).cancel_payment(request).await
            })
            .await
            .map(|_| ())
            .map_err(|status| call_error(&status))
    }

    /// Calls `Refund` for all that is left of the money. However often it is called for an order, it
    /// is the same request: the money goes back once.
    ///
    /// # Errors
    /// [`CallError`].
    pub(crate) async fn refund(&self, order_id: Uuid) -> Result<(), CallError> {
        let request = RefundRequest {
            request_id: Uuid::new_v5(&order_id, PAID_AFTER_END).to_string(),
            order_id: order_id.to_string(),
            ..RefundRequest::default()
        };
        self.channel
            .step(steps::PAYMENT_REFUND, async |channel| {
                PaymentServiceClient::new(channel.clone()).refund(request).await
            })
            .await
            .map(|_| ())
            .map_err(|status| call_error(&status))
    }
}

fn call_error(status: &Status) -> CallError {
    let reason = Failure::from_peer("payment", status).reason();
    let refused = match reason.retry() {
        // A bug in the service may be fixed by the next attempt.
        Retry::Never => reason != Reason::Internal,
        Retry::SameAfter(_) => false,
    };
    CallError { code: reason.as_str(), refused }
}
