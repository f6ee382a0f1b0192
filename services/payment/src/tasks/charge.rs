//! Works on one leased payment, step by step, as far as it gets now.

use std::time::Duration;

use flashsale_telemetry::propagate;
use time::OffsetDateTime;
use tracing::Instrument as _;

use crate::{
    app::{
        account::{AccountCheck, Standing},
        settlement::Settler,
    },
    domain::{
        Action, Backoff, CardRules, Decline, Intent, Overdue, Payment, STUCK_AFTER, State, Step,
        is_unwanted, next_step,
    },
    peers::stripe::{
        Advice, Later, ProviderError, Refusal, Stripe, Trace, Wait, names_card, without_card,
    },
    store::{LearntBy, LeftBehind, Refused, Store, Turn},
};

/// The most steps of one lease: create, confirm, record a decline, cancel, settle, with retrievals
/// in between. More steps mean a loop.
const MAX_STEPS: usize = 12;

/// Charges payments.
#[derive(Debug, Clone)]
pub struct Charger {
    /// Where payments stand.
    pub store: Store,
    pub stripe: Stripe,
    /// Whose the secret key is.
    pub account: AccountCheck,
    /// Ends them.
    pub settler: Settler,
    /// When to try again.
    pub backoff: Backoff,
    /// How long a buyer may take to authenticate, where the sale does not say so.
    pub patience: Duration,
    /// How often, and for how long, another card may be tried.
    pub cards: CardRules,
    /// How long a payment may wait for the provider, from when it was recorded.
    pub wait_limit: Duration,
    /// How long a payment is leased for, again with each request that may change something.
    pub lease: Duration,
}

/// How a payment is left.
enum Left {
    /// It has ended, or another instance has it now.
    Done,
    /// It is looked at again later.
    Later(Wait),
}

/// It is looked at again when it is due by its attempts.
const BY_ATTEMPTS: Left = Left::Later(Wait::Backoff(None));

/// One payment while it is worked on.
struct Work {
    payment: Payment,
    /// What the provider said of its intent since it was taken up.
    seen: Option<Intent>,
    /// What has come of the calls since it was taken up.
    left: LeftBehind,
    /// Whether a call since it was taken up may have reached the provider.
    heard: bool,
    /// Whether its intent was asked to be cancelled since it was taken up.
    cancelled: bool,
    /// The number of the card whose confirmation was answered since it was taken up.
    confirmed: Option<i32>,
    /// Whether the provider answers under the present keys with what it has stored, so that the
    /// next request needs new ones.
    keys_are_used: bool,
    /// Whether the last request that was to create its intent has named its card.
    card_is_named: bool,
}

impl Work {
    fn new(payment: Payment) -> Self {
        let keys_are_used = payment.key_spent;
        Self {
            payment,
            seen: None,
            left: LeftBehind::default(),
            heard: false,
            cancelled: false,
            confirmed: None,
            keys_are_used,
            card_is_named: false,
        }
    }

    /// Notes an answer.
    fn answered(&mut self) {
        self.heard = true;
        self.left.attempt = true;
        self.left.fault = false;
    }

    /// Notes a refusal, after which the intent has to be looked at.
    fn refused(&mut self, refusal: &Refusal) {
        self.answered();
        self.keys_are_used |= refusal.replayed;
        // A stored answer shows the intent as it was then.
        self.seen = if refusal.replayed { None } else { refusal.intent.clone() };
    }

    /// Notes a call after which the payment has to wait.
    fn put_off(&mut self, later: Later) -> Left {
        match later.trace {
            Trace::None => {}
            Trace::Heard => self.heard = true,
            Trace::Attempt => self.answered(),
            Trace::Fault => {
                self.answered();
                self.left.fault = true;
            }
        }
        Left::Later(later.wait)
    }

    /// Takes what the provider says of the intent; an error puts the payment off.
    fn take(&mut self, said: Result<Intent, ProviderError>) -> Option<Left> {
        match said {
            Ok(intent) => {
                self.answered();
                self.seen = Some(intent);
                None
            }
            Err(error) => {
                self.keys_are_used |= error.is_replayed();
                match error.advice() {
                    Advice::Act(refusal) => {
                        let order = self.payment.order_id;
                        tracing::error!(%order, %refusal, "the provider refuses a step there is no way around");
                        self.answered();
                        self.left.fault = true;
                        Some(BY_ATTEMPTS)
                    }
                    Advice::Look(refusal) => {
                        self.refused(refusal);
                        None
                    }
                    Advice::Later(later) => Some(self.put_off(later)),
                }
            }
        }
    }
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
        let order = payment.order_id;
        let unheard = !payment.is_heard_of();
        let mut work = Work::new(payment);
        let wait = match self.steps(&mut work).await {
            Ok(Left::Later(wait)) => wait,
            Ok(Left::Done) => return,
            Err(error) => {
                tracing::warn!(%order, %error, "a payment is left to the end of its lease");
                return;
            }
        };
        let (Wait::Backoff(asked_for) | Wait::Moment(asked_for)) = wait;
        let wait = self.wait(&work, wait);
        let left = LeftBehind {
            unheard: unheard && !work.heard,
            key_spent: work.keys_are_used,
            not_before: asked_for,
            ..work.left
        };
        if let Err(error) = self.store.put_back(&work.payment, wait, left).await {
            tracing::warn!(%order, %error, "a payment is left to the end of its lease");
        }
    }

    /// How long until a payment is looked at again.
    fn wait(&self, work: &Work, wait: Wait) -> Duration {
        let payment = &work.payment;
        let stuck = work.left.fault && payment.failures + 1 >= STUCK_AFTER;
        if stuck {
            tracing::error!(order = %payment.order_id, failures = payment.failures + 1, "a payment is stuck");
        }
        let wait = match wait {
            Wait::Backoff(retry_after) if stuck => {
                self.backoff.longest(rand::random(), retry_after)
            }
            Wait::Backoff(retry_after) => {
                self.backoff.wait(payment.attempts, rand::random(), retry_after)
            }
            Wait::Moment(retry_after) => self.backoff.moment(rand::random(), retry_after),
        };
        // Not past the end of its clock: the payment is ended then, and that should not be late.
        left_until(self.clock(payment).0).map_or(wait, |left| wait.min(left))
    }

    /// When a payment is given up, and what that is then. The buyer's time is the buyer's: what the
    /// provider has taken before is not counted against it.
    fn clock(&self, payment: &Payment) -> (OffsetDateTime, Overdue) {
        let authenticates = payment.state == State::RequiresAction
            && !payment.is_declined()
            && payment.action.is_none_or(|action| action == Action::Authenticate);
        match (payment.turn_at, payment.card_declined_at) {
            (Some(at), _) if authenticates => {
                (at + payment.patience(self.patience), Overdue::Buyer)
            }
            (_, Some(at)) if payment.awaits_card() => (at + self.cards.window, Overdue::Card),
            _ => (payment.created_at + self.wait_limit, Overdue::Provider),
        }
    }

    fn overdue(&self, payment: &Payment) -> Overdue {
        let (end, overdue) = self.clock(payment);
        if left_until(end).is_none() { overdue } else { Overdue::No }
    }

    async fn steps(&self, work: &mut Work) -> sqlx::Result<Left> {
        for _ in 0..MAX_STEPS {
            let order = work.payment.order_id;
            let overdue = self.overdue(&work.payment);
            let step = next_step(&work.payment, work.seen.as_ref(), overdue);
            tracing::debug!(%order, ?step, "next step");
            let left = match step {
                Step::Create => match self.unconfirmed().await? {
                    None => self.create(work, overdue).await?,
                    left => left,
                },
                Step::EndUnbegun => self.end_unbegun(work).await?,
                Step::Retrieve => match self.unconfirmed().await? {
                    None => self.retrieve(work).await,
                    left => left,
                },
                Step::Confirm => self.confirm(work).await?,
                Step::RecordDecline(decline) => self.note_decline(work, &decline).await?,
                Step::CloseCards => {
                    self.store.close_cards(order).await?;
                    self.reload(work).await?
                }
                Step::GiveUp(reason) => {
                    self.store.give_up(order, reason).await?;
                    work.payment.end_reason.get_or_insert(reason);
                    None
                }
                Step::CancelIntent if work.cancelled => Some(BY_ATTEMPTS),
                Step::CancelIntent => self.cancel(work).await?,
                Step::Settle(_) => {
                    if let Some(intent) = &work.seen {
                        self.settler.settle(order, intent, LearntBy::Call, None).await?;
                    }
                    Some(Left::Done)
                }
                Step::AwaitBuyer(action) => {
                    self.await_buyer(work, action).await?;
                    Some(BY_ATTEMPTS)
                }
                Step::Wait => Some(BY_ATTEMPTS),
            };
            if let Some(left) = left {
                return Ok(left);
            }
        }
        tracing::error!(order = %work.payment.order_id, "a payment took too many steps in one lease");
        Ok(BY_ATTEMPTS)
    }

    /// Has the payment wait unless the key is that of the account that has the payments, or that
    /// will have the first one. The first step with the provider in each lease is one that is
    /// preceded by this.
    async fn unconfirmed(&self) -> sqlx::Result<Option<Left>> {
        // Nothing but a payment binds the account.
        let mut standing = self.account.standing();
        if standing == Standing::Unbound {
            standing = self.account.bind().await?;
        }
        // Nothing of this payment has reached the provider.
        Ok((!standing.may_go_on()).then_some(BY_ATTEMPTS))
    }

    /// Has the payment's next request go out under a new key, if what the present one says is
    /// stored or may be forgotten. Called only after a look at the provider that found nothing
    /// done, or its word that nothing was. False when another worker has it by now.
    async fn renew_keys(&self, work: &mut Work) -> sqlx::Result<bool> {
        if !work.keys_are_used && !work.payment.key_is_old(flashsale_failpoint::now_utc()) {
            return Ok(true);
        }
        if !self.store.next_generation(&work.payment).await? {
            return Ok(false);
        }
        work.payment.generation += 1;
        work.payment.generation_at = Some(flashsale_failpoint::now_utc());
        work.keys_are_used = false;
        Ok(true)
    }

    /// Sends the request that creates the intent, if it may be sent.
    async fn send_create(
        &self,
        work: &mut Work,
    ) -> sqlx::Result<Option<Result<Intent, ProviderError>>> {
        let deployment = self.store.deployment().await?;
        let form = match self.stripe.create_form(&work.payment, deployment) {
            Ok(form) => form,
            Err(error) => return Ok(Some(Err(error))),
        };
        let form = self.store.begin_create(&work.payment, &form, self.lease).await?;
        let Some(form) = form else { return Ok(None) };
        // Only the first keys' request names a card. That of all others is the same text without
        // it, so that each key keeps its one form.
        let form = if work.payment.generation == 0 { form } else { without_card(&form) };
        work.card_is_named = names_card(&form);
        Ok(Some(self.stripe.create(&work.payment, &form).await))
    }

    /// Looks for an intent that an earlier request of ours has created.
    async fn look(&self, payment: &Payment) -> Result<Option<Intent>, ProviderError> {
        let now = flashsale_failpoint::now_utc();
        let first = payment.first_attempt_at.unwrap_or(payment.created_at);
        let last = payment.last_attempt_at.unwrap_or(now);
        self.stripe.find(payment.order_id, first, last, now).await
    }

    async fn create(&self, work: &mut Work, overdue: Overdue) -> sqlx::Result<Option<Left>> {
        let unwanted = is_unwanted(&work.payment) || overdue != Overdue::No;
        let mut found = None;
        if work.keys_are_used || work.payment.key_is_old(flashsale_failpoint::now_utc()) {
            match self.look(&work.payment).await {
                Ok(Some(intent)) => found = Some(Ok(intent)),
                Ok(None) if unwanted => return self.end_unbegun(work).await,
                Ok(None) => {
                    if !self.renew_keys(work).await? {
                        return Ok(Some(Left::Done));
                    }
                }
                Err(error) => found = Some(Err(error)),
            }
        }
        let mut made = match found {
            Some(found) => found,
            None => match self.send_create(work).await? {
                Some(made) => made,
                None => return self.reload(work).await,
            },
        };
        // Over the card that it names. Without it there will be an intent, and the card is refused
        // where that is confirmed, so that its buyer can name another one.
        let over_card = work.card_is_named
            && matches!(
                made,
                // The second in words that we do not know: what else it may be about would be
                // refused again.
                Err(ProviderError::Declined(_)
                    | ProviderError::Misused { ours: false, key_is_used: false, .. })
            );
        if over_card && !unwanted {
            work.answered();
            work.keys_are_used = true;
            if !self.renew_keys(work).await? {
                return Ok(Some(Left::Done));
            }
            made = match self.send_create(work).await? {
                Some(made) => made,
                None => return self.reload(work).await,
            };
        }
        // Under this key Stripe would repeat its error for a day. It may have created the intent
        // all the same.
        let refused =
            matches!(made, Err(ProviderError::Declined(_) | ProviderError::NotChargeable(_)));
        if !refused && made.as_ref().is_err_and(ProviderError::is_replayed) {
            work.answered();
            work.keys_are_used = true;
            made = match self.look(&work.payment).await {
                Ok(Some(intent)) => Ok(intent),
                Ok(None) if unwanted => return self.end_unbegun(work).await,
                Ok(None) => {
                    if !self.renew_keys(work).await? {
                        return Ok(Some(Left::Done));
                    }
                    match self.send_create(work).await? {
                        Some(made) => made,
                        None => return self.reload(work).await,
                    }
                }
                Err(error) => Err(error),
            };
        }
        // A payment that must not go on is not held up by a request that is refused as wrong, if a
        // look shows that none of them has created anything.
        if unwanted && matches!(made, Err(ProviderError::Misused { .. })) {
            work.answered();
            match self.look(&work.payment).await {
                Ok(Some(intent)) => made = Ok(intent),
                Ok(None) => return self.end_unbegun(work).await,
                Err(_) => {}
            }
        }
        let intent = match made {
            Ok(intent) => intent,
            Err(error) => match error.advice() {
                Advice::Act(refusal) | Advice::Look(refusal) => {
                    // There is no intent and there will be none: the amount is not accepted, or
                    // the card of a payment that must not go on.
                    work.answered();
                    let refusal = refusal.clone();
                    return self.record_end(work, &refusal).await;
                }
                Advice::Later(later) => return Ok(Some(work.put_off(later))),
            },
        };
        work.answered();
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
            return Ok(Some(Left::Done));
        }
        // The payment has ended, or has another intent: this one must never be confirmed, and is
        // not, because only the recorded one ever is. Cancelling it only keeps the provider's books
        // tidy.
        self.store.name_unused_intent(work.payment.order_id, &intent.id).await?;
        if let Err(error) = self.stripe.cancel(&work.payment, &intent.id).await {
            tracing::info!(order = %work.payment.order_id, %error, "an intent that will not be confirmed stays behind");
        }
        Ok(Some(Left::Done))
    }

    /// Reads the payment again, because the record has moved on. Left alone if it has ended or
    /// another worker has it.
    async fn reload(&self, work: &mut Work) -> sqlx::Result<Option<Left>> {
        let Some(current) = self.store.payment(work.payment.order_id).await? else {
            return Ok(Some(Left::Done));
        };
        if !current.state.is_open() || current.lease_id != work.payment.lease_id {
            return Ok(Some(Left::Done));
        }
        work.payment = current;
        Ok(None)
    }

    async fn end_unbegun(&self, work: &Work) -> sqlx::Result<Option<Left>> {
        let declined = work.payment.is_declined_for_good();
        let state = if declined { State::Failed } else { State::Cancelled };
        if self.store.end_unbegun(work.payment.order_id, state).await? {
            self.settler.changed(work.payment.order_id, state).await;
            return Ok(Some(Left::Done));
        }
        // It has an intent by now: the instance that recorded it goes on with it, and this one does
        // later.
        Ok(Some(BY_ATTEMPTS))
    }

    async fn retrieve(&self, work: &mut Work) -> Option<Left> {
        let intent = work.payment.intent_id.clone()?;
        let read = self.stripe.retrieve(&intent).await;
        work.take(read)
    }

    async fn confirm(&self, work: &mut Work) -> sqlx::Result<Option<Left>> {
        let Some(intent) = work.payment.intent_id.clone() else { return Ok(Some(Left::Done)) };
        // Answered, and the intent is as it was before: that was what is stored under the key.
        let card = work.payment.card_attempt;
        work.keys_are_used |= work.confirmed == Some(card);
        let repeated = work.payment.card_sent >= card;
        if !self.renew_keys(work).await? {
            return self.reload(work).await;
        }
        let is_named = work.seen.as_ref().is_some_and(|seen| seen.names_card_of(&work.payment));
        // Committed before the confirmation is sent: an instance that leases the payment after a
        // crash has to know that it may have been confirmed.
        if !self.store.begin_confirm(&work.payment, &intent, self.lease).await? {
            return self.reload(work).await;
        }
        work.payment.state = State::Processing;
        let confirmed = self.stripe.confirm(&work.payment, &intent, is_named).await;
        let refusal = match &confirmed {
            Err(ProviderError::Declined(refusal) | ProviderError::NotChargeable(refusal)) => {
                refusal
            }
            Ok(_)
            | Err(
                ProviderError::Moved(_)
                | ProviderError::Misused { .. }
                | ProviderError::Busy { .. }
                | ProviderError::Limited { .. }
                | ProviderError::NotSent(_)
                | ProviderError::Unknown { .. },
            ) => {
                if confirmed.as_ref().is_err_and(ProviderError::is_replayed) {
                    // What is stored under the key says nothing of the intent; a look does, and the
                    // next confirmation goes out under another.
                    work.answered();
                    work.keys_are_used = true;
                    work.seen = None;
                    return Ok(None);
                }
                let answered = confirmed.is_ok();
                let left = work.take(confirmed);
                if answered {
                    work.confirmed = Some(card);
                    if repeated {
                        // It may be what is stored, and the intent another by now.
                        work.seen = None;
                    }
                }
                return Ok(left);
            }
        };
        let hopeless = matches!(confirmed, Err(ProviderError::NotChargeable(_)));
        let refusal = refusal.clone();
        work.refused(&refusal);
        if work.seen.is_none() {
            let read = self.stripe.retrieve(&intent).await;
            if let Some(left) = work.take(read) {
                return Ok(Some(left));
            }
        }
        let unpaid = work.seen.as_ref().is_some_and(|seen| {
            use crate::domain::IntentStatus::{RequiresConfirmation, RequiresPaymentMethod};
            matches!(seen.status, RequiresConfirmation | RequiresPaymentMethod)
        });
        // Refused although it is still to be confirmed: it would be refused again. Any other status
        // is handled by the next step.
        if !unpaid {
            return Ok(None);
        }
        if hopeless {
            return self.record_end(work, &refusal).await;
        }
        let shown = work.seen.as_ref().and_then(|seen| seen.decline.as_ref());
        let reference = shown.map(|decline| decline.reference.clone());
        let refused = Refused {
            code: &refusal.code,
            reference: reference.as_deref(),
            card: Some(work.payment.card_attempt),
            last_card: self.cards.last(),
            request_id: Some(&refusal.request_id),
        };
        self.store.record_decline(work.payment.order_id, Some(&intent), refused).await?;
        self.reload(work).await
    }

    /// Records a refusal after which no card can be tried.
    async fn record_end(&self, work: &mut Work, refusal: &Refusal) -> sqlx::Result<Option<Left>> {
        let refused = Refused {
            code: &refusal.code,
            reference: None,
            card: Some(work.payment.card_attempt),
            last_card: 0,
            request_id: Some(&refusal.request_id),
        };
        let intent = work.payment.intent_id.as_deref();
        self.store.record_decline(work.payment.order_id, intent, refused).await?;
        self.reload(work).await
    }

    /// Records a refusal that the intent shows: of a confirmation whose answer was lost, of an
    /// authentication, or of a card that was confirmed in the buyer's browser.
    async fn note_decline(&self, work: &mut Work, decline: &Decline) -> sqlx::Result<Option<Left>> {
        let refused = Refused::seen(decline, self.cards);
        let intent = work.payment.intent_id.as_deref();
        if self.store.record_decline(work.payment.order_id, intent, refused).await? {
            return self.reload(work).await;
        }
        // It is recorded, by an event. One of another refusal may have come after it.
        let left = self.reload(work).await?;
        work.payment.decline_ref = Some(decline.reference.clone());
        Ok(left)
    }

    async fn cancel(&self, work: &mut Work) -> sqlx::Result<Option<Left>> {
        let Some(intent) = work.payment.intent_id.clone() else { return Ok(Some(Left::Done)) };
        if !self.renew_keys(work).await?
            || !self.store.begin_cancel(&work.payment, self.lease).await?
        {
            return self.reload(work).await;
        }
        let cancelled = self.stripe.cancel(&work.payment, &intent).await;
        if cancelled.as_ref().is_err_and(ProviderError::is_replayed) {
            work.answered();
            work.keys_are_used = true;
            work.seen = None;
            return Ok(None);
        }
        work.cancelled = true;
        Ok(work.take(cancelled))
    }

    async fn await_buyer(&self, work: &mut Work, action: Action) -> sqlx::Result<()> {
        let Some(seen) = &work.seen else { return Ok(()) };
        let turn = Turn {
            to_authenticate: work.payment.patience(self.patience),
            to_name_cards: self.cards.window,
        };
        if self.store.await_buyer(&work.payment, seen, action, turn).await? {
            self.settler.changed(work.payment.order_id, State::RequiresAction).await;
        }
        // So that it is looked at again when the buyer's time is over, and not later.
        work.payment.state = State::RequiresAction;
        work.payment.action = Some(action);
        work.payment.turn_at.get_or_insert_with(flashsale_failpoint::now_utc);
        Ok(())
    }
}

/// How long until a moment; none when it is over.
fn left_until(at: OffsetDateTime) -> Option<Duration> {
    Duration::try_from(at - flashsale_failpoint::now_utc()).ok().filter(|left| !left.is_zero())
}
