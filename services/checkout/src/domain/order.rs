//! An order as it is seen from outside.

use std::{fmt, str::FromStr, time::Duration};

use time::OffsetDateTime;
use uuid::Uuid;

/// How long after the stock's check of its Redis an order may still be told to be accepted. The
/// marker of a rebuild on another Redis comes 2 s after that Redis has begun to count, so that
/// every order accepted within this time stands in front of it.
const ACCEPT_WITHIN: Duration = Duration::from_secs(1);

/// Where an order stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrderState {
    /// In the stock store, not known to be queued yet.
    AcceptancePending,
    /// In the stock store and in the queue.
    Accepted,
    /// What was queued cannot be recorded: it waits for a person.
    DeadLetter,
    /// Recorded.
    Claimed,
    /// Being charged.
    Paying,
    /// The buyer must authenticate.
    ActionRequired,
    /// Paid.
    Confirmed,
    /// Refused by the payment provider.
    Declined,
    /// Cancelled.
    Cancelled,
    /// Paid and given back.
    Refunded,
}

impl OrderState {
    /// Where a placed order stands after its publish: `acked` says whether the queue has it,
    /// `since_check` is the time since the stock checked that its Redis counts, or longer.
    pub fn placed(acked: bool, since_check: Duration) -> Self {
        if acked && since_check <= ACCEPT_WITHIN { Self::Accepted } else { Self::AcceptancePending }
    }

    /// The name in the record; what is not recorded yet has none.
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

    /// Whether the order still runs: it may be paid or cancelled.
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

/// A state the record should not hold.
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

/// Units of one sku at the price they were taken at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The sku.
    pub sku: String,
    /// Units.
    pub quantity: i64,
    /// Price of one unit in minor units.
    pub unit_price_minor: i64,
}

/// An order as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The order.
    pub order_id: Uuid,
    /// Its sale.
    pub sale_id: Uuid,
    /// Its buyer.
    pub buyer_id: String,
    /// The hold with its units.
    pub hold_id: Uuid,
    /// Where it stands.
    pub state: OrderState,
    /// What was ordered.
    pub lines: Vec<Line>,
    /// ISO 4217.
    pub currency: String,
    /// The price of everything in minor units.
    pub total_minor: i64,
    /// When it was placed.
    pub placed_at: OffsetDateTime,
    /// When its state last changed.
    pub updated_at: OffsetDateTime,
    /// Whether its buyer asked to cancel it.
    pub cancel_requested: bool,
    /// Why it ended unpaid.
    pub end_reason: Option<String>,
}

impl Order {
    /// This order as it stands in `row`. The row of a dead letter has what could be read of a broken message: what its hold carries is the order.
    pub fn with_state_of(self, row: &Self) -> Self {
        Self { state: row.state, updated_at: row.updated_at, ..self }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn only_an_ack_in_time_accepts() {
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
    fn the_record_s_names_are_read_back_and_no_others() {
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
