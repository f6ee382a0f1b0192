//! The background task that compares the stores and has what the record proves repaired.

use std::{sync::Arc, time::Duration};

use flashsale_service::Drain;
use flashsale_telemetry::Snapshot;
use opentelemetry::KeyValue;
use tokio::time::Instant;
use uuid::Uuid;

use crate::app::{
    Inventory,
    reconcile::{Report, SECOND_LOOK_AFTER},
};

/// The pause after a comparison, as a multiple of the time it took.
const REST_PER_WORK: u32 = 19;
/// The longest such pause.
const LONGEST_REST: Duration = Duration::from_secs(300);
/// How many sales are compared, the latest first.
const WATCHED_SALES: i64 = 20;

type Shown = (Uuid, Report);

/// Compares current sales one after the other, until the drain starts.
///
/// # Errors
/// None: what cannot be compared now is compared later.
pub async fn run(inventory: Arc<Inventory>, every: Duration, drain: Drain) -> anyhow::Result<()> {
    let shown = Snapshot::<Vec<Shown>>::default();
    show(&shown);
    let mut rest = Duration::ZERO;
    loop {
        tokio::select! {
            () = drain.started() => return Ok(()),
            () = tokio::time::sleep(rest) => {}
        }
        let round = async {
            let sales = match inventory.watched_sales(WATCHED_SALES).await {
                Ok(sales) => sales,
                Err(refusal) => {
                    tracing::debug!(?refusal, "the list of sales cannot be read");
                    Vec::new()
                }
            };
            let (mut found, mut work) = (Vec::with_capacity(sales.len()), Duration::ZERO);
            for sale_id in sales {
                let began = Instant::now();
                match inventory.reconcile(sale_id, true).await {
                    Ok(report) => {
                        // Neither the wait for the second reading nor one for a store that is away
                        // is work.
                        let waited = SECOND_LOOK_AFTER * u32::from(report.looked_twice);
                        work += began.elapsed().saturating_sub(waited);
                        tell(sale_id, &report);
                        found.push((sale_id, report));
                    }
                    Err(refusal) => tracing::debug!(%sale_id, ?refusal, "not compared"),
                }
            }
            (found, work)
        };
        // The next comparison makes a repair that is cancelled here.
        let (found, work) = tokio::select! {
            () = drain.started() => return Ok(()),
            done = round => done,
        };
        inventory
            .set_oversold(found.iter().map(|(sale, report)| (*sale, report.oversold)).collect());
        shown.set(Some(found));
        rest = rest_after(work, every);
    }
}

/// The pause after comparisons that took `took`. Comparing blocks the store for buyers, so a sale
/// with a million holds is compared less often, and not for half of the time.
fn rest_after(took: Duration, every: Duration) -> Duration {
    every.max(took.saturating_mul(REST_PER_WORK).min(LONGEST_REST))
}

fn tell(sale_id: Uuid, report: &Report) {
    for entry in &report.differences {
        tracing::warn!(
            %sale_id,
            epoch = report.epoch,
            kind = entry.kind.as_str(),
            sku = entry.sku,
            units = entry.units,
            holds = ?entry.hold_ids,
            repaired = entry.repaired,
            "the stores differ: {}",
            entry.what
        );
    }
}

fn show(shown: &Snapshot<Vec<Shown>>) {
    let sale = |sale_id: &Uuid| KeyValue::new("sale_id", sale_id.to_string());
    shown.gauge(
        "flashsale_stranded_units",
        "{unit}",
        "Units that are neither on sale nor held, placed or sold for anybody, as the last comparison of the stores has them.",
        move |shown, gauge| {
            for (sale_id, report) in shown {
                gauge.observe(report.stranded as f64, &[sale(sale_id)]);
            }
        },
    );
    shown.gauge(
        "flashsale_oldest_expired_hold",
        "s",
        "How long the oldest hold was past its deadline without having been given back, at the last comparison of the stores; 0 if there was none.",
        move |shown, gauge| {
            for (sale_id, report) in shown {
                gauge.observe(report.oldest_expired_ms as f64 / 1_000.0, &[sale(sale_id)]);
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pause_grows_with_comparison_time() {
        let every = Duration::from_secs(10);
        assert_eq!(rest_after(Duration::from_millis(20), every), every);
        assert_eq!(rest_after(Duration::from_secs(4), every), Duration::from_secs(76));
        assert_eq!(rest_after(Duration::from_secs(400), every), LONGEST_REST);
    }
}
