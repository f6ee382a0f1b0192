//! An order as it is seen from outside.

use std::{fmt, str::FromStr, time::Duration};

use time::OffsetDateTime;
use uuid::Uuid;

/// How long after inventory's check of its Redis an order may still be answered as accepted. The
/// marker of a rebuild on another Redis comes 2 s after that Redis has begun to count, so that
/// every order accepted within this time precedes it in the stream.
const ACCEPT_WITHIN: Duration = Duration::from_secs(1);

/// Where an order stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrderState {
    /// In the stock store, not known to be queued yet.
    AcceptancePending,
    /// In the stock store and in the queue.
    Accepted,
    /// Queued, but impossible to record: it waits for an operator.
    DeadLetter,
    /// Recorded, not charged yet.
    Claimed,
    /// Being charged.
    Paying,
    /// The buyer must authenticate.
    ActionRequired,
    /// Paid.
    Confirmed,
    /// Refused by the payment provider.
    Declined,
    Cancelled,
    /// Paid and refunded.
    Refunded,
}

impl OrderState {
    /// The state of a placed order after its publish. `acked`: the queue has it. `since_check`: an
    /// upper bound of the time since inventory's check that its Redis counts.
    pub fn placed(acked: bool, since_check: Duration) -> Self {
        if acked && since_check <= ACCEPT_WITHIN { Self::Accepted } else { Self::AcceptancePending }
    }

    /// The name in the record; unrecorded states have none.
    pub const fn recorded_name(self) -> Option<&'static str> {
        match self {
            Self::AcceptancePending | Self::Accepted => None,
            Self::DeadLetter => Some("DEAD_LETTER"),
            Self::Claimed => Some("CLAIMED"),
            Self::Paying => Some("PAYING"),
            Self::ActionRequired => Some("ACTION_REQUIRED"),
            Self::Confirmed => Some("CONFIRMED"),
            Self::Declined => Some("DECLINED"),
            Self::Cancelled => Some("CANCELLED"),
            Self::Refunded => Some("REFUNDED"),
        }
    }

    /// Whether the order may still be paid or cancelled.
    pub const fn is_open(self) -> bool {
        match self {
            Self::AcceptancePending
            | Self::Accepted
            | Self::DeadLetter
            | Self::Claimed
            | Self::Paying
            | Self::ActionRequired => true,
            Self::Confirmed | Self::Declined | Self::Cancelled | Self::Refunded => false,
        }
    }
}

/// A state name that the record should not hold.
#[derive(Debug, PartialEq, Eq)]
pub struct UnknownState(String);

impl fmt::Display for UnknownState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the record holds an order in the unknown state {:?}", self.0)
    }
}

impl FromStr for OrderState {
    type Err = UnknownState;

    fn from_str(name: &str) -> Result<Self, UnknownState> {
        [
            Self::DeadLetter,
            Self::Claimed,
            Self::Paying,
            Self::ActionRequired,
            Self::Confirmed,
            Self::Declined,
            Self::Cancelled,
            Self::Refunded,
        ]
        .into_iter()
        .find(|state| state.recorded_name() == Some(name))
        .ok_or_else(|| UnknownState(name.to_owned()))
    }
}

/// Units of one sku, at the price they were reserved at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub sku: String,
    pub quantity: i64,
    /// Price of one unit in minor units.
    pub unit_price_minor: i64,
}

/// An order as callers see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    pub order_id: Uuid,
    pub sale_id: Uuid,
    pub buyer_id: String,
    /// The hold that has its units.
    pub hold_id: Uuid,
    pub state: OrderState,
    pub lines: Vec<Line>,
    /// ISO 4217 code of all amounts.
    pub currency: String,
    /// Sum of all lines in minor units.
    pub total_minor: i64,
    pub placed_at: OffsetDateTime,
    /// When its state last changed.
    pub updated_at: OffsetDateTime,
    /// Whether its buyer asked to cancel it.
    pub cancel_requested: bool,
    /// Why it ended unpaid.
    pub end_reason: Option<String>,
}

impl Order {
    /// This order in the state of `row`, the row of its dead letter. That row has only what could
    /// be read of the broken message, so that the rest comes from the hold.
    pub fn with_state_of(self, row: &Self) -> Self {
        Self { state: row.state, updated_at: row.updated_at, ..self }
    }
}

/// What a list of orders is limited to.
#[derive(Debug, Clone)]
pub struct OrderFilter {
    pub sale_id: Uuid,
    /// `None` for all buyers.
    pub buyer_id: Option<String>,
    /// The recorded name of a state; `None` for all.
    pub state: Option<&'static str>,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn only_timely_acks_accept() {
        let late = ACCEPT_WITHIN + Duration::from_nanos(1);
        for (acked, since_check, state) in [
            (true, Duration::ZERO, OrderState::Accepted),
            (true, ACCEPT_WITHIN, OrderState::Accepted),
            (true, late, OrderState::AcceptancePending),
            (true, Duration::MAX, OrderState::AcceptancePending),
            (false, Duration::ZERO, OrderState::AcceptancePending),
        ] {
            assert_eq!(OrderState::placed(acked, since_check), state, "{acked} {since_check:?}");
        }
    }

    #[test]
    fn recorded_names_round_trip() {
        for name in [
            "DEAD_LETTER",
            "CLAIMED",
            "PAYING",
            "ACTION_REQUIRED",
            "CONFIRMED",
            "DECLINED",
            "CANCELLED",
            "REFUNDED",
        ] {
            assert_eq!(name.parse::<OrderState>().unwrap().recorded_name(), Some(name));
        }
        assert!("ACCEPTED".parse::<OrderState>().is_err());
    }
}
