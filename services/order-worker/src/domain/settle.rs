//! What the state of a payment means for its order.

use flashsale_record::PaymentEndReason;

use super::{Change, EndReason, OrderState, PaymentState};

/// What follows for an order from its payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settlement {
    /// Nothing: they agree, or the order's state does not allow the change yet.
    Nothing,
    /// The order changes.
    Change(Change),
    /// The money came after the order had ended unpaid: it goes back.
    Refund,
}

/// What an order's payment says of itself.
#[derive(Debug, Clone, Copy)]
pub struct PaymentWord<'a> {
    pub state: PaymentState,
    /// The provider's code for why it refused.
    pub decline_code: Option<&'a str>,
    /// Why it was cancelled, though neither the buyer nor the card is the reason.
    pub end_reason: Option<PaymentEndReason>,
}

/// Compares an order with its payment. `cancel_requested` says whether the buyer asked to cancel.
pub fn settle(order: OrderState, cancel_requested: bool, payment: PaymentWord<'_>) -> Settlement {
    let change = match payment.state {
        // The outbox handler moves the order to PAYING. Here the change leads back there only after
        // the buyer has acted.
        PaymentState::Due | PaymentState::Processing => Change::BuyerActed,
        PaymentState::RequiresAction => Change::BuyerMustAct,
        PaymentState::Succeeded => match order {
            // The buyer gets no units, so the money always goes back.
            OrderState::Declined | OrderState::Cancelled => return Settlement::Refund,
            // An order that is not claimed is never charged.
            OrderState::DeadLetter
            | OrderState::Claimed
            | OrderState::Paying
            | OrderState::ActionRequired
            | OrderState::Confirmed
            | OrderState::Refunded => Change::Paid,
        },
        PaymentState::Failed => {
            Change::Refused { code: payment.decline_code.unwrap_or("payment_failed").to_owned() }
        }
        PaymentState::Cancelled => Change::Cancelled {
            reason: match payment.end_reason {
                Some(PaymentEndReason::AmountMismatch) => EndReason::AmountMismatch,
                Some(PaymentEndReason::ProviderUnavailable) => EndReason::ProviderUnavailable,
                None if cancel_requested => EndReason::Buyer,
                None => EndReason::PaymentCancelled,
            },
        },
        // An open order whose payment was captured and refunded meanwhile takes both changes, one
        // after the other.
        PaymentState::Refunded => {
            if order.awaits_payment() {
                Change::Paid
            } else {
                Change::Refunded
            }
        }
    };
    match change.after(order) {
        Ok(_) => Settlement::Change(change),
        Err(_) => Settlement::Nothing,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    fn word(state: PaymentState) -> PaymentWord<'static> {
        PaymentWord { state, decline_code: Some("card_declined"), end_reason: None }
    }

    fn after(order: OrderState, payment: PaymentState) -> OrderState {
        match settle(order, false, word(payment)) {
            Settlement::Change(change) => change.after(order).unwrap(),
            Settlement::Nothing | Settlement::Refund => order,
        }
    }

    #[test]
    fn an_ended_payment_ends_every_open_order() {
        for order in OrderState::ALL.into_iter().filter(|state| state.awaits_payment()) {
            assert_eq!(after(order, PaymentState::Succeeded), OrderState::Confirmed);
            assert_eq!(after(order, PaymentState::Failed), OrderState::Declined);
            assert_eq!(after(order, PaymentState::Cancelled), OrderState::Cancelled);
            assert_eq!(after(order, PaymentState::Refunded), OrderState::Confirmed);
        }
        assert_eq!(after(OrderState::Confirmed, PaymentState::Refunded), OrderState::Refunded);
    }

    #[test]
    fn money_after_an_unpaid_end_goes_back() {
        for order in OrderState::ALL {
            for payment in PaymentState::ALL {
                let refund = settle(order, false, word(payment)) == Settlement::Refund;
                let ended = matches!(order, OrderState::Declined | OrderState::Cancelled);
                assert_eq!(refund, ended && payment == PaymentState::Succeeded);
            }
        }
    }

    #[test]
    fn settling_reaches_a_fixed_point() {
        for order in OrderState::ALL {
            for payment in PaymentState::ALL {
                let rest = (0..3).fold(order, |state, _| after(state, payment));
                assert_eq!(after(rest, payment), rest, "{order:?} {payment:?}");
            }
        }
    }

    #[test]
    fn the_buyer_is_named_only_if_asked() {
        let ended = |asked, end_reason| {
            let payment = PaymentWord { end_reason, ..word(PaymentState::Cancelled) };
            settle(OrderState::Paying, asked, payment)
        };
        let cancelled = |reason| Settlement::Change(Change::Cancelled { reason });
        assert_eq!(ended(true, None), cancelled(EndReason::Buyer));
        assert_eq!(ended(false, None), cancelled(EndReason::PaymentCancelled));
        for (said, told) in [
            (PaymentEndReason::ProviderUnavailable, EndReason::ProviderUnavailable),
            (PaymentEndReason::AmountMismatch, EndReason::AmountMismatch),
        ] {
            assert_eq!(ended(true, Some(said)), cancelled(told));
        }
    }
}
