//! Inventory dies by SIGKILL before or after each of its steps, is started again, and everything it
//! was at is brought to its end.

use std::{sync::OnceLock, time::Duration};

use flashsale_failpoint::KILL_AT;
use flashsale_inventory::steps;
use flashsale_proto::inventory::{
    GetStockRequest, inventory_service_client::InventoryServiceClient,
};
use rand::Rng as _;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::tour::Tour;
use crate::{
    figures::Figures,
    patience::until_some,
    platform::{Platform, Sale},
    points::{self, Point},
    schedule,
    task::Task,
};

const POLL: Duration = Duration::from_millis(5);
const ANSWERS_WITHIN: Duration = Duration::from_secs(30);

/// The steps that a tour comes by. Prices change in the suite of planned sales.
pub(super) fn steps_toured() -> impl Iterator<Item = &'static str> {
    let all = steps::all().into_iter();
    all.filter(|step| !schedule::INVENTORY_STEPS_OF_PRICES.contains(step))
}

/// Kills inventory at each of its points in turn, in as many sales; in the short form at some.
pub(super) async fn run(task: &mut Task, figures: &mut Figures) -> anyhow::Result<()> {
    points::each(task, figures, steps_toured(), times, |task, point, figures| {
        Box::pin(at(task, point, figures))
    })
    .await
}

/// How often a step is come by at least, in a tour.
fn times(step: &str) -> u32 {
    match step {
        "inventory/reserve" | "inventory/place" => 4,
        "inventory/sweep" | "inventory/list_placed" | "sql/loaded_sales" | "sql/lookup" => 3,
        "inventory/settle" | "load/claim" | "load/publish" | "sql/fence_passed" => 2,
        _ => 1,
    }
}

/// One tour with one point armed; whether inventory came by.
async fn at(task: &mut Task, point: Point, figures: &mut Figures) -> anyhow::Result<bool> {
    let step = point.step;
    let seed = task.random.random();
    let (sale, enough) = (OnceLock::new(), CancellationToken::new());
    let early = match step {
        "commit/claim" | "sql/publish_stock" | "sql/sale_rules" | "inventory/sync" => true,
        // In the load that opens a sale, or in a rebuild.
        "inventory/load" | "load/claim" | "load/probe" | "load/publish" | "load/stage" => {
            task.random.random()
        }
        _ => false,
    };
    let arm = (KILL_AT, point.armed());
    let platform = &task.platform;
    if early {
        platform.services.inventory.restart(std::slice::from_ref(&arm)).await?;
    }
    let arm = Some(arm).filter(|_| !early);
    let tour = Tour { platform, step, arm, seed, sale: &sale, enough: &enough };
    let toured = async {
        let toured = tour.run().await;
        enough.cancel();
        toured
    };
    let minded = async {
        while !platform.services.inventory.was_killed().await {
            if enough.is_cancelled() {
                return anyhow::Ok(None);
            }
            sleep(POLL).await;
        }
        let since = Instant::now();
        enough.cancel();
        platform.services.inventory.restart(&[]).await?;
        // A sale that was not open yet has nothing to be open again.
        let closed = match sale.get() {
            Some(sale) => answers(platform, sale, since).await?,
            None => Duration::ZERO,
        };
        Ok(Some(closed))
    };
    let (toured, minded) = tokio::join!(toured, minded);
    let closed = minded?;
    match closed {
        Some(closed) => figures.reopened(closed),
        // Armed still: it must not die in another sale.
        None => platform.services.inventory.restart(&[]).await?,
    }
    let (sale, story) = toured?;
    task.conclude(&sale, &[story], figures).await?;
    Ok(closed.is_some())
}

/// How long after `since` the sale is open by the stores, and inventory says so.
async fn answers(platform: &Platform, sale: &Sale, since: Instant) -> anyhow::Result<Duration> {
    platform.reopened(sale, 0, since).await?;
    let client = InventoryServiceClient::new(platform.services.inventory.channel()?);
    until_some(ANSWERS_WITHIN, "inventory answers", async || {
        let request =
            GetStockRequest { sale_id: sale.id.to_string(), skus: Vec::new(), fresh: true };
        client.clone().get_stock(request).await.map(|_| Some(since.elapsed()))
    })
    .await
}
