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

/// When buyers may join and be admitted, in milliseconds since 1970 by the store's clock. `None` is
/// no bound: as soon as the room is open, and until it is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Window {
    /// When buyers may join.
    pub joins_from_ms: Option<i64>,
    /// When the head begins to move, no earlier than joins.
    pub admits_from_ms: Option<i64>,
    /// When both end, later than their beginnings.
    pub admits_until_ms: Option<i64>,
}

/// Where a moment is, relative to the time in which the window admits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The head does not move yet.
    Before,
    /// The head moves.
    During,
    /// No joins and no admissions any more.
    After,
}

/// Why the head stands still although the room is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// Nothing can be sold now, or checkout refuses orders.
    Refused,
    /// Inventory has not answered any instance for too long.
    InventorySilent,
    /// Checkout has not answered any instance for too long.
    CheckoutSilent,
}

impl Hold {
    /// The hold of this name in the store.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "REFUSED" => Some(Self::Refused),
            "INVENTORY" => Some(Self::InventorySilent),
            "CHECKOUT" => Some(Self::CheckoutSilent),
            _ => None,
        }
    }
}

/// A room at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct RoomView {
    pub state: RoomState,
    /// Buyers admitted per second.
    pub rate: f64,
    /// Whether its head depends on inventory and checkout.
    pub watches_stock: bool,
    /// Why the head stood still at the last plan; `None` if it did not, or the room was not open.
    pub hold: Option<Hold>,
    /// The stock by the newest answer that any instance had at the last plan.
    pub stock: Stock,
    /// How long an admission may be used.
    pub admission_ms: i64,
    /// When buyers may join and be admitted.
    pub window: Window,
    /// How often it was put in place again.
    pub era: i64,
    /// How long it has been paused so far, the present pause included.
    pub paused_ms: i64,
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

impl RoomView {
    /// Where its moment is in its window. The scripts judge alike.
    pub fn phase(&self) -> Phase {
        let Window { admits_from_ms, admits_until_ms, .. } = self.window;
        if admits_until_ms.is_some_and(|until_ms| self.now_ms >= until_ms) {
            Phase::After
        } else if admits_from_ms.is_some_and(|from_ms| self.now_ms < from_ms) {
            Phase::Before
        } else {
            Phase::During
        }
    }

    /// Whether buyers neither join nor are admitted any more: it was closed, or its window is over
    /// and the closing still to come.
    pub fn is_closed(&self) -> bool {
        self.state == RoomState::Closed || self.phase() == Phase::After
    }

    /// Whether those who wait are told the same in both views. Numbers that are handed out
    /// meanwhile are behind all of them.
    pub fn tells_the_same_as(&self, other: &Self) -> bool {
        let told = |room: &Self| {
            (room.state, room.phase(), room.rate.to_bits(), room.hold, room.stock, room.head)
        };
        told(self) == told(other)
    }
}

/// What is left to be admitted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stock {
    /// Inventory has not answered for too long, has no stock of the sale, or is not asked.
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
    /// The name in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "",
            Self::Available => "AVAILABLE",
            Self::TakenForNow => "TAKEN",
            Self::Gone => "GONE",
        }
    }

    /// The stock of this name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Unknown, Self::Available, Self::TakenForNow, Self::Gone]
            .into_iter()
            .find(|stock| stock.as_str() == text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stock_is_gone_only_if_nothing_may_return() {
        for (allotted, available, may_return, verdict) in [
            (10, 1, 9, Stock::Available),
            (10, 0, 1, Stock::TakenForNow),
            (10, 0, 0, Stock::Gone),
            (0, 0, 0, Stock::Unknown),
        ] {
            assert_eq!(StockCount { allotted, available, may_return }.verdict(), verdict);
        }
    }

    #[test]
    fn names_round_trip() {
        for stock in [Stock::Unknown, Stock::Available, Stock::TakenForNow, Stock::Gone] {
            assert_eq!(Stock::parse(stock.as_str()), Some(stock));
        }
        assert_eq!(Stock::parse("available"), None);
        for state in [RoomState::Closed, RoomState::Open, RoomState::Paused] {
            assert_eq!(RoomState::parse(state.as_str()), Some(state));
        }
        assert_eq!(RoomState::parse("open"), None);
    }
}
