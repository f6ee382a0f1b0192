//! Whether checkout lets orders in: while it does not, nobody is sent there.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use flashsale_proto::checkout::{
    GetIntakeRequest, checkout_admin_service_client::CheckoutAdminServiceClient,
};
use flashsale_service::peer::PeerChannel;

/// Checkout, and what it said last. A clone knows the same.
#[derive(Debug, Clone)]
pub(crate) struct Checkout {
    client: CheckoutAdminServiceClient<PeerChannel>,
    refuses: Arc<AtomicBool>,
}

impl Checkout {
    pub(crate) fn new(channel: PeerChannel) -> Self {
        Self { client: CheckoutAdminServiceClient::new(channel), refuses: Arc::default() }
    }

    /// Whether it makes sense to admit anybody. When checkout does not answer nobody knows, and the
    /// rooms go on at their rates, as with unknown stock.
    pub(crate) fn accepts_orders(&self) -> bool {
        !self.refuses.load(Ordering::Relaxed)
    }

    /// Asks checkout.
    pub(crate) async fn refresh(&self) {
        let refuses = match self.client.clone().get_intake(GetIntakeRequest {}).await {
            Ok(answer) => !answer.into_inner().accepting,
            Err(status) => {
                tracing::debug!(code = ?status.code(), "nobody knows whether checkout lets orders in");
                false
            }
        };
        if self.refuses.swap(refuses, Ordering::Relaxed) != refuses {
            tracing::warn!(refuses, "checkout's door has changed: the heads follow it");
        }
    }
}
