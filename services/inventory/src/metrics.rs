//! The stock of the sales that are on, for whoever looks at the metrics: read now and then beside the calls, never within one.

use std::{sync::Arc, time::Duration};

use flashsale_service::Drain;
use flashsale_telemetry::{Snapshot, StoresUp};
use futures::StreamExt as _;
use opentelemetry::KeyValue;
use tokio::time::{MissedTickBehavior, interval};
use uuid::Uuid;

use crate::{
    app::Inventory,
    domain::{Refusal, SkuBooks, StockView},
};

/// How often the stocks are read: one script each.
const EVERY: Duration = Duration::from_secs(5);
/// Sales that are shown, the latest first: each is a few time series.
const WATCHED_SALES: i64 = 20;
/// Stocks read at once.
const AT_ONCE: usize = 4;

/// One sale's stock, over all its skus.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Units {
    allotted: i64,
    available: i64,
    held: i64,
    placed: i64,
    sold: i64,
    /// Held, placed and sold beyond what was allotted, sku by sku.
    oversold: i64,
}

impl Units {
    fn of(skus: &[SkuBooks]) -> Self {
        skus.iter().fold(Self::default(), |sum, sku| Self {
            allotted: sum.allotted + sku.allotted,
            available: sum.available + sku.available,
            held: sum.held + sku.held,
            placed: sum.placed + sku.placed,
            sold: sum.sold + sku.sold,
            oversold: sum.oversold + (sku.held + sku.placed + sku.sold - sku.allotted).max(0),
        })
    }
}

/// What was found of a sale; no units where its stock cannot be read.
type Found = (Uuid, Option<Units>);

/// Reads the stocks until the drain starts.
///
/// # Errors
/// None; the signature is a background task's.
pub(crate) async fn measure(inventory: Arc<Inventory>, drain: Drain) -> anyhow::Result<()> {
    let stocks = Snapshot::<Vec<Found>>::default();
    let stores = StoresUp::new("inventory");
    show(&stocks);
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sales = Vec::new();
    loop {
        tokio::select! {
            () = drain.started() => return Ok(()),
            _ = ticks.tick() => {}
        }
        // While Postgres is away the sales known last are still looked at.
        let listed = inventory.watched_sales(WATCHED_SALES).await;
        stores.set("postgres", listed.is_ok());
        if let Ok(listed) = listed {
            sales = listed;
        }
        let inventory = &inventory;
        let read: Vec<(Uuid, Result<StockView, Refusal>)> = futures::stream::iter(sales.clone())
            .map(|sale| async move { (sale, inventory.read(sale, &[]).await) })
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        let away = |read: &Result<StockView, Refusal>| {
            matches!(
                read,
                Err(Refusal::StoreAway { store: "redis", .. }
                    | Refusal::Unanswered
                    | Refusal::TooLate)
            )
        };
        // Without a sale nobody has asked Redis anything.
        if !read.is_empty() {
            stores.set("redis", !read.iter().any(|(_, read)| away(read)));
        }
        let found = read.into_iter().map(|(sale, read)| {
            (sale, read.ok().map(|view| worst(&view, inventory.oversold(sale))))
        });
        stocks.set(Some(found.collect()));
    }
}

/// The units of a stock; oversold by these books or by the last comparison of the stores, whichever has more.
fn worst(view: &StockView, compared: i64) -> Units {
    let units = Units::of(&view.skus);
    Units { oversold: units.oversold.max(compared), ..units }
}

fn show(stocks: &Snapshot<Vec<Found>>) {
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
    fn a_sku_with_units_to_spare_does_not_hide_one_that_is_oversold() {
        let sku = |sku: &str, allotted, sold, held| SkuBooks {
            sku: sku.to_owned(),
            allotted,
            available: allotted - sold - held,
            held,
            placed: 0,
            sold,
        };
        let units = Units::of(&[sku("A", 10, 1, 0), sku("B", 5, 5, 2)]);
        assert_eq!((units.allotted, units.sold, units.held), (15, 6, 2));
        assert_eq!(units.oversold, 2);
    }
}
