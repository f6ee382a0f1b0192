//! The states of sales.

use crate::name::named;

/// The state of a sale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SaleState {
    /// Being prepared; sells nothing.
    Draft,
    /// Will be prepared for its start.
    Scheduled,
    /// Loaded and configured: it opens at its start, by the clock of the stock's store.
    Prepared,
    /// Selling, within its window.
    Open,
    /// Held up by the shop.
    Paused,
    /// Over for good.
    Ended,
    /// Called off before it had begun.
    Cancelled,
}

named! {
    SaleState of "a sale":
    Draft = "DRAFT",
    Scheduled = "SCHEDULED",
    Prepared = "PREPARED",
    Open = "OPEN",
    Paused = "PAUSED",
    Ended = "ENDED",
    Cancelled = "CANCELLED",
}

impl SaleState {
    /// Whether its stock may be sold from, now or without any further change: a prepared sale opens
    /// by the clock. `sales.may_sell` is the same in Postgres.
    pub const fn may_sell(self) -> bool {
        match self {
            Self::Prepared | Self::Open | Self::Paused => true,
            Self::Draft | Self::Scheduled | Self::Ended | Self::Cancelled => false,
        }
    }

    /// Whether its stock may have been sold from, unless it was ended as a draft.
    pub const fn may_have_sold(self) -> bool {
        match self {
            Self::Prepared | Self::Open | Self::Paused | Self::Ended => true,
            Self::Draft | Self::Scheduled | Self::Cancelled => false,
        }
    }

    /// Whether it never changes any more.
    pub const fn is_over(self) -> bool {
        match self {
            Self::Ended | Self::Cancelled => true,
            Self::Draft | Self::Scheduled | Self::Prepared | Self::Open | Self::Paused => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for state in SaleState::ALL {
            assert_eq!(SaleState::parse(state.as_str()), Some(state));
        }
        assert_eq!(SaleState::parse("open"), None);
    }
}
