//! The next step of an open payment, from the record and the provider's last answer.
//!
//! Three things together make it safe. There is one intent per order: only the recorded one is ever
//! confirmed. `PROCESSING` is committed before a confirmation is sent, so that after a crash the
//! intent is retrieved before anything else. And the provider's own state machine captures an
//! intent at most once, however often it is confirmed.

use super::{
    payment::{Intent, IntentStatus, Payment},
    settle::Outcome,
};

/// Whether patience has run out; it counts from the first attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// There is time left.
    Left,
    /// Patience has run out.
    RunOut,
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
pub fn next_step(payment: &Payment, seen: Option<&Intent>, patience: Patience) -> Step {
    let unwanted =
        payment.cancel_requested || payment.decline_code.is_some() || patience == Patience::RunOut;
    if payment.intent_id.is_none() {
        // An earlier attempt may have created an intent whose answer was lost. A call under the
        // order's key returns that intent, and then it can be cancelled. A refusal is an answer: no
        // intent was created.
        let unheard = payment.attempts <= 1 || payment.decline_code.is_some();
        return if unwanted && unheard { Step::EndUnbegun } else { Step::Create };
    }
    let Some(intent) = seen else { return Step::Retrieve };
    match &intent.status {
        IntentStatus::Succeeded | IntentStatus::Canceled => {
            Outcome::of(intent).map_or(Step::Wait, Step::Settle)
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
        IntentStatus::Processing | IntentStatus::Other(_) => Step::Wait,
    }
}
