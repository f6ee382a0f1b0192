//! Whether checkout accepts orders: while it does not, no ticket is admitted.

use std::{sync::Arc, time::Duration};

use flashsale_proto::checkout::{
    GetIntakeRequest, checkout_admin_service_client::CheckoutAdminServiceClient,
};
use flashsale_service::peer::PeerChannel;
use tokio::time::Instant;

use super::LastAnswer;

/// The checkout service and its last answer. Clones share the answer.
#[derive(Debug, Clone)]
pub(crate) struct Checkout {
    client: CheckoutAdminServiceClient<PeerChannel>,
    accepts: Arc<LastAnswer<bool>>,
}

impl Checkout {
    pub(crate) fn new(channel: PeerChannel) -> Self {
        let accepts = Arc::new(LastAnswer::none());
        Self { client: CheckoutAdminServiceClient::new(channel), accepts }
    }

    /// Whether checkout accepted orders when it last answered, and how long ago it was asked.
    pub(crate) fn accepts_orders(&self) -> Option<(bool, Duration)> {
        self.accepts.get()
    }

    /// Asks checkout again. Without an answer the last one stands.
    pub(crate) async fn refresh(&self) {
        let asked_at = Instant::now();
        match self.client.clone().get_intake(GetIntakeRequest {}).await {
            Ok(answer) => {
                let accepts = answer.into_inner().accepting;
                if self.accepts.set(accepts, asked_at).is_some_and(|before| before != accepts) {
                    tracing::warn!(
                        accepts,
                        "checkout has changed whether it accepts orders: the heads follow it"
                    );
                }
            }
            Err(status) => {
                tracing::debug!(code = ?status.code(), "unknown whether checkout accepts orders");
            }
        }
    }
}
