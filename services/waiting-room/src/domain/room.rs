//! Rooms and their stock.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoomState {
    /// No joins, no admissions.
    Closed,
    /// Joins and admissions.
    Open,
    /// Joins, but no admissions.
    Paused,
}

impl RoomState {
    /// The name in the stores.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "CLOSED",
            Self::Open => "OPEN",
            Self::Paused => "PAUSED",
        }
    }

    /// The state of this name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Closed, Self::Open, Self::Paused].into_iter().find(|state| state.as_str() == text)
    }
}

/// A room at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct RoomView {
    pub state: RoomState,
    /// Buyers admitted per second.
    pub rate: f64,
    /// How long an admission may be used.
    pub admission_ms: i64,
    /// The highest number handed out.
    pub next: i64,
    /// The highest number that may be handed out.
    pub upto: i64,
    /// How far the head may go once that is recorded.
    pub planned: i64,
    /// The highest number admitted.
    pub head: i64,
    /// The version of its settings.
    pub version: i64,
    /// The moment, by the store's clock, in milliseconds since 1970.
    pub now_ms: i64,
}

/// What is left to be admitted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stock {
    /// Inventory did not answer, or has no stock of the sale.
    Unknown,
    /// Units are available.
    Available,
    /// Everything is taken; some of it may come back.
    TakenForNow,
    /// Everything is sold.
    Gone,
}

/// Units of a sale, summed over its skus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StockCount {
    /// Units allotted to the sale.
    pub allotted: i64,
    /// Units that can be taken now.
    pub available: i64,
    /// Units in holds and in orders that are not settled.
    pub may_return: i64,
}

impl StockCount {
    /// What the counts mean for waiting tickets. A sale without an allotment is unknown.
    pub fn verdict(self) -> Stock {
        if self.available > 0 {
            Stock::Available
        } else if self.may_return > 0 {
            Stock::TakenForNow
        } else if self.allotted > 0 {
            Stock::Gone
        } else {
            Stock::Unknown
        }
    }
}

impl Stock {
    /// Whether the head may move. With unknown stock it may: the rate still bounds admissions, and
    /// inventory refuses what it does not have.
    pub const fn admits(self) -> bool {
        match self {
            Self::Unknown | Self::Available => true,
            Self::TakenForNow | Self::Gone => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stock_is_gone_only_if_nothing_may_return() {
        for (allotted, available, may_return, verdict, admits) in [
            (10, 1, 9, Stock::Available, true),
            (10, 0, 1, Stock::TakenForNow, false),
            (10, 0, 0, Stock::Gone, false),
            (0, 0, 0, Stock::Unknown, true),
        ] {
            let stock = StockCount { allotted, available, may_return }.verdict();
            assert_eq!((stock, stock.admits()), (verdict, admits));
        }
    }

    #[test]
    fn state_names_round_trip() {
        for state in [RoomState::Closed, RoomState::Open, RoomState::Paused] {
            assert_eq!(RoomState::parse(state.as_str()), Some(state));
        }
        assert_eq!(RoomState::parse("open"), None);
    }
}
