//! How a recorded order moves between its states.

use super::OrderState;

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
    /// The state of an order that was in `state`.
    ///
    /// # Errors
    /// [`Impossible`] when the state does not allow the change.
    pub fn after(&self, state: OrderState) -> Result<OrderState, Impossible> {
        let impossible = Err(Impossible { from: state });
        match state {
            OrderState::DeadLetter => match self {
                Self::Claimed => Ok(OrderState::Claimed),
                Self::Cancelled { .. } => Ok(OrderState::Cancelled),
                Self::PaymentRecorded
                | Self::NothingToPay
                | Self::BuyerMustAct
                | Self::BuyerActed
                | Self::Paid
                | Self::Refused { .. }
                | Self::Refunded => impossible,
            },
            OrderState::Claimed => match self {
                Self::PaymentRecorded => Ok(OrderState::Paying),
                Self::NothingToPay | Self::Paid => Ok(OrderState::Confirmed),
                Self::Refused { .. } => Ok(OrderState::Declined),
                Self::Cancelled { .. } => Ok(OrderState::Cancelled),
                Self::Claimed | Self::BuyerMustAct | Self::BuyerActed | Self::Refunded => {
                    impossible
                }
            },
            OrderState::Paying => match self {
                Self::BuyerMustAct => Ok(OrderState::ActionRequired),
                Self::Paid => Ok(OrderState::Confirmed),
                Self::Refused { .. } => Ok(OrderState::Declined),
                Self::Cancelled { .. } => Ok(OrderState::Cancelled),
                Self::Claimed
                | Self::PaymentRecorded
                | Self::NothingToPay
                | Self::BuyerActed
                | Self::Refunded => impossible,
            },
            OrderState::ActionRequired => match self {
                Self::BuyerActed => Ok(OrderState::Paying),
                Self::Paid => Ok(OrderState::Confirmed),
                Self::Refused { .. } => Ok(OrderState::Declined),
                Self::Cancelled { .. } => Ok(OrderState::Cancelled),
                Self::Claimed
                | Self::PaymentRecorded
                | Self::NothingToPay
                | Self::BuyerMustAct
                | Self::Refunded => impossible,
            },
            OrderState::Confirmed => match self {
                Self::Refunded => Ok(OrderState::Refunded),
                Self::Claimed
                | Self::PaymentRecorded
                | Self::NothingToPay
                | Self::BuyerMustAct
                | Self::BuyerActed
                | Self::Paid
                | Self::Refused { .. }
                | Self::Cancelled { .. } => impossible,
            },
            // Final. Money captured after an unpaid end goes back: see `Settlement::Refund`.
            OrderState::Declined | OrderState::Cancelled | OrderState::Refunded => impossible,
        }
    }

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
    /// The payment provider could not be brought to charge it for as long as orders wait.
    ProviderUnavailable,
    /// The payment provider captured another amount than the order costs. It goes back.
    AmountMismatch,
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
            Self::ProviderUnavailable => "provider_unavailable",
            Self::AmountMismatch => "amount_mismatch",
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
    fn an_end_is_final_but_for_refunds() {
        for state in OrderState::ALL.into_iter().filter(|state| !state.is_open()) {
            for change in changes() {
                let refund = state == OrderState::Confirmed && change == Change::Refunded;
                assert_eq!(change.after(state).is_ok(), refund, "{state:?} {change:?}");
            }
        }
    }

    #[test]
    fn orders_awaiting_payment_can_end_in_every_way() {
        for state in OrderState::ALL.into_iter().filter(|state| state.awaits_payment()) {
            assert_eq!(Change::Paid.after(state), Ok(OrderState::Confirmed));
            let refused = Change::Refused { code: "card_declined".to_owned() };
            assert_eq!(refused.after(state), Ok(OrderState::Declined));
            let cancelled = Change::Cancelled { reason: EndReason::Buyer };
            assert_eq!(cancelled.after(state), Ok(OrderState::Cancelled));
        }
    }

    #[test]
    fn units_given_back_stay_given_back() {
        for state in [OrderState::Declined, OrderState::Cancelled] {
            assert!(!state.holds_units());
            for change in changes() {
                assert!(change.after(state).is_err());
            }
        }
    }

    #[test]
    fn a_dead_letter_is_claimed_or_cancelled() {
        let to: Vec<_> = changes()
            .iter()
            .filter_map(|change| change.after(OrderState::DeadLetter).ok())
            .collect();
        assert_eq!(to, [OrderState::Claimed, OrderState::Cancelled]);
    }

    #[test]
    fn giving_units_back_has_a_reason() {
        for state in OrderState::ALL {
            for change in changes() {
                if let Ok(to) = change.after(state) {
                    assert_eq!(change.end_reason().is_some(), !to.holds_units(), "{change:?}");
                }
            }
        }
    }
}
