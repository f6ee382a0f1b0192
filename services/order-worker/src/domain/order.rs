//! The states of a recorded order and how it moves between them.

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

impl OrderState {
    /// Every state there is.
    pub const ALL: [Self; 8] = [
        Self::DeadLetter,
        Self::Claimed,
        Self::Paying,
        Self::ActionRequired,
        Self::Confirmed,
        Self::Declined,
        Self::Cancelled,
        Self::Refunded,
    ];

    /// Its name in the record, in events and in mails' headers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DeadLetter => "DEAD_LETTER",
            Self::Claimed => "CLAIMED",
            Self::Paying => "PAYING",
            Self::ActionRequired => "ACTION_REQUIRED",
            Self::Confirmed => "CONFIRMED",
            Self::Declined => "DECLINED",
            Self::Cancelled => "CANCELLED",
            Self::Refunded => "REFUNDED",
        }
    }

    /// The state with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }

    /// Whether it waits for the outcome of its payment.
    pub const fn is_open(self) -> bool {
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

    /// The state after `change`.
    ///
    /// # Errors
    /// [`Impossible`] when the state does not allow the change.
    pub fn after(self, change: &Change) -> Result<Self, Impossible> {
        let impossible = Err(Impossible { from: self });
        match self {
            Self::DeadLetter => match change {
                Change::Claimed => Ok(Self::Claimed),
                Change::Cancelled { .. } => Ok(Self::Cancelled),
                Change::PaymentRecorded
                | Change::NothingToPay
                | Change::BuyerMustAct
                | Change::BuyerActed
                | Change::Paid
                | Change::Refused { .. }
                | Change::Refunded => impossible,
            },
            Self::Claimed => match change {
                Change::PaymentRecorded => Ok(Self::Paying),
                Change::NothingToPay | Change::Paid => Ok(Self::Confirmed),
                Change::Refused { .. } => Ok(Self::Declined),
                Change::Cancelled { .. } => Ok(Self::Cancelled),
                Change::Claimed | Change::BuyerMustAct | Change::BuyerActed | Change::Refunded => {
                    impossible
                }
            },
            Self::Paying => match change {
                Change::BuyerMustAct => Ok(Self::ActionRequired),
                Change::Paid => Ok(Self::Confirmed),
                Change::Refused { .. } => Ok(Self::Declined),
                Change::Cancelled { .. } => Ok(Self::Cancelled),
                Change::Claimed
                | Change::PaymentRecorded
                | Change::NothingToPay
                | Change::BuyerActed
                | Change::Refunded => impossible,
            },
            Self::ActionRequired => match change {
                Change::BuyerActed => Ok(Self::Paying),
                Change::Paid => Ok(Self::Confirmed),
                Change::Refused { .. } => Ok(Self::Declined),
                Change::Cancelled { .. } => Ok(Self::Cancelled),
                Change::Claimed
                | Change::PaymentRecorded
                | Change::NothingToPay
                | Change::BuyerMustAct
                | Change::Refunded => impossible,
            },
            Self::Confirmed => match change {
                Change::Refunded => Ok(Self::Refunded),
                Change::Claimed
                | Change::PaymentRecorded
                | Change::NothingToPay
                | Change::BuyerMustAct
                | Change::BuyerActed
                | Change::Paid
                | Change::Refused { .. }
                | Change::Cancelled { .. } => impossible,
            },
            Self::Declined | Self::Cancelled | Self::Refunded => impossible,
        }
    }
}

/// A change of a recorded order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// What was a dead letter is recorded after all.
    Claimed,
    /// The payment service knows it.
    PaymentRecorded,
    /// Its total is zero.
    NothingToPay,
    /// The buyer must authenticate with the payment provider.
    BuyerMustAct,
    /// The buyer did, and the provider works on it again.
    BuyerActed,
    /// The money was captured.
    Paid,
    /// The provider refused the payment.
    Refused {
        /// The provider's code, such as `card_declined`.
        code: String,
    },
    /// Nothing will be charged.
    Cancelled {
        /// Why.
        reason: EndReason,
    },
    /// The captured money was given back.
    Refunded,
}

impl Change {
    /// The cause in the order's history.
    pub fn cause(&self) -> &str {
        match self {
            Self::Claimed => "claimed",
            Self::PaymentRecorded => "payment_recorded",
            Self::NothingToPay => "nothing_to_pay",
            Self::BuyerMustAct => "buyer_must_act",
            Self::BuyerActed => "buyer_acted",
            Self::Paid => "paid",
            Self::Refused { code } => code,
            Self::Cancelled { reason } => reason.as_str(),
            Self::Refunded => "refunded",
        }
    }

    /// The order's `end_reason`, if the change ends it unpaid.
    pub fn end_reason(&self) -> Option<&str> {
        match self {
            Self::Refused { code } => Some(code),
            Self::Cancelled { reason } => Some(reason.as_str()),
            Self::Claimed
            | Self::PaymentRecorded
            | Self::NothingToPay
            | Self::BuyerMustAct
            | Self::BuyerActed
            | Self::Paid
            | Self::Refunded => None,
        }
    }
}

/// Why an order was cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
    /// The buyer asked for it.
    Buyer,
    /// The record had no units left for it.
    AllotmentExhausted,
    /// Its units went with an older epoch of the stock.
    StockRebuilt,
    /// Its payment was cancelled though the buyer had not asked for it.
    PaymentCancelled,
    /// It was a dead letter, and an operator dropped it.
    DeadLetterDropped,
    /// It was a dead letter, and its deadline passed.
    DeadLetterExpired,
}

impl EndReason {
    /// Its name in the record and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Buyer => "buyer",
            Self::AllotmentExhausted => "allotment_exhausted",
            Self::StockRebuilt => "stock_rebuilt",
            Self::PaymentCancelled => "payment_cancelled",
            Self::DeadLetterDropped => "dead_letter_dropped",
            Self::DeadLetterExpired => "dead_letter_expired",
        }
    }
}

/// A change that the order's state does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an order that is {} cannot change so", from.as_str())]
pub struct Impossible {
    /// The state of the order.
    pub from: OrderState,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    fn changes() -> Vec<Change> {
        vec![
            Change::Claimed,
            Change::PaymentRecorded,
            Change::NothingToPay,
            Change::BuyerMustAct,
            Change::BuyerActed,
            Change::Paid,
            Change::Refused { code: "card_declined".to_owned() },
            Change::Cancelled { reason: EndReason::Buyer },
            Change::Refunded,
        ]
    }

    #[test]
    fn names_parse_back() {
        for state in OrderState::ALL {
            assert_eq!(OrderState::parse(state.as_str()), Some(state));
        }
        assert_eq!(OrderState::parse("ACCEPTED"), None);
    }

    #[test]
    fn an_end_is_final_but_for_refunds() {
        let ends = |state: &OrderState| !state.is_open() && *state != OrderState::DeadLetter;
        for state in OrderState::ALL.into_iter().filter(ends) {
            for change in changes() {
                let refund = state == OrderState::Confirmed && change == Change::Refunded;
                assert_eq!(state.after(&change).is_ok(), refund, "{state:?} {change:?}");
            }
        }
    }

    #[test]
    fn open_orders_can_end_in_every_way() {
        for state in OrderState::ALL.into_iter().filter(|state| state.is_open()) {
            assert_eq!(state.after(&Change::Paid), Ok(OrderState::Confirmed));
            let refused = Change::Refused { code: "card_declined".to_owned() };
            assert_eq!(state.after(&refused), Ok(OrderState::Declined));
            let cancelled = Change::Cancelled { reason: EndReason::Buyer };
            assert_eq!(state.after(&cancelled), Ok(OrderState::Cancelled));
        }
    }

    #[test]
    fn units_given_back_stay_given_back() {
        for state in [OrderState::Declined, OrderState::Cancelled] {
            assert!(!state.holds_units());
            for change in changes() {
                assert!(state.after(&change).is_err());
            }
        }
    }

    #[test]
    fn a_dead_letter_is_claimed_or_cancelled() {
        let to: Vec<_> = changes()
            .iter()
            .filter_map(|change| OrderState::DeadLetter.after(change).ok())
            .collect();
        assert_eq!(to, [OrderState::Claimed, OrderState::Cancelled]);
    }

    #[test]
    fn giving_units_back_has_a_reason() {
        for state in OrderState::ALL {
            for change in changes() {
                if let Ok(to) = state.after(&change) {
                    assert_eq!(change.end_reason().is_some(), !to.holds_units(), "{change:?}");
                }
            }
        }
    }
}
