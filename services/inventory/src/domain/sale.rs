//! What inventory knows of a sale.

use flashsale_record::{SaleState, chargeable};

use super::{MAX_TOTAL_MINOR, Switch};

/// The rules that stand beside the stock. Times are milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Raised by every change of the sale.
    pub version: i64,
    /// Only an open sale sells.
    pub state: SaleState,
    /// ISO 4217 code of every price.
    pub currency: String,
    /// The start of the sale's window.
    pub starts_ms: i64,
    /// The end of the window: no new hold is taken after it.
    pub ends_ms: i64,
    pub hold_ms: i64,
    /// Whether holds need an admission.
    pub room: bool,
    /// The sale is to be called off if it has not begun.
    pub cancel_requested: bool,
    /// It has begun by the clock of the record, or by an order in it, which alone counts for a sale
    /// that is to be called off: units that were not ordered are lost with their stock. A store
    /// whose clock is behind does not undo that.
    pub begun: bool,
    /// Its window has passed by the clock of the record.
    pub over: bool,
}

impl Rules {
    /// The state to stand beside the stock. A prepared sale is open there: its window decides, with
    /// nothing to be done at the start. One that is to be called off is never loaded as open, unless
    /// it has begun.
    pub const fn state_at_stock(&self) -> SaleState {
        match self.state {
            SaleState::Prepared if self.cancel_requested && !self.begun => SaleState::Cancelled,
            SaleState::Prepared => SaleState::Open,
            SaleState::Draft
            | SaleState::Scheduled
            | SaleState::Open
            | SaleState::Paused
            | SaleState::Ended
            | SaleState::Cancelled => self.state,
        }
    }

    /// The highest total of one hold, in minor units: no more than one order can be charged.
    pub fn max_total_minor(&self) -> i64 {
        chargeable(&self.currency).map_or(MAX_TOTAL_MINOR, |limits| limits.max_minor)
    }
}

/// How a sale stands beside its stock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Synced {
    /// The version of its rules.
    pub version: i64,
    /// It is called off: it does not open any more.
    pub cancelled: bool,
    /// Its window has passed there: it does not open again.
    pub over: bool,
    /// When the revisions of its prices that stand there take effect.
    pub switches: Vec<Switch>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    pub sku: String,
    /// The price of one unit, in minor units.
    pub price_minor: i64,
    /// The units the sale may sell.
    pub quantity: i64,
    /// The most units of one buyer; 0 means any number.
    pub per_buyer_limit: i64,
    /// The price of one unit outside the sale, in minor units, if the shop has said so.
    pub regular_minor: Option<i64>,
    /// The revision of the sale's prices that set this one's.
    pub price_revision: i64,
}
