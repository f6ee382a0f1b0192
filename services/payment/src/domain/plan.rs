//! The next step of an open payment, from the record and the provider's last answer.
//!
//! Three things together make it safe. There is one intent per order: only the recorded one is ever
//! confirmed. `PROCESSING` is committed before a confirmation is sent, so that after a crash the
//! intent is retrieved before anything else. And the provider's own state machine captures an
//! intent at most once, however often it is confirmed.

use super::{
    payment::{EndReason, Intent, IntentStatus, Payment},
    settle::Outcome,
};

/// Which of a payment's two clocks has run out, if one has.
///
/// The buyer's clock, patience, counts from when the provider first made it the buyer's turn. The
/// provider's counts from when the payment was recorded: a provider that is down, slow or wrongly
/// configured takes nothing of the buyer's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overdue {
    /// There is time left on both.
    No,
    /// The buyer has not acted in time.
    Buyer,
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
    /// Record why the provider refused; then cancel the intent.
    RecordDecline(String),
    /// Record that the payment ends because it has waited for the provider too long.
    GiveUp(EndReason),
    /// Cancel the intent.
    CancelIntent,
    /// The intent has ended; so does the payment.
    Settle(Outcome),
    /// Record that the buyer must authenticate, and look again later.
    AwaitBuyer,
    /// Look again later.
    Wait,
}

/// The next step. `seen` is the payment's intent as the provider last reported it in this lease, if
/// it did.
pub fn next_step(payment: &Payment, seen: Option<&Intent>, overdue: Overdue) -> Step {
    let unwanted = is_unwanted(payment) || overdue != Overdue::No;
    let ended = seen.and_then(Outcome::of);
    if overdue == Overdue::Provider && !is_unwanted(payment) && ended.is_none() {
        // Before the intent is cancelled: without a recorded reason it would end as if that had
        // been requested.
        return Step::GiveUp(EndReason::ProviderUnavailable);
    }
    if payment.intent_id.is_none() {
        // An earlier attempt may have created an intent whose answer was lost. A call under the
        // same key returns that intent, and then it can be cancelled. A refusal is an answer: no
        // intent was created.
        let unheard = !payment.is_heard_of() || payment.decline_code.is_some();
        return if unwanted && unheard { Step::EndUnbegun } else { Step::Create };
    }
    let Some(intent) = seen else { return Step::Retrieve };
    match &intent.status {
        // An answer that does not say what was captured: the intent itself does.
        IntentStatus::Succeeded | IntentStatus::Canceled => {
            ended.map_or(Step::Retrieve, Step::Settle)
        }
        IntentStatus::RequiresConfirmation if unwanted => Step::CancelIntent,
        IntentStatus::RequiresConfirmation => Step::Confirm,
        IntentStatus::RequiresPaymentMethod => match (&payment.decline_code, &intent.decline) {
            // Without a recorded reason a refusal would end as CANCELLED, as if it had been
            // requested.
            (None, Some(code)) => Step::RecordDecline(code.clone()),
            (None, None) | (Some(_), _) => Step::CancelIntent,
        },
        IntentStatus::RequiresAction if unwanted => Step::CancelIntent,
        IntentStatus::RequiresAction => Step::AwaitBuyer,
        // The provider may refuse to cancel while it is working; the next retrieval tells.
        IntentStatus::Processing if unwanted => Step::CancelIntent,
        // We never ask for it: nothing is taken, and nothing will be.
        IntentStatus::RequiresCapture => Step::CancelIntent,
        IntentStatus::Processing | IntentStatus::Other(_) => Step::Wait,
    }
}

/// Whether the record says that a payment must not go on.
pub fn is_unwanted(payment: &Payment) -> bool {
    payment.cancel_requested || payment.decline_code.is_some() || payment.end_reason.is_some()
}
