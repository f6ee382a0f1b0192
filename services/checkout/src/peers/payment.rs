//! Payment, which charges orders.

use flashsale_errors::Failure;
use flashsale_proto::payment::{RetryPaymentRequest, payment_service_client::PaymentServiceClient};
use flashsale_service::peer::PeerChannel;
use uuid::Uuid;

/// The name of the peer in failures.
const PEER: &str = "payment";

/// The payment service. Clones share the connection.
#[derive(Debug, Clone)]
pub struct Payments {
    service: PaymentServiceClient<PeerChannel>,
}

impl Payments {
    /// Over a channel that may not be connected yet.
    pub fn new(channel: PeerChannel) -> Self {
        Self { service: PaymentServiceClient::new(channel) }
    }

    /// Has another card tried for an order.
    ///
    /// # Errors
    /// Payment's refusals, unchanged.
    pub async fn retry(
        &self,
        request_id: Uuid,
        order_id: Uuid,
        payment_method: &str,
    ) -> Result<(), Failure> {
        let request = RetryPaymentRequest {
            request_id: request_id.to_string(),
            order_id: order_id.to_string(),
            payment_method: payment_method.to_owned(),
        };
        let answer = self.service.clone().retry_payment(request).await;
        answer.map(|_| ()).map_err(|status| Failure::from_peer(PEER, &status))
    }
}
