//! The consequences of what happens to an order. Each is a row of the outbox.

use super::OrderState;

/// What has to be done; each kind has its own outbox handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Have the payment recorded.
    Charge,
    /// Make sure that the order is never charged.
    CancelCharge,
    /// Give back money that came after the order's end.
    Refund,
    /// Tell inventory how the order of the hold ended.
    CloseHold,
    /// Send the buyer a mail.
    Mail,
    /// Wake the watchers of the order.
    Event,
}

impl Kind {
    /// Every kind there is.
    pub const ALL: [Self; 6] =
        [Self::Charge, Self::CancelCharge, Self::Refund, Self::CloseHold, Self::Mail, Self::Event];

    /// Its name in the outbox.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Charge => "charge",
            Self::CancelCharge => "cancel_charge",
            Self::Refund => "refund",
            Self::CloseHold => "close_hold",
            Self::Mail => "mail",
            Self::Event => "event",
        }
    }
}

/// Something that happened to an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occurrence {
    /// It reached this state.
    Reached(OrderState),
    /// The buyer asked to cancel it while it was open.
    CancelRequested,
    /// Its payment succeeded after it had ended unpaid.
    PaidAfterTheEnd,
}

/// One row of the outbox. (order, kind, about) is unique, so that a cause has its consequence once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Consequence {
    pub kind: Kind,
    /// The state that is announced, or the outcome of the hold.
    pub about: &'static str,
}

const fn row(kind: Kind, about: &'static str) -> Consequence {
    Consequence { kind, about }
}

/// The outcome of a hold whose order is paid, in the outbox.
pub(crate) const HOLD_SOLD: &str = "SOLD";
/// The outcome of a hold whose order ended unpaid, in the outbox.
pub(crate) const HOLD_RELEASED: &str = "RELEASED";

/// The consequences of `occurrence`: the only table of them.
pub const fn consequences(occurrence: Occurrence) -> &'static [Consequence] {
    match occurrence {
        Occurrence::Reached(OrderState::DeadLetter) => const { &[row(Kind::Event, "DEAD_LETTER")] },
        Occurrence::Reached(OrderState::Claimed) => {
            const { &[row(Kind::Charge, "CLAIMED"), row(Kind::Event, "CLAIMED")] }
        }
        Occurrence::Reached(OrderState::Paying) => const { &[row(Kind::Event, "PAYING")] },
        Occurrence::Reached(OrderState::ActionRequired) => {
            const { &[row(Kind::Event, "ACTION_REQUIRED")] }
        }
        Occurrence::Reached(OrderState::Confirmed) => {
            const {
                &[
                    row(Kind::CloseHold, HOLD_SOLD),
                    row(Kind::Mail, "CONFIRMED"),
                    row(Kind::Event, "CONFIRMED"),
                ]
            }
        }
        Occurrence::Reached(OrderState::Declined) => {
            const {
                &[
                    row(Kind::CloseHold, HOLD_RELEASED),
                    row(Kind::Mail, "DECLINED"),
                    row(Kind::Event, "DECLINED"),
                ]
            }
        }
        Occurrence::Reached(OrderState::Cancelled) => {
            const {
                &[
                    row(Kind::CloseHold, HOLD_RELEASED),
                    row(Kind::Mail, "CANCELLED"),
                    row(Kind::Event, "CANCELLED"),
                ]
            }
        }
        // The units stay sold: a refund never restocks.
        Occurrence::Reached(OrderState::Refunded) => {
            const { &[row(Kind::Mail, "REFUNDED"), row(Kind::Event, "REFUNDED")] }
        }
        Occurrence::CancelRequested => const { &[row(Kind::CancelCharge, "CANCEL_REQUESTED")] },
        Occurrence::PaidAfterTheEnd => const { &[row(Kind::Refund, "PAID_AFTER_END")] },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    fn of(state: OrderState) -> &'static [Consequence] {
        consequences(Occurrence::Reached(state))
    }

    #[test]
    fn every_state_is_announced() {
        for state in OrderState::ALL {
            let events: Vec<_> = of(state).iter().filter(|row| row.kind == Kind::Event).collect();
            assert_eq!(events.len(), 1);
            assert_eq!(events[0].about, state.as_str());
        }
    }

    #[test]
    fn a_hold_is_sold_if_its_units_are_kept() {
        for state in OrderState::ALL {
            let closes: Vec<_> =
                of(state).iter().filter(|row| row.kind == Kind::CloseHold).collect();
            match state {
                OrderState::Confirmed | OrderState::Declined | OrderState::Cancelled => {
                    assert_eq!(closes.len(), 1);
                    assert_eq!(closes[0].about == HOLD_SOLD, state.holds_units());
                }
                OrderState::DeadLetter
                | OrderState::Claimed
                | OrderState::Paying
                | OrderState::ActionRequired
                | OrderState::Refunded => assert!(closes.is_empty()),
            }
        }
    }

    #[test]
    fn every_end_is_mailed() {
        for state in OrderState::ALL {
            let mails = of(state).iter().filter(|row| row.kind == Kind::Mail).count();
            assert_eq!(mails, usize::from(!state.is_open()), "{state:?}");
        }
    }

    #[test]
    fn only_a_claim_charges() {
        for state in OrderState::ALL {
            let charges = of(state).iter().any(|row| row.kind == Kind::Charge);
            assert_eq!(charges, state == OrderState::Claimed);
        }
    }
}
