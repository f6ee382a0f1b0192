//! The changes of state. Everything that ends a payment goes through [`settle`], wherever the end
//! was learned.

use super::payment::{Intent, IntentStatus, Payment, State};

/// How an intent ended at the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The money was captured.
    Captured {
        /// The amount, in the provider's smallest unit.
        received: i64,
    },
    /// It was cancelled and can never be captured.
    Canceled,
}

impl Outcome {
    /// The end an intent has come to, if it has.
    pub fn of(intent: &Intent) -> Option<Self> {
        match intent.status {
            // Not knowing what was captured is not knowing that nothing was.
            IntentStatus::Succeeded => intent.received.map(|received| Self::Captured { received }),
            IntentStatus::Canceled => Some(Self::Canceled),
            IntentStatus::RequiresPaymentMethod
            | IntentStatus::RequiresConfirmation
            | IntentStatus::RequiresAction
            | IntentStatus::Processing
            | IntentStatus::RequiresCapture
            | IntentStatus::Other(_) => None,
        }
    }
}

/// What an outcome does to a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ruling {
    /// It moves to this state.
    Becomes(State),
    /// The money came after the payment had ended: it is recorded as captured and given back.
    CapturedLate,
    /// The provider captured another amount than it was asked for: that amount is recorded and
    /// given back, and the payment ends as cancelled.
    CapturedAnother,
    /// It is in that state already.
    Known,
    /// The outcome is impossible: nothing changes, and an operator has to look.
    Impossible(&'static str),
}

/// What of a payment decides about an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Where it stands.
    pub state: State,
    /// Whether the provider has refused it for good.
    pub declined: bool,
    /// Whether a capture has been recorded.
    pub captured: bool,
    /// Its amount, in the provider's smallest unit.
    pub expected: i64,
}

/// Decides about an outcome of the payment's own intent.
pub fn settle(payment: Standing, outcome: Outcome) -> Ruling {
    let Standing { state, declined, captured, expected } = payment;
    match outcome {
        Outcome::Captured { received } if received != expected => match state {
            State::Due | State::Processing | State::RequiresAction => Ruling::CapturedAnother,
            State::Failed | State::Cancelled if captured => Ruling::Known,
            State::Failed | State::Cancelled => Ruling::CapturedAnother,
            State::Succeeded | State::Refunded => {
                Ruling::Impossible("the provider now says that it captured another amount")
            }
        },
        Outcome::Captured { .. } if captured => Ruling::Known,
        Outcome::Captured { .. } => match state {
            State::Due | State::Processing | State::RequiresAction => {
                Ruling::Becomes(State::Succeeded)
            }
            State::Failed | State::Cancelled => Ruling::CapturedLate,
            State::Succeeded | State::Refunded => Ruling::Known,
        },
        Outcome::Canceled => match state {
            State::Due | State::Processing | State::RequiresAction if declined => {
                Ruling::Becomes(State::Failed)
            }
            State::Due | State::Processing | State::RequiresAction => {
                Ruling::Becomes(State::Cancelled)
            }
            State::Failed | State::Cancelled => Ruling::Known,
            State::Succeeded | State::Refunded => {
                Ruling::Impossible("the provider cancelled an intent it had captured")
            }
        },
    }
}

/// What a request never to charge does to a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelRuling {
    /// The provider has not heard of it: it ends here and now.
    EndsNow,
    /// The provider has heard of it, or may have: it is cancelled there first.
    AsksProvider,
    /// It has ended.
    HasEnded,
}

/// Decides about a request never to charge.
pub fn cancel(payment: &Payment) -> CancelRuling {
    match payment.state {
        // A worker that has it may be about to send its first request: it asks the record first.
        State::Due if payment.intent_id.is_none() && !payment.is_heard_of() => {
            CancelRuling::EndsNow
        }
        State::Due | State::Processing | State::RequiresAction => CancelRuling::AsksProvider,
        State::Succeeded | State::Failed | State::Cancelled | State::Refunded => {
            CancelRuling::HasEnded
        }
    }
}
