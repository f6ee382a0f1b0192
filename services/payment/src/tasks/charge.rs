//! Works on one leased payment, step by step, as far as it gets now.

use std::time::Duration;

use flashsale_telemetry::propagate;
use time::OffsetDateTime;
use tracing::Instrument as _;

use crate::{
    app::settlement::Settler,
    domain::{Backoff, Intent, Patience, Payment, State, Step, next_step},
    peers::stripe::{Advice, ProviderError, Stripe},
    store::Store,
};

/// The most steps of one lease: create, confirm, record a decline, cancel, settle, with retrievals
/// in between. More steps mean a loop.
const MAX_STEPS: usize = 10;

/// Charges payments.
#[derive(Debug, Clone)]
pub struct Charger {
    /// Where payments stand.
    pub store: Store,
    pub stripe: Stripe,
    /// Ends them.
    pub settler: Settler,
    /// When to try again.
    pub backoff: Backoff,
    /// How long after the first attempt a payment is given up.
    pub patience: Duration,
}

/// How a payment is left.
enum Left {
    /// It has ended, or another instance has it now.
    Done,
    /// It is looked at again later.
    Later {
        /// How long the provider asks us to wait.
        retry_after: Option<Duration>,
    },
}

/// One payment while it is worked on.
struct Work {
    payment: Payment,
    /// What the provider said of its intent since it was taken up.
    seen: Option<Intent>,
    /// Whether the provider may have heard of it since it was taken up.
    asked: bool,
    /// Whether its intent was asked to be cancelled since it was taken up.
    cancelled: bool,
}

impl Charger {
    /// Works on a leased payment, and puts it back if it has not ended. If the store fails in
    /// between, the lease runs out, and the instance that leases the payment next starts by
    /// retrieving the intent.
    pub async fn carry_on(self, payment: Payment) {
        let span = tracing::info_span!(
            parent: None,
            "charge",
            otel.name = "charge payment",
            order_id = %payment.order_id,
            attempt = payment.attempts,
        );
        // Continues the trace of its order, even minutes later and in another process.
        propagate::set_parent(&span, propagate::from_text(payment.traceparent.as_deref()));
        self.charge(payment).instrument(span).await;
    }

    async fn charge(self, payment: Payment) {
        let (order, attempt) = (payment.order_id, payment.attempts);
        let started = payment.first_attempt_at;
        let mut work = Work { payment, seen: None, asked: false, cancelled: false };
        let left = match self.steps(&mut work).await {
            Ok(left) => left,
            Err(error) => {
                tracing::warn!(%order, %error, "a payment is left to the end of its lease");
                return;
            }
        };
        let Left::Later { retry_after } = left else { return };
        let mut wait = self.backoff.wait(attempt, rand::random(), retry_after);
        if let Some(ahead) = started.and_then(|started| self.patience_left(started)) {
            // Not past the end of patience: the payment is cancelled then, and that should not be
            // late.
            wait = wait.min(ahead);
        }
        if let Err(error) = self.store.put_back(order, wait, work.asked, attempt).await {
            tracing::warn!(%order, %error, "a payment is left to the end of its lease");
        }
    }

    /// What is left of patience; none when it has run out.
    fn patience_left(&self, started: OffsetDateTime) -> Option<Duration> {
        let end = started + self.patience;
        Duration::try_from(end - flashsale_failpoint::now_utc()).ok().filter(|left| !left.is_zero())
    }

    async fn steps(&self, work: &mut Work) -> sqlx::Result<Left> {
        for _ in 0..MAX_STEPS {
            let order = work.payment.order_id;
            let patience = match work.payment.first_attempt_at {
                Some(started) if self.patience_left(started).is_none() => Patience::RunOut,
                Some(_) | None => Patience::Left,
            };
            let step = next_step(&work.payment, work.seen.as_ref(), patience);
            tracing::debug!(%order, ?step, "next step");
            let left = match step {
                Step::Create => self.create(work).await?,
                Step::EndUnbegun => self.end_unbegun(work).await?,
                Step::Retrieve => self.retrieve(work).await,
                Step::Confirm => self.confirm(work).await?,
                Step::RecordDecline(code) => self.record_decline(work, code).await?,
                Step::CancelIntent if work.cancelled => Some(Left::Later { retry_after: None }),
                Step::CancelIntent => self.cancel(work).await,
                Step::Settle(_) => {
                    if let Some(intent) = &work.seen {
                        self.settler.settle(order, intent).await?;
                    }
                    Some(Left::Done)
                }
                Step::AwaitBuyer => {
                    self.await_buyer(work).await?;
                    Some(Left::Later { retry_after: None })
                }
                Step::Wait => Some(Left::Later { retry_after: None }),
            };
            if let Some(left) = left {
                return Ok(left);
            }
        }
        tracing::error!(order = %work.payment.order_id, "a payment took too many steps in one lease");
        Ok(Left::Later { retry_after: None })
    }

    async fn create(&self, work: &mut Work) -> sqlx::Result<Option<Left>> {
        let made = match self.stripe.create(&work.payment, false).await {
            // Under this key Stripe would repeat its error for a day. It may have created the
            // intent all the same.
            Err(ProviderError::Unknown { replayed: true, .. }) => {
                work.asked = true;
                let payment = &work.payment;
                let since = payment.first_attempt_at.unwrap_or(payment.created_at);
                match self.stripe.find(payment.order_id, since).await {
                    Ok(Some(intent)) => Ok(intent),
                    Ok(None) => self.stripe.create(payment, true).await,
                    Err(error) => Err(error),
                }
            }
            made => made,
        };
        let intent = match made {
            Ok(intent) => intent,
            Err(error) => match error.advice() {
                Advice::Act(refusal) => {
                    // There is no intent and there will be none: the means of payment or the amount
                    // is not accepted.
                    work.asked = true;
                    let code = refusal.code.clone();
                    return self.record_decline(work, code).await;
                }
                Advice::Later { asked, retry_after } => {
                    work.asked |= asked;
                    return Ok(Some(Left::Later { retry_after }));
                }
            },
        };
        work.asked = true;
        if self.store.record_intent(work.payment.order_id, &intent.id).await? {
            work.payment.intent_id = Some(intent.id.clone());
            work.seen = Some(intent);
            return Ok(None);
        }
        let Some(current) = self.store.payment(work.payment.order_id).await? else {
            return Ok(Some(Left::Done));
        };
        if current.intent_id.as_ref() == Some(&intent.id) {
            // Another instance recorded the same intent: its lease or ours had run out.
            work.payment = current;
            work.seen = Some(intent);
            return Ok(None);
        }
        // The payment has ended, or has another intent: this one must never be confirmed, and is
        // not, because the payment is not DUE. Cancelling it only keeps the provider's books tidy.
        self.store.name_unused_intent(work.payment.order_id, &intent.id).await?;
        if let Err(error) = self.stripe.cancel(&work.payment, &intent.id).await {
            tracing::info!(order = %work.payment.order_id, %error, "an intent that will not be confirmed stays behind");
        }
        Ok(Some(Left::Done))
    }

    async fn end_unbegun(&self, work: &Work) -> sqlx::Result<Option<Left>> {
        let declined = work.payment.decline_code.is_some();
        let state = if declined { State::Failed } else { State::Cancelled };
        if self.store.end_unbegun(work.payment.order_id, state).await? {
            self.settler.changed(work.payment.order_id, state).await;
            return Ok(Some(Left::Done));
        }
        // It has an intent by now: the instance that recorded it goes on with it, and this one does
        // later.
        Ok(Some(Left::Later { retry_after: None }))
    }

    async fn retrieve(&self, work: &mut Work) -> Option<Left> {
        let intent = work.payment.intent_id.clone()?;
        let read = self.stripe.retrieve(&intent).await;
        take(work, read)
    }

    async fn confirm(&self, work: &mut Work) -> sqlx::Result<Option<Left>> {
        let Some(intent) = work.payment.intent_id.clone() else { return Ok(Some(Left::Done)) };
        // A confirmation went out before if this was ever committed before.
        let again = work.payment.state != State::Due;
        // Committed before the confirmation is sent: an instance that leases the payment after a
        // crash has to know that it may have been confirmed.
        if !self.store.begin_confirm(work.payment.order_id, &intent).await? {
            let Some(current) = self.store.payment(work.payment.order_id).await? else {
                return Ok(Some(Left::Done));
            };
            if !current.state.is_open() {
                return Ok(Some(Left::Done));
            }
            // The buyer asked to cancel meanwhile.
            work.payment = current;
            return Ok(None);
        }
        work.payment.state = State::Processing;
        let confirmed = self.stripe.confirm(&work.payment, &intent, again).await;
        if let Err(error @ (ProviderError::Declined(_) | ProviderError::Refused(_))) = &confirmed
            && let Advice::Act(refusal) = error.advice()
        {
            work.asked = true;
            work.seen.clone_from(&refusal.intent);
            let code = refusal.code.clone();
            if work.seen.is_none() {
                let read = self.stripe.retrieve(&intent).await;
                if let Some(left) = take(work, read) {
                    return Ok(Some(left));
                }
            }
            let unpaid = work.seen.as_ref().is_some_and(|seen| {
                use crate::domain::IntentStatus::{RequiresConfirmation, RequiresPaymentMethod};
                matches!(seen.status, RequiresConfirmation | RequiresPaymentMethod)
            });
            // Refused although it is still to be confirmed: it would be refused again. Any other
            // status is handled by the next step.
            return if unpaid { self.record_decline(work, code).await } else { Ok(None) };
        }
        Ok(take(work, confirmed))
    }

    async fn record_decline(&self, work: &mut Work, code: String) -> sqlx::Result<Option<Left>> {
        self.store.record_decline(work.payment.order_id, &code).await?;
        work.payment.decline_code.get_or_insert(code);
        Ok(None)
    }

    async fn cancel(&self, work: &mut Work) -> Option<Left> {
        let intent = work.payment.intent_id.clone()?;
        work.cancelled = true;
        let cancelled = self.stripe.cancel(&work.payment, &intent).await;
        if let Err(ProviderError::Refused(refusal)) = &cancelled {
            // It was captured or cancelled in between, or is being worked on.
            work.asked = true;
            work.seen.clone_from(&refusal.intent);
            return None;
        }
        take(work, cancelled)
    }

    async fn await_buyer(&self, work: &Work) -> sqlx::Result<()> {
        let Payment { order_id, intent_id: Some(intent), .. } = &work.payment else {
            return Ok(());
        };
        if self.store.await_buyer(*order_id, intent).await? {
            self.settler.changed(*order_id, State::RequiresAction).await;
        }
        Ok(())
    }
}

/// Takes what the provider says of the intent; an error puts the payment off.
fn take(work: &mut Work, said: Result<Intent, ProviderError>) -> Option<Left> {
    match said {
        Ok(intent) => {
            work.asked = true;
            work.seen = Some(intent);
            None
        }
        Err(error) => {
            let (asked, retry_after) = match error.advice() {
                Advice::Act(refusal) => {
                    let order = work.payment.order_id;
                    tracing::error!(%order, %refusal, "the provider refuses a step there is no way around");
                    (true, None)
                }
                Advice::Later { asked, retry_after } => (asked, retry_after),
            };
            work.asked |= asked;
            Some(Left::Later { retry_after })
        }
    }
}
