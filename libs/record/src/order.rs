//! The states of recorded orders.

use crate::name::named;

/// The state of a recorded order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OrderState {
    /// Its message cannot be recorded as it is: the order waits for an operator's decision, and
    /// nothing of it is claimed.
    DeadLetter,
    /// Its units are written against the allotment.
    Claimed,
    /// Its payment is recorded.
    Paying,
    /// The buyer must authenticate with the payment provider.
    ActionRequired,
    /// Paid.
    Confirmed,
    /// The payment was refused.
    Declined,
    /// Ended without a payment.
    Cancelled,
    /// Paid and given back.
    Refunded,
}

named! {
    OrderState of "an order":
    DeadLetter = "DEAD_LETTER",
    Claimed = "CLAIMED",
    Paying = "PAYING",
    ActionRequired = "ACTION_REQUIRED",
    Confirmed = "CONFIRMED",
    Declined = "DECLINED",
    Cancelled = "CANCELLED",
    Refunded = "REFUNDED",
}

impl OrderState {
    /// Whether the order may still be paid or cancelled. A dead letter is open: an operator may
    /// have it claimed after all, and its buyer may cancel it.
    pub const fn is_open(self) -> bool {
        match self {
            Self::DeadLetter | Self::Claimed | Self::Paying | Self::ActionRequired => true,
            Self::Confirmed | Self::Declined | Self::Cancelled | Self::Refunded => false,
        }
    }

    /// Whether it waits for the outcome of its payment. A dead letter does not: it has none.
    pub const fn awaits_payment(self) -> bool {
        match self {
            Self::Claimed | Self::Paying | Self::ActionRequired => true,
            Self::DeadLetter
            | Self::Confirmed
            | Self::Declined
            | Self::Cancelled
            | Self::Refunded => false,
        }
    }

    /// Whether its units count as claimed. Refunds never restock: a refunded order keeps its units.
    pub const fn holds_units(self) -> bool {
        match self {
            Self::Claimed
            | Self::Paying
            | Self::ActionRequired
            | Self::Confirmed
            | Self::Refunded => true,
            Self::DeadLetter | Self::Declined | Self::Cancelled => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for state in OrderState::ALL {
            assert_eq!(OrderState::parse(state.as_str()), Some(state));
        }
        assert_eq!(OrderState::parse("ACCEPTED"), None);
    }

    #[test]
    fn open_orders_await_payment_or_an_operator() {
        for state in OrderState::ALL {
            let waits = state.awaits_payment() || state == OrderState::DeadLetter;
            assert_eq!(state.is_open(), waits, "{state}");
        }
    }
}
