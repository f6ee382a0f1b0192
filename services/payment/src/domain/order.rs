//! What an order costs, as the record has it, and whether anything may be charged for it.

use flashsale_record::OrderState;
use uuid::Uuid;

use super::provider_amount;

/// An order of the record. The amount, the currency and the means of payment of its payment come
/// from here and from nowhere else: no caller is believed about money.
#[derive(Clone)]
pub struct Order {
    pub order_id: Uuid,
    pub sale_id: Uuid,
    pub state: OrderState,
    /// ISO 4217.
    pub currency: String,
    /// Minor units.
    pub total_minor: i64,
    /// The provider's token of the means of payment. Not for logs.
    pub payment_method: String,
    /// How long its buyer may take to authenticate, in milliseconds, if its sale says so.
    pub patience_ms: Option<i64>,
    /// Whether it has a payment, in whatever state.
    pub has_payment: bool,
}

impl std::fmt::Debug for Order {
    /// Without the means of payment.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Order")
            .field("order_id", &self.order_id)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// Why no payment can be recorded for an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotPayable {
    /// It waits for no payment: it has ended, or its message waits for a person.
    #[error("it is {0}")]
    State(OrderState),
    /// It costs nothing.
    #[error("it costs nothing")]
    Free,
    /// The provider cannot charge its total to the last unit.
    #[error("the provider cannot charge its total exactly")]
    Inexact,
}

/// What a request to charge an order does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChargeRuling {
    /// A payment over the order's total is recorded as due.
    IsDue,
    /// It has a payment and keeps it.
    HasPayment,
    /// Nothing is recorded.
    Refused(NotPayable),
}

/// Decides about a request to charge.
///
/// An order that waits for its payment leaves that state by its payment only, so that one without a
/// payment that has ended was never claimed, and must not be charged.
pub fn charge(order: &Order) -> ChargeRuling {
    if order.has_payment {
        return ChargeRuling::HasPayment;
    }
    if !order.state.awaits_payment() {
        return ChargeRuling::Refused(NotPayable::State(order.state));
    }
    if order.total_minor <= 0 {
        return ChargeRuling::Refused(NotPayable::Free);
    }
    match provider_amount(order.total_minor, &order.currency) {
        Ok(_) => ChargeRuling::IsDue,
        Err(_) => ChargeRuling::Refused(NotPayable::Inexact),
    }
}

/// Whether a payment that is never charged can be recorded for an order that has none.
///
/// # Errors
/// [`NotPayable::Free`]: there is nothing that could ever be charged.
pub fn never_charge(order: &Order) -> Result<(), NotPayable> {
    if order.total_minor > 0 { Ok(()) } else { Err(NotPayable::Free) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    fn order(state: OrderState) -> Order {
        Order {
            order_id: Uuid::nil(),
            sale_id: Uuid::nil(),
            state,
            currency: "EUR".to_owned(),
            total_minor: 1_999,
            payment_method: "pm".to_owned(),
            patience_ms: None,
            has_payment: false,
        }
    }

    #[test]
    fn only_orders_awaiting_payment_are_charged() {
        for state in OrderState::ALL {
            let expected = match state {
                OrderState::Claimed | OrderState::Paying | OrderState::ActionRequired => {
                    ChargeRuling::IsDue
                }
                OrderState::DeadLetter
                | OrderState::Confirmed
                | OrderState::Declined
                | OrderState::Cancelled
                | OrderState::Refunded => ChargeRuling::Refused(NotPayable::State(state)),
            };
            assert_eq!(charge(&order(state)), expected, "{state}");
        }
    }

    #[test]
    fn a_payment_stays_whatever_its_order_becomes() {
        for state in OrderState::ALL {
            let order = Order { has_payment: true, total_minor: 0, ..order(state) };
            assert_eq!(charge(&order), ChargeRuling::HasPayment, "{state}");
        }
    }

    #[test]
    fn only_exact_amounts_above_zero_are_charged() {
        let cases = [
            (1, "EUR", ChargeRuling::IsDue),
            (0, "EUR", ChargeRuling::Refused(NotPayable::Free)),
            (5_120, "KWD", ChargeRuling::IsDue),
            (5_124, "KWD", ChargeRuling::Refused(NotPayable::Inexact)),
        ];
        for (total_minor, currency, expected) in cases {
            let order =
                Order { total_minor, currency: currency.to_owned(), ..order(OrderState::Claimed) };
            assert_eq!(charge(&order), expected, "{total_minor} {currency}");
        }
    }

    #[test]
    fn any_order_that_costs_something_can_be_left_uncharged() {
        for state in OrderState::ALL {
            assert_eq!(never_charge(&order(state)), Ok(()), "{state}");
            let free = Order { total_minor: 0, ..order(state) };
            assert_eq!(never_charge(&free), Err(NotPayable::Free), "{state}");
        }
    }
}
