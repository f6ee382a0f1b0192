//! A room as it stands.

/// Where a room stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoomState {
    /// Nobody joins, nobody is admitted.
    Closed,
    /// People join and are admitted.
    Open,
    /// People join; nobody is admitted.
    Paused,
}

impl RoomState {
    /// As the stores write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "CLOSED",
            Self::Open => "OPEN",
            Self::Paused => "PAUSED",
        }
    }

    /// The state the stores write like this.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Closed, Self::Open, Self::Paused].into_iter().find(|state| state.as_str() == text)
    }
}

/// A room at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct RoomView {
    /// Where it stands.
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

/// What there is to be admitted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stock {
    /// Nobody could say.
    Unknown,
    /// Something can be taken.
    Available,
    /// Everything is taken; some of it may come back.
    TakenForNow,
    /// Everything is sold.
    Gone,
}

/// Units of a sale, over all its skus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StockCount {
    /// Units there ever were.
    pub allotted: i64,
    /// Units that can be taken now.
    pub available: i64,
    /// Units in holds and in orders that are not settled.
    pub may_return: i64,
}

impl StockCount {
    /// What the numbers mean for those who wait. A sale nothing was allotted to says nothing.
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
    /// Whether it makes sense to admit anybody. Unknown stock does: the rate goes on bounding who comes through, and inventory itself
    /// refuses what it does not have.
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
    fn stock_is_gone_only_when_nothing_can_come_back() {
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
    fn a_state_is_read_as_it_is_written() {
        for state in [RoomState::Closed, RoomState::Open, RoomState::Paused] {
            assert_eq!(RoomState::parse(state.as_str()), Some(state));
        }
        assert_eq!(RoomState::parse("open"), None);
    }
}
