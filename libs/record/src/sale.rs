//! The states of sales.

use crate::name::named;

/// The state of a sale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SaleState {
    /// Being prepared; sells nothing.
    Draft,
    /// Will open at its start.
    Scheduled,
    /// Selling, within its window.
    Open,
    /// Held up by the shop.
    Paused,
    /// Over for good.
    Ended,
}

named! {
    SaleState of "a sale":
    Draft = "DRAFT",
    Scheduled = "SCHEDULED",
    Open = "OPEN",
    Paused = "PAUSED",
    Ended = "ENDED",
}

impl SaleState {
    /// Whether it has begun and is not over.
    pub const fn is_running(self) -> bool {
        match self {
            Self::Open | Self::Paused => true,
            Self::Draft | Self::Scheduled | Self::Ended => false,
        }
    }

    /// Whether it was open at some time, unless it was ended as a draft.
    pub const fn has_begun(self) -> bool {
        match self {
            Self::Open | Self::Paused | Self::Ended => true,
            Self::Draft | Self::Scheduled => false,
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
