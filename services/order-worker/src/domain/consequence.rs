//! The consequences of what happens to an order. Each is a row of the outbox.

use std::borrow::Cow;

use uuid::Uuid;

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

    /// The kind with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// What a consequence is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum About {
    /// The state that is announced, that a mail tells of, or that is charged for.
    State(OrderState),
    /// The hold's order is paid.
    HoldSold,
    /// The hold's order ended unpaid.
    HoldReleased,
    /// The buyer asked to cancel.
    CancelRequested,
    /// The payment succeeded after the order had ended unpaid.
    PaidAfterEnd,
    /// This refund is done.
    Refund(Uuid),
}

/// What the name of a refund begins with; its id follows.
const REFUND: &str = "REFUND.";

impl About {
    /// Its name in the outbox and in the headers of a mail, made of what a Message-ID may have.
    pub fn name(self) -> Cow<'static, str> {
        match self {
            Self::State(state) => state.as_str().into(),
            Self::HoldSold => "SOLD".into(),
            Self::HoldReleased => "RELEASED".into(),
            Self::CancelRequested => "CANCEL_REQUESTED".into(),
            Self::PaidAfterEnd => "PAID_AFTER_END".into(),
            Self::Refund(refund_id) => format!("{REFUND}{refund_id}").into(),
        }
    }

    /// What has this name.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "SOLD" => Some(Self::HoldSold),
            "RELEASED" => Some(Self::HoldReleased),
            "CANCEL_REQUESTED" => Some(Self::CancelRequested),
            "PAID_AFTER_END" => Some(Self::PaidAfterEnd),
            name => match name.strip_prefix(REFUND) {
                Some(refund_id) => refund_id.parse().ok().map(Self::Refund),
                None => OrderState::parse(name).map(Self::State),
            },
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
    /// This refund of what its buyer paid for it is done.
    RefundDone(Uuid),
}

/// One row of the outbox. (order, kind, about) is unique, so that a cause has its consequence once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Consequence {
    pub kind: Kind,
    pub about: About,
}

const fn row(kind: Kind, about: About) -> Consequence {
    Consequence { kind, about }
}

const fn state(kind: Kind, state: OrderState) -> Consequence {
    row(kind, About::State(state))
}

/// The consequences of `occurrence`: the only table of them.
pub fn consequences(occurrence: Occurrence) -> Vec<Consequence> {
    match occurrence {
        Occurrence::Reached(OrderState::DeadLetter) => {
            vec![state(Kind::Event, OrderState::DeadLetter)]
        }
        Occurrence::Reached(OrderState::Claimed) => {
            vec![state(Kind::Charge, OrderState::Claimed), state(Kind::Event, OrderState::Claimed)]
        }
        Occurrence::Reached(OrderState::Paying) => vec![state(Kind::Event, OrderState::Paying)],
        Occurrence::Reached(OrderState::ActionRequired) => vec![
            state(Kind::Mail, OrderState::ActionRequired),
            state(Kind::Event, OrderState::ActionRequired),
        ],
        Occurrence::Reached(OrderState::Confirmed) => vec![
            row(Kind::CloseHold, About::HoldSold),
            state(Kind::Mail, OrderState::Confirmed),
            state(Kind::Event, OrderState::Confirmed),
        ],
        Occurrence::Reached(OrderState::Declined) => vec![
            row(Kind::CloseHold, About::HoldReleased),
            state(Kind::Mail, OrderState::Declined),
            state(Kind::Event, OrderState::Declined),
        ],
        Occurrence::Reached(OrderState::Cancelled) => vec![
            row(Kind::CloseHold, About::HoldReleased),
            state(Kind::Mail, OrderState::Cancelled),
            state(Kind::Event, OrderState::Cancelled),
        ],
        // The units stay sold: a refund never restocks. The mails are those of the refunds.
        Occurrence::Reached(OrderState::Refunded) => vec![state(Kind::Event, OrderState::Refunded)],
        Occurrence::CancelRequested => vec![row(Kind::CancelCharge, About::CancelRequested)],
        Occurrence::PaidAfterTheEnd => vec![row(Kind::Refund, About::PaidAfterEnd)],
        Occurrence::RefundDone(refund_id) => vec![row(Kind::Mail, About::Refund(refund_id))],
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    fn of(state: OrderState) -> Vec<Consequence> {
        consequences(Occurrence::Reached(state))
    }

    #[test]
    fn names_round_trip() {
        let others = [
            About::HoldSold,
            About::HoldReleased,
            About::CancelRequested,
            About::PaidAfterEnd,
            About::Refund(Uuid::from_u128(7)),
        ];
        for about in OrderState::ALL.map(About::State).into_iter().chain(others) {
            assert_eq!(About::parse(&about.name()), Some(about));
        }
        for unknown in ["LOST", "REFUND", "REFUND.", "REFUND.7", "REFUND.CONFIRMED"] {
            assert_eq!(About::parse(unknown), None, "{unknown}");
        }
        for kind in Kind::ALL {
            assert_eq!(Kind::parse(kind.as_str()), Some(kind));
        }
    }

    #[test]
    fn every_state_is_announced() {
        for state in OrderState::ALL {
            let rows = of(state);
            let events: Vec<_> = rows.iter().filter(|row| row.kind == Kind::Event).collect();
            assert_eq!(events.len(), 1);
            assert_eq!(events[0].about, About::State(state));
        }
    }

    #[test]
    fn a_hold_is_sold_if_its_units_are_kept() {
        for state in OrderState::ALL {
            let rows = of(state);
            let closes: Vec<_> = rows.iter().filter(|row| row.kind == Kind::CloseHold).collect();
            match state {
                OrderState::Confirmed | OrderState::Declined | OrderState::Cancelled => {
                    assert_eq!(closes.len(), 1);
                    assert_eq!(closes[0].about == About::HoldSold, state.holds_units());
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
    fn ends_the_buyers_turn_and_refunds_are_mailed() {
        for state in OrderState::ALL {
            let mails = of(state).iter().filter(|row| row.kind == Kind::Mail).count();
            let ended = !state.is_open() && state != OrderState::Refunded;
            let mailed = ended || state == OrderState::ActionRequired;
            assert_eq!(mails, usize::from(mailed), "{state:?}");
        }
        let refund_id = Uuid::from_u128(7);
        let rows = consequences(Occurrence::RefundDone(refund_id));
        assert_eq!(rows, [row(Kind::Mail, About::Refund(refund_id))]);
    }

    #[test]
    fn only_a_claim_charges() {
        for state in OrderState::ALL {
            let charges = of(state).iter().any(|row| row.kind == Kind::Charge);
            assert_eq!(charges, state == OrderState::Claimed);
        }
    }
}
