//! The background task that reads the stock of current sales for the metrics, apart from the calls.

use std::{sync::Arc, time::Duration};

use flashsale_service::{Drain, Ticks};
use flashsale_telemetry::{Snapshot, StoresUp};
use futures::StreamExt as _;
use uuid::Uuid;

use crate::{
    app::{Inventory, readings::Readings},
    domain::{Refusal, StockView},
    metrics::{SaleStock, SaleUnits, show},
};

/// How often the stocks are read.
const EVERY: Duration = Duration::from_secs(5);
/// How many sales are shown, the latest first: each is a few time series.
const WATCHED_SALES: i64 = 20;
/// How many stocks are read at once.
const AT_ONCE: usize = 4;

/// Reads the stocks until the drain starts.
///
/// # Errors
/// None; the signature is a background task's.
pub async fn run(
    inventory: Arc<Inventory>,
    readings: Readings,
    drain: Drain,
) -> anyhow::Result<()> {
    let stocks = Snapshot::<Vec<SaleStock>>::default();
    let stores = StoresUp::new("inventory");
    show(&stocks);
    let mut sales = Vec::new();
    let mut ticks = Ticks::new(EVERY, &drain);
    while ticks.next().await {
        // While Postgres is away the last known sales are read on.
        let listed = inventory.watched_sales(WATCHED_SALES).await;
        stores.set("postgres", listed.is_ok());
        if let Ok(listed) = listed {
            sales = listed;
        }
        let readings = &readings;
        let read: Vec<(Uuid, Result<Arc<StockView>, Refusal>)> =
            futures::stream::iter(sales.clone())
                .map(|sale| async move { (sale, readings.shared(sale).await) })
                .buffer_unordered(AT_ONCE)
                .collect()
                .await;
        let away = |read: &Result<Arc<StockView>, Refusal>| {
            matches!(
                read,
                Err(Refusal::StoreAway { store: "redis", .. }
                    | Refusal::Unanswered
                    | Refusal::TooLate)
            )
        };
        // Without a sale Redis was not asked.
        if !read.is_empty() {
            stores.set("redis", !read.iter().any(|(_, read)| away(read)));
        }
        let found = read.into_iter().map(|(sale, read)| {
            let units = |view: Arc<StockView>| {
                SaleUnits::of(&view.skus).with_oversold(inventory.oversold(sale))
            };
            (sale, read.ok().map(units))
        });
        stocks.set(Some(found.collect()));
    }
    Ok(())
}
