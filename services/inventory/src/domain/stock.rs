//! What is read of a sale's stock.

use std::time::Duration;

use flashsale_record::SaleState;

/// The books of one sku: `allotted = available + held + placed + sold`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkuBooks {
    pub sku: String,
    /// Units the sale may sell.
    pub allotted: i64,
    /// Units that can be taken.
    pub available: i64,
    /// Units in holds with a deadline.
    pub held: i64,
    /// Units in orders that are not settled.
    pub placed: i64,
    pub sold: i64,
    /// The price of one unit in the sale, in minor units.
    pub price_minor: i64,
    /// The revision of the sale's prices that set it.
    pub price_revision: i64,
    /// The price of one unit outside the sale, in minor units, if the shop has said so.
    pub regular_minor: Option<i64>,
    /// The most units of one buyer; 0 means any number.
    pub per_buyer_limit: i64,
}

/// The rules of a sale beside its stock, and what the store's clock makes of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// Raised by every change of the sale.
    pub version: i64,
    pub state: SaleState,
    /// The start of the sale's window, in milliseconds since 1970.
    pub starts_ms: i64,
    /// The end of the window.
    pub ends_ms: i64,
    /// The window has begun.
    pub begun: bool,
    /// The window has passed.
    pub over: bool,
    /// ISO 4217 code of every price.
    pub currency: String,
    /// The last revision of the sale's prices that has taken effect.
    pub price_revision: i64,
    /// When the next one does, in milliseconds since 1970.
    pub next_prices_ms: Option<i64>,
}

/// What a sale offers at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It has not begun.
    Before,
    OnSale,
    /// Held up by the shop.
    Paused,
    /// It sells, but nothing of what was read is available.
    SoldOut,
    /// It has ended or was called off.
    After,
}

/// A sale's stock. The books of each sku are as of one instant, and those of all skus under the
/// same terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StockView {
    /// The books, by sku.
    pub skus: Vec<SkuBooks>,
    pub terms: Terms,
    pub epoch: i64,
    /// When the first of them were read, in milliseconds of the store's clock.
    pub read_ms: i64,
}

impl StockView {
    pub fn phase(&self) -> Phase {
        let Terms { state, begun, over, .. } = self.terms;
        match state {
            SaleState::Ended | SaleState::Cancelled => Phase::After,
            SaleState::Draft | SaleState::Scheduled => Phase::Before,
            SaleState::Prepared | SaleState::Open | SaleState::Paused if over => Phase::After,
            SaleState::Prepared | SaleState::Open | SaleState::Paused if !begun => Phase::Before,
            SaleState::Paused => Phase::Paused,
            SaleState::Prepared | SaleState::Open => {
                let available = self.skus.iter().any(|books| books.available > 0);
                if available { Phase::OnSale } else { Phase::SoldOut }
            }
        }
    }

    /// Whether the sale's prices are what a unit costs: while its window lasts.
    pub fn at_sale_prices(&self) -> bool {
        match self.phase() {
            Phase::Before | Phase::After => false,
            Phase::OnSale | Phase::Paused | Phase::SoldOut => true,
        }
    }

    /// How long after the reading the clock begins or ends the sale, or changes its prices; `None`
    /// if it will not any more.
    pub fn turns_in(&self) -> Option<Duration> {
        let Terms { starts_ms, ends_ms, begun, over, next_prices_ms, .. } = self.terms;
        [(begun, starts_ms), (over, ends_ms)]
            .into_iter()
            .filter(|(passed, _)| !passed)
            .map(|(_, at_ms)| at_ms)
            .chain(next_prices_ms)
            .filter_map(|at_ms| u64::try_from(at_ms - self.read_ms).ok())
            .min()
            .map(Duration::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(state: SaleState, (begun, over): (bool, bool), available: i64) -> StockView {
        let books = SkuBooks {
            sku: "a".to_owned(),
            allotted: 5,
            available,
            held: 5 - available,
            placed: 0,
            sold: 0,
            price_minor: 1,
            price_revision: 1,
            regular_minor: None,
            per_buyer_limit: 0,
        };
        let none = SkuBooks { sku: "b".to_owned(), available: 0, held: 5, ..books.clone() };
        let currency = "EUR".to_owned();
        let terms = Terms {
            version: 1,
            state,
            starts_ms: 1_000,
            ends_ms: 3_000,
            begun,
            over,
            currency,
            price_revision: 1,
            next_prices_ms: None,
        };
        StockView { skus: vec![none, books], terms, epoch: 1, read_ms: 500 }
    }

    #[test]
    fn phase_follows_state_window_and_units() {
        let (before, within, after) = ((false, false), (true, false), (true, true));
        for (state, window, available, phase) in [
            (SaleState::Draft, within, 5, Phase::Before),
            (SaleState::Scheduled, after, 5, Phase::Before),
            (SaleState::Prepared, before, 5, Phase::Before),
            (SaleState::Open, before, 0, Phase::Before),
            (SaleState::Paused, before, 5, Phase::Before),
            (SaleState::Prepared, within, 5, Phase::OnSale),
            (SaleState::Open, within, 1, Phase::OnSale),
            (SaleState::Open, within, 0, Phase::SoldOut),
            (SaleState::Paused, within, 0, Phase::Paused),
            (SaleState::Open, after, 5, Phase::After),
            (SaleState::Paused, after, 5, Phase::After),
            (SaleState::Ended, within, 5, Phase::After),
            (SaleState::Cancelled, before, 5, Phase::After),
        ] {
            assert_eq!(view(state, window, available).phase(), phase, "{state} {window:?}");
        }
    }

    #[test]
    fn clock_turns_at_start_then_at_end() {
        let turns_in = |window| view(SaleState::Open, window, 1).turns_in();
        assert_eq!(turns_in((false, false)), Some(Duration::from_millis(500)));
        assert_eq!(turns_in((true, false)), Some(Duration::from_millis(2_500)));
        assert_eq!(turns_in((true, true)), None);
        let mut repriced = view(SaleState::Open, (true, false), 1);
        repriced.terms.next_prices_ms = Some(700);
        assert_eq!(repriced.turns_in(), Some(Duration::from_millis(200)));
    }
}
