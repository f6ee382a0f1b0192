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
            IntentStatus::Succeeded => Some(Self::Captured { received: intent.received }),
            IntentStatus::Canceled => Some(Self::Canceled),
            IntentStatus::RequiresPaymentMethod
            | IntentStatus::RequiresConfirmation
            | IntentStatus::RequiresAction
            | IntentStatus::Processing
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
    /// It is in that state already.
    Known,
    /// The outcome is impossible: nothing changes, and an operator has to look.
    Impossible(&'static str),
}

/// Decides about an outcome of the payment's own intent. `expected` is its amount in the provider's
/// smallest unit.
pub fn settle(state: State, declined: bool, expected: i64, outcome: Outcome) -> Ruling {
    match outcome {
        Outcome::Captured { received } if received != expected => {
            Ruling::Impossible("the provider captured another amount than was asked for")
        }
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
        State::Due if payment.intent_id.is_none() && payment.attempts == 0 => CancelRuling::EndsNow,
        State::Due | State::Processing | State::RequiresAction => CancelRuling::AsksProvider,
        State::Succeeded | State::Failed | State::Cancelled | State::Refunded => {
            CancelRuling::HasEnded
        }
    }
}

/// What a request for a refund does to a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefundRuling {
    /// The refund is recorded as due, if it is not yet.
    IsDue,
    /// The money is back already.
    Done,
    /// There is no captured money.
    NothingCaptured,
}

/// Decides about a request for a refund.
pub fn refund(state: State) -> RefundRuling {
    match state {
        State::Succeeded => RefundRuling::IsDue,
        State::Refunded => RefundRuling::Done,
        State::Due
        | State::Processing
        | State::RequiresAction
        | State::Failed
        | State::Cancelled => RefundRuling::NothingCaptured,
    }
}
