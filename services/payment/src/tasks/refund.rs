//! Carries one refund out.

use flashsale_telemetry::propagate;
use tracing::Instrument as _;

use crate::{
    app::settlement::Settler,
    domain::{Backoff, State},
    peers::stripe::{Advice, MadeRefund, ProviderError, RefundReport, Stripe, Trace, Wait},
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
        let (asked, wait) = match self.give_back(&refund).await {
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
            Ok(RefundReport::Pending) => (true, Wait::Backoff(None)),
            Ok(RefundReport::Failed) => {
                tracing::error!(%order, "the provider could not give the money back; it is tried again");
                (true, Wait::Backoff(None))
            }
            Err(error) => match error.advice() {
                Advice::Act(refusal) | Advice::Look(refusal) => {
                    tracing::error!(%order, %refusal, "the provider refuses a refund; it is tried again");
                    (true, Wait::Backoff(None))
                }
                Advice::Later(later) => (later.trace != Trace::None, later.wait),
            },
        };
        let wait = match wait {
            Wait::Backoff(retry_after) => self.backoff.wait(attempts, rand::random(), retry_after),
            Wait::Moment(retry_after) => self.backoff.moment(rand::random(), retry_after),
        };
        if let Err(error) = self.store.put_back_refund(order, wait, asked, attempts).await {
            tracing::warn!(%order, %error, "a refund is left to the end of its lease");
        }
    }

    async fn give_back(&self, refund: &DueRefund) -> Result<RefundReport, ProviderError> {
        let again = refund.attempts > 1;
        if again {
            // An earlier attempt may have worked.
            let made = self.stripe.refunds(&refund.intent_id).await?;
            // An operator may have given a part back by hand, and the rest is still to be.
            let ours = |made: &&MadeRefund| {
                made.order_id == Some(refund.order_id) && made.report != RefundReport::Failed
            };
            if let Some(made) = made.iter().find(ours) {
                return Ok(made.report.clone());
            }
        }
        match self.stripe.refund(refund, again).await {
            // Everything has been given back, by hand: that is what was asked for.
            Err(ProviderError::Moved(refusal)) => {
                let made = self.stripe.refunds(&refund.intent_id).await?;
                adopted(&made).ok_or(ProviderError::Moved(refusal))
            }
            made => made,
        }
    }
}

/// What stands in place of a refund that the provider does not make because nothing is left to be
/// given back: the newest of those that gave it back.
fn adopted(made: &[MadeRefund]) -> Option<RefundReport> {
    let stands = |made: &&MadeRefund| made.report != RefundReport::Failed;
    made.iter().find(stands).map(|made| made.report.clone())
}
