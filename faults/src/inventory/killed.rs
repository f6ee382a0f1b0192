//! Inventory dies by SIGKILL before or after each of its steps, is started again, and everything it was at is brought to its end.

use std::{sync::OnceLock, time::Duration};

use flashsale_failpoint::{KILL_AT, Moment};
use flashsale_inventory::steps;
use flashsale_proto::inventory::{
    GetStockRequest, inventory_service_client::InventoryServiceClient,
};
use rand::{Rng as _, seq::SliceRandom as _};
use serde_json::json;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::tour::Tour;
use crate::{
    figures::Figures,
    patience::until_some,
    platform::{Platform, Sale},
    task::Task,
};

const POLL: Duration = Duration::from_millis(5);
const ANSWERS_WITHIN: Duration = Duration::from_secs(30);

/// Kills inventory at each of its points in turn, in as many sales; in the short form at some.
pub(super) async fn run(task: &mut Task) -> anyhow::Result<Figures> {
    let mut figures = task.figures();
    let mut points: Vec<(&str, Moment)> = steps::all()
        .into_iter()
        .flat_map(|step| Moment::ALL.map(|moment| (step, moment)))
        .collect();
    points.shuffle(&mut task.random);
    let asked = usize::try_from(task.asked)?;
    let mut unreached = Vec::new();
    for (step, moment) in points.iter().copied().cycle().take(asked) {
        // In the middle of things, not always at the first of its kind; but rather there than never.
        let count = task.random.random_range(1..=times(step));
        let mut reached = at(task, step, moment, count, &mut figures).await?;
        if !reached && count > 1 {
            reached = at(task, step, moment, 1, &mut figures).await?;
        }
        if reached {
            figures.runs += 1;
        } else {
            unreached.push(format!("{step}:{moment}"));
        }
    }
    figures.expect(unreached.is_empty(), || format!("never came by {}", unreached.join(", ")));
    figures.count("points", points.len() as u64);
    figures.count("points_asked", asked.min(points.len()) as u64);
    figures
        .count("points_hit", (asked.min(points.len()) - unreached.len().min(points.len())) as u64);
    figures.more.insert("points_not_hit".to_owned(), json!(unreached));
    Ok(figures)
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
async fn at(
    task: &mut Task,
    step: &str,
    moment: Moment,
    count: u32,
    figures: &mut Figures,
) -> anyhow::Result<bool> {
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
    let arm = (KILL_AT, format!("{step}:{moment}:{count}"));
    let platform = &task.platform;
    if early {
        platform.inventory.restart(std::slice::from_ref(&arm)).await?;
    }
    let arm = Some(arm).filter(|_| !early);
    let tour = Tour { platform, step, arm, seed, sale: &sale, enough: &enough };
    let toured = async {
        let toured = tour.run().await;
        enough.cancel();
        toured
    };
    let minded = async {
        while !platform.inventory.was_killed().await {
            if enough.is_cancelled() {
                return anyhow::Ok(None);
            }
            sleep(POLL).await;
        }
        let since = Instant::now();
        enough.cancel();
        platform.inventory.restart(&[]).await?;
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
        // Armed still: it must not die in somebody else's sale.
        None => platform.inventory.restart(&[]).await?,
    }
    let (sale, story) = toured?;
    task.conclude(&sale, &[story], figures).await?;
    Ok(closed.is_some())
}

/// How long after `since` the sale is open by the stores, and inventory says so.
async fn answers(platform: &Platform, sale: &Sale, since: Instant) -> anyhow::Result<Duration> {
    platform.reopened(sale, 0, since).await?;
    let client = InventoryServiceClient::new(platform.inventory.channel()?);
    until_some(ANSWERS_WITHIN, "inventory answers", async || {
        let request = GetStockRequest { sale_id: sale.id.to_string(), skus: Vec::new() };
        client.clone().get_stock(request).await.map(|_| Some(since.elapsed()))
    })
    .await
}
