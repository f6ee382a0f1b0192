//! Lines of orders.

use serde::{Deserialize, Serialize};

/// The most units of one sku in one order, also summed over its lines.
pub const MAX_LINE_UNITS: i64 = 10_000;

/// The revision of every price that its sale was prepared with.
pub const FIRST_PRICE_REVISION: i64 = 1;

/// Units of one sku at the price they were taken at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The shop's name of the unit.
    pub sku: String,
    /// Units.
    pub quantity: i64,
    /// The price of one unit, in minor units of the order's currency.
    pub unit_price_minor: i64,
    /// The revision of the sale's prices that set it. The first one is not written: a line without
    /// it is what the version before reads and writes.
    #[serde(default = "first_price_revision", skip_serializing_if = "is_first_price_revision")]
    pub price_revision: i64,
}

fn first_price_revision() -> i64 {
    FIRST_PRICE_REVISION
}

fn is_first_price_revision(revision: &i64) -> bool {
    *revision == FIRST_PRICE_REVISION
}
