//! Carries one refund out.

use flashsale_telemetry::propagate;
use tracing::Instrument as _;

use crate::{
    app::{account::AccountCheck, settlement::Settler},
    domain::Backoff,
    peers::stripe::{Advice, ProviderError, Stripe, Trace, Wait},
    store::{DueRefund, Learnt, LearntBy, Store},
};

/// Gives money back.
#[derive(Debug, Clone)]
pub struct Refunder {
    /// Where refunds stand.
    pub store: Store,
    pub stripe: Stripe,
    /// Whose the secret key is.
    pub account: AccountCheck,
    /// Tells the others.
    pub settler: Settler,
    /// When to try again.
    pub backoff: Backoff,
}

/// What has come of work on a refund.
enum Left {
    /// The record says when it is looked at again, if it is.
    Moved,
    /// Nothing is known: it is tried again, by the calls so far.
    Again,
}

/// Why work on a refund has stopped.
enum Stopped {
    Provider(ProviderError),
    Store(sqlx::Error),
}

impl From<ProviderError> for Stopped {
    fn from(error: ProviderError) -> Self {
        Self::Provider(error)
    }
}

impl From<sqlx::Error> for Stopped {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error)
    }
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
            Ok(Left::Moved) => return,
            Ok(Left::Again) => (true, Wait::Backoff(None)),
            Err(Stopped::Store(error)) => {
                tracing::warn!(%order, %error, "a refund is left to the end of its lease");
                return;
            }
            Err(Stopped::Provider(error)) => match error.advice() {
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
        if let Err(error) = self.store.put_back_refund(&refund, wait, asked).await {
            tracing::warn!(%order, %error, "a refund is left to the end of its lease");
        }
    }

    async fn give_back(&self, refund: &DueRefund) -> Result<Left, Stopped> {
        if !self.account.standing().may_go_on() {
            return Ok(Left::Again);
        }
        // An earlier call may have worked. A try that the provider works on is only asked about:
        // under a key that it has forgotten another one would be a second refund.
        let pending = refund.provider_ref.is_some();
        if (pending || refund.attempts > 1) && self.look(refund).await? {
            return Ok(Left::Moved);
        }
        if pending {
            return Ok(Left::Again);
        }
        let made = match self.stripe.refund(refund).await {
            // Less is left than it is over: refunds were made by hand.
            Err(ProviderError::Moved(refusal)) => {
                if self.look(refund).await? || self.store.fit_refund(refund).await? {
                    return Ok(Left::Moved);
                }
                return Err(ProviderError::Moved(refusal).into());
            }
            // Under this key it would say the same for a day. It may have been done all the same.
            Err(error) if error.is_replayed() => {
                if !self.look(refund).await? {
                    let wait = self.backoff.moment(rand::random(), None);
                    self.store.next_try(refund, wait).await?;
                }
                return Ok(Left::Moved);
            }
            made => made?,
        };
        let DueRefund { order_id, intent_id, .. } = refund;
        let learnt = self.settler.learn_refund(*order_id, intent_id, &made, LearntBy::Call).await?;
        Ok(if learnt == Learnt::Nothing { Left::Again } else { Left::Moved })
    }

    /// Learns all refunds there are of the intent. True if that has moved this one.
    async fn look(&self, refund: &DueRefund) -> Result<bool, Stopped> {
        let DueRefund { order_id, intent_id, .. } = refund;
        let mut moved = false;
        for made in self.stripe.refunds(intent_id).await? {
            let learnt =
                self.settler.learn_refund(*order_id, intent_id, &made, LearntBy::Call).await?;
            let ours = made.made_for.is_some_and(|(id, _)| id == refund.refund_id)
                || refund.provider_ref.as_ref() == Some(&made.id)
                || (made.made_for.is_none() && made.order_id == Some(*order_id));
            moved |= ours && learnt != Learnt::Nothing;
        }
        Ok(moved)
    }
}
