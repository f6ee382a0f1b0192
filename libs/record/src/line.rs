//! Lines of orders.

use serde::{Deserialize, Serialize};

/// The most units of one sku in one order, also summed over its lines.
pub const MAX_LINE_UNITS: i64 = 10_000;

/// Units of one sku at the price they were taken at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The shop's name of the unit.
    pub sku: String,
    /// Units.
    pub quantity: i64,
    /// The price of one unit, in minor units of the order's currency.
    pub unit_price_minor: i64,
}
