//! Whether checkout accepts orders: while it does not, no ticket is admitted.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use flashsale_proto::checkout::{
    GetIntakeRequest, checkout_admin_service_client::CheckoutAdminServiceClient,
};
use flashsale_service::peer::PeerChannel;

/// The checkout service and its last answer. Clones share the answer.
#[derive(Debug, Clone)]
pub(crate) struct Checkout {
    client: CheckoutAdminServiceClient<PeerChannel>,
    refuses: Arc<AtomicBool>,
}

impl Checkout {
    pub(crate) fn new(channel: PeerChannel) -> Self {
        Self { client: CheckoutAdminServiceClient::new(channel), refuses: Arc::default() }
    }

    /// Whether checkout accepted orders when it was last asked. While it does not answer it counts
    /// as accepting: the rooms go on at their rates, as with unknown stock.
    pub(crate) fn accepts_orders(&self) -> bool {
        !self.refuses.load(Ordering::Relaxed)
    }

    /// Asks checkout again.
    pub(crate) async fn refresh(&self) {
        let refuses = match self.client.clone().get_intake(GetIntakeRequest {}).await {
            Ok(answer) => !answer.into_inner().accepting,
            Err(status) => {
                tracing::debug!(code = ?status.code(), "unknown whether checkout accepts orders");
                false
            }
        };
        if self.refuses.swap(refuses, Ordering::Relaxed) != refuses {
            tracing::warn!(
                refuses,
                "checkout has changed whether it accepts orders: the heads follow it"
            );
        }
    }
}
