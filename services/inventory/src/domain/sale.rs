//! What inventory knows of a sale.

use flashsale_record::{SaleState, chargeable};

use super::MAX_TOTAL_MINOR;

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
}

impl Rules {
    /// The highest total of one hold, in minor units: no more than one order can be charged.
    pub fn max_total_minor(&self) -> i64 {
        chargeable(&self.currency).map_or(MAX_TOTAL_MINOR, |limits| limits.max_minor)
    }
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
}
