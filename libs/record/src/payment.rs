//! The states of payments.

use crate::name::named;

/// The state of a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PaymentState {
    /// Recorded; no confirmation has gone out.
    Due,
    /// A confirmation may be on its way: committed before it is sent.
    Processing,
    /// It is the buyer's turn: see [`PaymentAction`].
    RequiresAction,
    /// Captured.
    Succeeded,
    /// Refused, and cancelled at the provider.
    Failed,
    /// Cancelled; nothing was captured.
    Cancelled,
    /// Captured and given back.
    Refunded,
}

named! {
    PaymentState of "a payment":
    Due = "DUE",
    Processing = "PROCESSING",
    RequiresAction = "REQUIRES_ACTION",
    Succeeded = "SUCCEEDED",
    Failed = "FAILED",
    Cancelled = "CANCELLED",
    Refunded = "REFUNDED",
}

/// Why a payment ended as CANCELLED, where neither the buyer nor the card is the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PaymentEndReason {
    /// The provider could not be brought to charge it for as long as orders wait.
    ProviderUnavailable,
    /// The provider captured another amount than it was asked for. It goes back.
    AmountMismatch,
}

named! {
    PaymentEndReason of "a payment that ended":
    ProviderUnavailable = "provider_unavailable",
    AmountMismatch = "amount_mismatch",
}

/// What a buyer has to do at the payment provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PaymentAction {
    /// Authenticate with their bank.
    Authenticate,
    /// Name another means of payment: the last one was refused.
    NewMethod,
}

named! {
    PaymentAction of "a buyer's turn":
    Authenticate = "AUTHENTICATE",
    NewMethod = "NEW_METHOD",
}

/// The state of a refund.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefundState {
    /// Recorded; the provider may have been asked.
    Due,
    /// The provider has it, and works on it.
    Pending,
    /// The money is back.
    Done,
    /// The provider could not give it back, however often it was asked.
    Failed,
}

named! {
    RefundState of "a refund":
    Due = "DUE",
    Pending = "PENDING",
    Done = "DONE",
    Failed = "FAILED",
}

impl PaymentState {
    /// Whether the outcome is still to come.
    pub const fn is_open(self) -> bool {
        match self {
            Self::Due | Self::Processing | Self::RequiresAction => true,
            Self::Succeeded | Self::Failed | Self::Cancelled | Self::Refunded => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for state in PaymentState::ALL {
            assert_eq!(PaymentState::parse(state.as_str()), Some(state));
        }
        assert_eq!(PaymentState::parse("due"), None);
    }
}
