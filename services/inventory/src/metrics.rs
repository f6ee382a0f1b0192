//! The metrics of inventory.

use flashsale_telemetry::Snapshot;
use opentelemetry::{KeyValue, metrics::Counter};
use uuid::Uuid;

use crate::domain::SkuBooks;

/// Counters that calls raise.
#[derive(Debug)]
pub struct Counters {
    pub rebuilds: Counter<u64>,
    /// Calls that were refused, by `reason`.
    pub refusals: Counter<u64>,
    /// Holds that a sweep ended.
    pub swept: Counter<u64>,
}

impl Counters {
    /// All at 0.
    pub fn new() -> Self {
        let meter = flashsale_telemetry::meter();
        let counters = Self {
            rebuilds: meter
                .u64_counter("flashsale_inventory_rebuilds")
                .with_unit("{rebuild}")
                .with_description(
                    "Stocks that were computed anew from the record and opened under a new epoch.",
                )
                .build(),
            refusals: meter
                .u64_counter("flashsale_inventory_refusals")
                .with_unit("{call}")
                .with_description("Calls that were not done, by what kept them.")
                .build(),
            swept: meter
                .u64_counter("flashsale_inventory_swept_holds")
                .with_unit("{hold}")
                .with_description("Holds whose deadline passed and whose units were given back.")
                .build(),
        };
        // A series that begins at 0 shows its first increase; dashboards use these reasons.
        for reason in ["sold_out", "buyer_limit", "admission", "fenced"] {
            counters.refusals.add(0, &[KeyValue::new("reason", reason)]);
        }
        counters.swept.add(0, &[]);
        counters.rebuilds.add(0, &[]);
        counters
    }
}

/// The units of one sale, over all its skus.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SaleUnits {
    allotted: i64,
    available: i64,
    held: i64,
    placed: i64,
    sold: i64,
    /// Held, placed and sold beyond what was allotted, sku by sku.
    oversold: i64,
}

impl SaleUnits {
    pub fn of(skus: &[SkuBooks]) -> Self {
        skus.iter().fold(Self::default(), |sum, sku| Self {
            allotted: sum.allotted + sku.allotted,
            available: sum.available + sku.available,
            held: sum.held + sku.held,
            placed: sum.placed + sku.placed,
            sold: sum.sold + sku.sold,
            oversold: sum.oversold + (sku.held + sku.placed + sku.sold - sku.allotted).max(0),
        })
    }

    /// With as many units oversold as a comparison of the stores found, if those are more.
    pub fn with_oversold(self, compared: i64) -> Self {
        Self { oversold: self.oversold.max(compared), ..self }
    }
}

/// The units of a sale; `None` where its stock cannot be read.
pub type SaleStock = (Uuid, Option<SaleUnits>);

pub fn show(stocks: &Snapshot<Vec<SaleStock>>) {
    let sale = |sale_id: &Uuid| KeyValue::new("sale_id", sale_id.to_string());
    stocks.gauge(
        "flashsale_stock_units",
        "{unit}",
        "Units of a sale, by where they are: allotted is what there is, and the sum of the others.",
        move |stocks, gauge| {
            for (sale_id, units) in stocks {
                let Some(units) = units else { continue };
                for (state, count) in [
                    ("allotted", units.allotted),
                    ("available", units.available),
                    ("held", units.held),
                    ("placed", units.placed),
                    ("sold", units.sold),
                ] {
                    gauge.observe(count as f64, &[sale(sale_id), KeyValue::new("state", state)]);
                }
            }
        },
    );
    stocks.gauge(
        "flashsale_oversold_units",
        "{unit}",
        "Units promised beyond what was allotted: by the stock in Redis or by the last comparison of the stores, the worse. Anything but 0 is an incident.",
        move |stocks, gauge| {
            for (sale_id, units) in stocks {
                if let Some(units) = units {
                    gauge.observe(units.oversold as f64, &[sale(sale_id)]);
                }
            }
        },
    );
    stocks.gauge(
        "flashsale_stock_readable",
        "{sale}",
        "1 if the sale's stock could be read, 0 if it is fenced or Redis did not answer: then nothing of it is sold.",
        move |stocks, gauge| {
            for (sale_id, units) in stocks {
                gauge.observe(f64::from(u8::from(units.is_some())), &[sale(sale_id)]);
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spare_units_do_not_hide_oversell() {
        let sku = |sku: &str, allotted, sold, held| SkuBooks {
            sku: sku.to_owned(),
            allotted,
            available: allotted - sold - held,
            held,
            placed: 0,
            sold,
            price_minor: 1,
            price_revision: 1,
            regular_minor: None,
            per_buyer_limit: 0,
        };
        let units = SaleUnits::of(&[sku("A", 10, 1, 0), sku("B", 5, 5, 2)]);
        assert_eq!((units.allotted, units.sold, units.held), (15, 6, 2));
        assert_eq!(units.oversold, 2);
    }
}
