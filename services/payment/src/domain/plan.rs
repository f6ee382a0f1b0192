//! The next step of an open payment, from the record and the provider's last answer.
//!
//! Three things together make it safe. There is one intent per order: only the recorded one is ever
//! confirmed. `PROCESSING` is committed before a confirmation is sent, so that after a crash the
//! intent is retrieved before anything else. And the provider's own state machine captures an
//! intent at most once, however often it is confirmed.

use super::{
    payment::{Action, Decline, EndReason, Intent, IntentStatus, Payment},
    settle::Outcome,
};

/// Which of a payment's clocks has run out, if one has.
///
/// The buyer's clock, patience, counts from when the provider first made it the buyer's turn, and
/// that of the cards from when the first one was refused. The provider's counts from when the
/// payment was recorded: a provider that is down, slow or wrongly configured takes nothing of the
/// buyer's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overdue {
    /// There is time left.
    No,
    /// The buyer has not authenticated in time.
    Buyer,
    /// The buyer has not named another card in time.
    Card,
    /// The provider could not be brought to charge it in time.
    Provider,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Create the intent, unconfirmed, or get the one that an earlier attempt created.
    Create,
    /// End the payment without the provider: it has no intent there.
    EndUnbegun,
    /// Retrieve the intent.
    Retrieve,
    /// Commit `PROCESSING`, then confirm the intent.
    Confirm,
    /// Record a refusal that the intent shows and the record does not have.
    RecordDecline(Decline),
    /// Record that no other card is taken.
    CloseCards,
    /// Record that the payment ends because it has waited for the provider too long.
    GiveUp(EndReason),
    /// Cancel the intent.
    CancelIntent,
    /// The intent has ended; so does the payment.
    Settle(Outcome),
    /// Record that it is the buyer's turn, and look again later.
    AwaitBuyer(Action),
    /// Look again later.
    Wait,
}

/// The next step. `seen` is the payment's intent as the provider last reported it in this lease, if
/// it did.
pub fn next_step(payment: &Payment, seen: Option<&Intent>, overdue: Overdue) -> Step {
    let unwanted_by_record = is_unwanted(payment);
    let unwanted = unwanted_by_record || overdue != Overdue::No;
    let ended = seen.and_then(Outcome::of);
    if overdue == Overdue::Provider && !unwanted_by_record && ended.is_none() {
        // Before the intent is cancelled: without a recorded reason it would end as if that had
        // been requested.
        return Step::GiveUp(EndReason::ProviderUnavailable);
    }
    if overdue == Overdue::Card && payment.awaits_card() && !unwanted_by_record && ended.is_none() {
        // Before the intent is cancelled: from here on no other card is taken, and the end is that
        // of a refusal.
        return Step::CloseCards;
    }
    if payment.intent_id.is_none() {
        // An earlier attempt may have created an intent whose answer was lost. A call under the
        // same key returns that intent, and then it can be cancelled. A refusal is an answer: no
        // intent was created.
        let unheard = !payment.is_heard_of() || payment.is_declined_for_good();
        return if unwanted && unheard { Step::EndUnbegun } else { Step::Create };
    }
    let Some(intent) = seen else { return Step::Retrieve };
    match &intent.status {
        // An answer that does not say what was captured: the intent itself does.
        IntentStatus::Succeeded | IntentStatus::Canceled => {
            ended.map_or(Step::Retrieve, Step::Settle)
        }
        IntentStatus::RequiresConfirmation | IntentStatus::RequiresPaymentMethod => {
            match new_decline(payment, intent) {
                // Also of a payment that ends: the refusal of its last card is what it ends by.
                Some(decline) => Step::RecordDecline(decline),
                None if unwanted => Step::CancelIntent,
                None if payment.is_declined() => Step::AwaitBuyer(Action::NewMethod),
                // Nothing was tried with this card, or its confirmation was lost before the
                // provider took it up: if it was lost afterwards, the key brings back its answer.
                None => Step::Confirm,
            }
        }
        IntentStatus::RequiresAction if unwanted => Step::CancelIntent,
        IntentStatus::RequiresAction => Step::AwaitBuyer(Action::Authenticate),
        // The provider may refuse to cancel while it is working; the next retrieval tells.
        IntentStatus::Processing if unwanted => Step::CancelIntent,
        // We never ask for it: nothing is taken, and nothing will be.
        IntentStatus::RequiresCapture => Step::CancelIntent,
        IntentStatus::Processing | IntentStatus::Other(_) => Step::Wait,
    }
}

/// The refusal that an intent shows, if the record does not have it yet. It may be one of a card
/// that the buyer confirmed in the browser, past us.
fn new_decline(payment: &Payment, intent: &Intent) -> Option<Decline> {
    let seen = intent.decline.as_ref()?;
    (payment.decline_ref.as_ref() != Some(&seen.reference) && !payment.is_declined_for_good())
        .then(|| seen.clone())
}

/// Whether the record says that a payment must not go on.
pub fn is_unwanted(payment: &Payment) -> bool {
    payment.cancel_requested || payment.is_declined_for_good() || payment.end_reason.is_some()
}
