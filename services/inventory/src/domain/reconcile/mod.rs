//! The differences between the stock in Redis, the queue and the record, as a function of what was
//! read of them.
//!
//! The stores are read one after the other, and a large sale page by page while it sells, so the
//! sums over the holds are not exact but lie between two bounds. A hold only moves forward and is
//! never removed: one that has the same state in a reading before the books and in one after them
//! had it when they were read; any other may have had any state.

use std::collections::BTreeMap;

mod difference;
mod holds;
mod seen;
mod units;

#[cfg(test)]
mod tests;

pub use difference::{Difference, Kind, Repair};
pub use holds::{SETTLE_GRACE_MS, SWEEP_GRACE_MS, of_holds, of_messages};
pub use seen::{
    Holds, MESSAGE_GRACE_MS, OrderStanding, SeenHold, SeenOrder, SkuRecord, UnitTotals,
};
pub use units::{of_record, of_units};

/// All differences. `holds` has every hold of the sale.
pub fn differences(units: &UnitTotals, holds: &Holds) -> Vec<Difference> {
    let mut found = of_units(units, &holds.holds);
    found.extend(of_record(units));
    found.extend(of_holds(holds));
    found
}

/// Units promised beyond what is allotted, by sku, according to the worse of both stores.
pub fn oversold(units: &UnitTotals) -> i64 {
    let mut worst: BTreeMap<&str, i64> = BTreeMap::new();
    for sku in &units.books {
        let beyond = sku.held + sku.placed + sku.sold - sku.allotted;
        let worst = worst.entry(&sku.sku).or_default();
        *worst = beyond.max(*worst);
    }
    for sku in &units.record {
        let beyond = sku.claimed.max(sku.ordered) - sku.allotted;
        let worst = worst.entry(&sku.sku).or_default();
        *worst = beyond.max(*worst);
    }
    worst.values().sum()
}
