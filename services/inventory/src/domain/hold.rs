//! Holds, as the scripts return them.

use uuid::Uuid;

/// The state of a hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HoldState {
    /// Units are out of sale until the deadline.
    Held,
    /// An order has the units.
    Placed,
    /// Paid for; final.
    Sold,
    /// Given back; final.
    Released,
    /// The deadline passed; final.
    Expired,
}

impl HoldState {
    /// Its name in the store and in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Held => "HELD",
            Self::Placed => "PLACED",
            Self::Sold => "SOLD",
            Self::Released => "RELEASED",
            Self::Expired => "EXPIRED",
        }
    }

    /// The state with this name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Held, Self::Placed, Self::Sold, Self::Released, Self::Expired]
            .into_iter()
            .find(|state| state.as_str() == name)
    }
}

/// Units of one sku at the price they were taken at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacedLine {
    pub sku: String,
    pub quantity: i64,
    /// The price of one unit, in minor units.
    pub price_minor: i64,
    /// The revision of the sale's prices that set it.
    pub price_revision: i64,
}

/// Units out of sale for one buyer. Times are milliseconds of the store's clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    pub hold_id: Uuid,
    pub buyer_id: String,
    pub state: HoldState,
    /// When it expires, as long as it is held.
    pub deadline_ms: i64,
    /// Its lines, by sku.
    pub lines: Vec<PlacedLine>,
    /// The ISO 4217 code of its prices.
    pub currency: String,
    /// The epoch it was taken in.
    pub epoch: i64,
    pub admission_id: Option<String>,
    /// The order it carries, once placed.
    pub order_id: Option<Uuid>,
    pub placed_ms: Option<i64>,
    /// The id of the request that placed it, as sent.
    pub request_id: Option<String>,
    /// The hash of that request's content.
    pub request_hash: Option<String>,
    /// What the order carries besides its lines; empty before there is an order, and once the
    /// record has it.
    pub details: String,
}

/// A hold, and whether the request had been answered before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The hold as it is now.
    pub hold: Hold,
    pub replayed: bool,
}

/// The id by which a hold is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldId {
    Hold(Uuid),
    /// The id of the order it carries.
    Order(Uuid),
}

/// The result of a sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Swept {
    pub ended: usize,
    /// No hold is held, and none can be any more.
    pub over: bool,
}

/// Placed holds, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listed {
    pub placed: Vec<Hold>,
    pub unreadable: Vec<UnreadableHold>,
}

/// A hold that cannot be read, as it is stored, each part cut at a maximum length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadableHold {
    pub hold_id: String,
    /// The hold; empty if it is missing.
    pub hold: String,
    /// What its order carries besides its lines; empty if that is missing.
    pub details: String,
}

impl UnreadableHold {
    const MAX_ID_BYTES: usize = 128;
    const MAX_PART_BYTES: usize = 4 * 1_024;

    /// Cuts each part to what a message about it has room for.
    pub fn new(hold_id: &str, hold: &str, details: &str) -> Self {
        let start = |text: &str, bytes: usize| {
            let end = (0..=bytes.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
            text[..end.unwrap_or(0)].to_owned()
        };
        Self {
            hold_id: start(hold_id, Self::MAX_ID_BYTES),
            hold: start(hold, Self::MAX_PART_BYTES),
            details: start(details, Self::MAX_PART_BYTES),
        }
    }
}

impl Hold {
    /// The price of all lines, in minor units. The script that takes the units bounds it.
    pub fn total_minor(&self) -> i64 {
        self.lines
            .iter()
            .map(|line| line.quantity.saturating_mul(line.price_minor))
            .fold(0, i64::saturating_add)
    }

    /// The hold as it stands at `now_ms`: past its deadline it is expired, even if no sweep has
    /// ended it yet.
    #[must_use]
    pub fn at(mut self, now_ms: i64) -> Self {
        if self.state == HoldState::Held && self.deadline_ms <= now_ms {
            self.state = HoldState::Expired;
        }
        self
    }
}

/// What becomes of a placed hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The record has the order; the hold need not carry it any more.
    Claimed,
    Sold,
    Released,
}

impl Outcome {
    /// Its name in the scripts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Claimed => "CLAIMED",
            Self::Sold => "SOLD",
            Self::Released => "RELEASED",
        }
    }
}

/// A hold to settle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settlement {
    pub hold_id: Uuid,
    pub outcome: Outcome,
    /// The order that ends; `None` for any order that the hold carries.
    pub order_id: Option<Uuid>,
}

impl From<(Uuid, Outcome)> for Settlement {
    /// For any order that the hold carries.
    fn from((hold_id, outcome): (Uuid, Outcome)) -> Self {
        Self { hold_id, outcome, order_id: None }
    }
}

/// The result of settling a hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    Done,
    /// It was in that state already.
    Already,
    /// There is no such hold in this epoch.
    Unknown,
    /// Its state excludes the outcome.
    Conflict,
}

impl Settled {
    /// The result with this name in the scripts.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "DONE" => Some(Self::Done),
            "ALREADY" => Some(Self::Already),
            "UNKNOWN" => Some(Self::Unknown),
            "CONFLICT" => Some(Self::Conflict),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    fn held() -> Hold {
        Hold {
            hold_id: Uuid::from_u128(1),
            buyer_id: "ada".to_owned(),
            state: HoldState::Held,
            deadline_ms: 1_000,
            lines: vec![
                PlacedLine {
                    sku: "a".to_owned(),
                    quantity: 3,
                    price_minor: 1_999,
                    price_revision: 1,
                },
                PlacedLine { sku: "b".to_owned(), quantity: 1, price_minor: 0, price_revision: 2 },
            ],
            currency: "EUR".to_owned(),
            epoch: 1,
            admission_id: None,
            order_id: None,
            placed_ms: None,
            request_id: None,
            request_hash: None,
            details: String::new(),
        }
    }

    #[test]
    fn hold_expires_at_deadline() {
        assert_eq!(held().at(999).state, HoldState::Held);
        assert_eq!(held().at(1_000).state, HoldState::Expired);
        let placed = Hold { state: HoldState::Placed, ..held() };
        assert_eq!(placed.at(5_000).state, HoldState::Placed);
    }

    #[test]
    fn total_sums_quantity_times_price() {
        assert_eq!(held().total_minor(), 5_997);
    }

    #[test]
    fn state_names_round_trip() {
        for state in [
            HoldState::Held,
            HoldState::Placed,
            HoldState::Sold,
            HoldState::Released,
            HoldState::Expired,
        ] {
            assert_eq!(HoldState::parse(state.as_str()), Some(state));
        }
        assert_eq!(HoldState::parse("held"), None);
    }
}
