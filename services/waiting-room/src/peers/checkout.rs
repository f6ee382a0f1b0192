//! Whether checkout lets orders in: while it does not, nobody is sent there.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use flashsale_proto::checkout::{
    GetIntakeRequest, checkout_admin_service_client::CheckoutAdminServiceClient,
};
use flashsale_service::peer::PeerChannel;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// What checkout said last. A clone knows the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Intake {
    refuses: Arc<AtomicBool>,
}

impl Intake {
    /// Whether it makes sense to admit anybody. When checkout does not answer nobody knows, and the rooms go on at their rates, as with
    /// unknown stock.
    pub(crate) fn admits(&self) -> bool {
        !self.refuses.load(Ordering::Relaxed)
    }

    /// Asks checkout every now and then until `ended`.
    pub(crate) async fn follow(
        &self,
        checkout: PeerChannel,
        every: Duration,
        ended: &CancellationToken,
    ) {
        let mut checkout = CheckoutAdminServiceClient::new(checkout);
        let mut due = interval(every);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while ended.run_until_cancelled(due.tick()).await.is_some() {
            let refuses = match checkout.get_intake(GetIntakeRequest {}).await {
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
}
