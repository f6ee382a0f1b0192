//! A sale and the changes of its state.

use std::time::Duration;

use flashsale_record::SaleState;
use iso_currency::Currency;
use time::OffsetDateTime;
use uuid::Uuid;

/// Whether inventory and the waiting room have to be told of a sale that goes from `from` (`None`:
/// it is new) to `to`. They are not told of a sale that never opened: a draft that ends was never
/// loaded. This is the only place that decides it.
pub const fn must_be_told(from: Option<SaleState>, to: SaleState) -> bool {
    match (from, to) {
        (Some(from), SaleState::Ended) => from.has_begun(),
        (None, SaleState::Ended) => false,
        (_, to) => to.has_begun(),
    }
}

/// The waiting room of a sale.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Room {
    /// Buyers admitted per second.
    pub rate: f64,
    /// How long an admission may be used, in whole milliseconds.
    pub admission: Duration,
}

/// What the shop decides about a sale.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// What the shop calls it.
    pub name: String,
    /// The currency of every price.
    pub currency: Currency,
    /// When buyers may start.
    pub starts_at: OffsetDateTime,
    /// When new holds stop.
    pub ends_at: OffsetDateTime,
    /// How long units stay held, in whole milliseconds.
    pub hold: Duration,
    /// How long a buyer may take to authenticate a payment, in whole milliseconds, unless it is
    /// left to what payment is configured with.
    pub payment_patience: Option<Duration>,
    /// The waiting room, if there is one.
    pub room: Option<Room>,
}

/// One thing a sale offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The shop's name of the unit, unique within the sale.
    pub sku: String,
    /// What the buyer reads.
    pub title: String,
    /// The price of one unit, in minor units of the sale's currency.
    pub price_minor: i64,
    /// Units the sale may sell.
    pub quantity: i64,
    /// Units one buyer may hold and buy together; 0 means no limit.
    pub per_buyer_limit: i64,
}

/// A sale that is not recorded yet.
#[derive(Debug, Clone, PartialEq)]
pub struct NewSale {
    pub id: Uuid,
    /// What the shop decided.
    pub settings: Settings,
    /// What it offers.
    pub items: Vec<Item>,
}

/// A sale as it is recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct Sale {
    pub id: Uuid,
    /// What the shop decided.
    pub settings: Settings,
    pub state: SaleState,
    /// What it offers, by sku; empty where only the sale itself was read.
    pub items: Vec<Item>,
    /// Raised by every change.
    pub version: i64,
    /// The last version that needs no more telling to inventory and the waiting room.
    pub propagated_version: i64,
    /// When its report was first final.
    pub final_at: Option<OffsetDateTime>,
    /// When it was created.
    pub created_at: OffsetDateTime,
    /// When it last changed.
    pub updated_at: OffsetDateTime,
}

/// What a request changes about a sale's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StateChange {
    /// Nothing: it is in that state already.
    None,
    /// A new state.
    To {
        to: SaleState,
        /// Whether inventory and the waiting room have to be told.
        tell: bool,
    },
}

/// The state forbids the change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateConflict {
    /// The state of the sale.
    pub state: SaleState,
    /// Why it forbids the change, such as `it has ended`.
    pub why: &'static str,
}

impl Sale {
    /// Opens the sale, or resumes a paused one.
    ///
    /// # Errors
    /// When it has ended, or its window passed before it was opened.
    pub fn start(&self, now: OffsetDateTime) -> Result<StateChange, StateConflict> {
        match self.state {
            SaleState::Draft | SaleState::Scheduled | SaleState::Paused => {
                if self.settings.ends_at <= now {
                    return Err(StateConflict { state: self.state, why: "its window has passed" });
                }
                Ok(self.go(SaleState::Open))
            }
            SaleState::Open => Ok(StateChange::None),
            SaleState::Ended => Err(StateConflict { state: self.state, why: "it has ended" }),
        }
    }

    /// Ends the sale for good. Every sale may be ended.
    pub fn end(&self) -> StateChange {
        match self.state {
            SaleState::Draft | SaleState::Scheduled | SaleState::Open | SaleState::Paused => {
                self.go(SaleState::Ended)
            }
            SaleState::Ended => StateChange::None,
        }
    }

    fn go(&self, to: SaleState) -> StateChange {
        StateChange::To { to, tell: must_be_told(Some(self.state), to) }
    }

    /// Whether inventory and the waiting room know this version, or need not.
    pub fn is_propagated(&self) -> bool {
        self.propagated_version >= self.version
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use time::macros::datetime;

    use super::*;

    const STARTS: OffsetDateTime = datetime!(2026-11-23 18:00 UTC);
    const ENDS: OffsetDateTime = datetime!(2026-11-24 18:00 UTC);

    fn sale(state: SaleState) -> Sale {
        Sale {
            id: Uuid::from_u128(1),
            settings: Settings {
                name: "Spring drop".to_owned(),
                currency: Currency::EUR,
                starts_at: STARTS,
                ends_at: ENDS,
                hold: Duration::from_secs(600),
                payment_patience: None,
                room: None,
            },
            state,
            items: Vec::new(),
            version: 1,
            propagated_version: 1,
            final_at: None,
            created_at: STARTS,
            updated_at: STARTS,
        }
    }

    #[test]
    fn each_state_allows_its_changes() {
        let go = |to, tell| StateChange::To { to, tell };
        for (state, started, ended) in [
            (SaleState::Draft, Some(go(SaleState::Open, true)), go(SaleState::Ended, false)),
            (SaleState::Scheduled, Some(go(SaleState::Open, true)), go(SaleState::Ended, false)),
            (SaleState::Open, Some(StateChange::None), go(SaleState::Ended, true)),
            (SaleState::Paused, Some(go(SaleState::Open, true)), go(SaleState::Ended, true)),
            (SaleState::Ended, None, StateChange::None),
        ] {
            assert_eq!(sale(state).start(STARTS).ok(), started, "{state:?}");
            assert_eq!(sale(state).end(), ended, "{state:?}");
        }
    }

    #[test]
    fn a_lapsed_sale_does_not_open() {
        assert!(sale(SaleState::Draft).start(ENDS - time::Duration::MILLISECOND).is_ok());
        let conflict = sale(SaleState::Draft).start(ENDS).unwrap_err();
        assert_eq!(conflict.why, "its window has passed");
        assert_eq!(sale(SaleState::Open).start(ENDS), Ok(StateChange::None));
    }

    #[test]
    fn an_unopened_sale_is_not_told() {
        assert!(!must_be_told(None, SaleState::Draft));
        assert!(!must_be_told(Some(SaleState::Draft), SaleState::Ended));
        assert!(must_be_told(Some(SaleState::Open), SaleState::Ended));
    }
}
