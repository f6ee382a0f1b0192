//! Carries one refund out.

use flashsale_telemetry::propagate;
use tracing::Instrument as _;

use crate::{
    app::settlement::Settler,
    domain::{Backoff, State},
    peers::stripe::{Advice, ProviderError, RefundReport, Stripe},
    store::{DueRefund, Store},
};

/// Gives money back.
#[derive(Debug, Clone)]
pub struct Refunder {
    /// Where refunds stand.
    pub store: Store,
    pub stripe: Stripe,
    /// Tells the others.
    pub settler: Settler,
    /// When to try again.
    pub backoff: Backoff,
}

impl Refunder {
    /// Carries a refund on that was taken up, and puts it back if it is not done.
    pub async fn carry_on(self, refund: DueRefund) {
        let span = tracing::info_span!(
            parent: None,
            "refund",
            otel.name = "refund payment",
            order_id = %refund.order_id,
            attempt = refund.attempts,
        );
        propagate::set_parent(&span, propagate::from_text(refund.traceparent.as_deref()));
        self.refund(refund).instrument(span).await;
    }

    async fn refund(self, refund: DueRefund) {
        let DueRefund { order_id: order, attempts, .. } = refund;
        let (asked, retry_after) = match self.give_back(&refund).await {
            Ok(RefundReport::Done(id)) => {
                match self.store.refund_done(order, &id).await {
                    Ok(true) => {
                        tracing::info!(%order, refund = id, reason = refund.reason, "payment refunded");
                        self.settler.changed(order, State::Refunded).await;
                    }
                    Ok(false) => {}
                    Err(error) => {
                        tracing::warn!(%order, %error, "a refund is left to the end of its lease");
                    }
                }
                return;
            }
            Ok(RefundReport::Pending) => (true, None),
            Ok(RefundReport::Failed) => {
                tracing::error!(%order, "the provider could not give the money back; it is tried again");
                (true, None)
            }
            Err(error) => match error.advice() {
                Advice::Act(refusal) => {
                    tracing::error!(%order, %refusal, "the provider refuses a refund; it is tried again");
                    (true, None)
                }
                Advice::Later { asked, retry_after } => (asked, retry_after),
            },
        };
        let wait = self.backoff.wait(attempts, rand::random(), retry_after);
        if let Err(error) = self.store.put_back_refund(order, wait, asked, attempts).await {
            tracing::warn!(%order, %error, "a refund is left to the end of its lease");
        }
    }

    async fn give_back(&self, refund: &DueRefund) -> Result<RefundReport, ProviderError> {
        let again = refund.attempts > 1;
        if again {
            // An earlier attempt may have worked.
            let reports = self.stripe.refunds(refund.order_id, &refund.intent_id).await?;
            let stands = reports.into_iter().find(|report| match report {
                RefundReport::Done(_) | RefundReport::Pending => true,
                RefundReport::Failed => false,
            });
            if let Some(report) = stands {
                return Ok(report);
            }
        }
        self.stripe.refund(refund, again).await
    }
}
