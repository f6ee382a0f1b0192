//! The background task that gives back the units of expired holds.

use std::{collections::HashMap, sync::Arc, time::Duration};

use flashsale_service::{Drain, Ticks, periodic};
use futures::StreamExt as _;
use tokio::{
    sync::watch::{self, Sender},
    time::Instant,
};
use uuid::Uuid;

use crate::{app::Inventory, domain::Refusal};

/// How often a stock is swept.
const SWEEP_EVERY: Duration = Duration::from_millis(250);
/// How often a stock is swept that can have no holds any more, or cannot be swept now.
const REST_EVERY: Duration = Duration::from_secs(2);
/// How often the list of stocks is read.
const LIST_EVERY: Duration = Duration::from_secs(1);
/// How many holds one run of the script ends: bounded, because a run blocks the store for all
/// others.
const BATCH: usize = 200;
/// How many runs a stock gets before the others have their turn.
const MAX_BATCHES: usize = 25;
/// How many stocks are swept at once.
const AT_ONCE: usize = 8;

/// Sweeps every loaded stock until the drain starts.
///
/// # Errors
/// None: what cannot be swept now is swept later.
pub async fn run(inventory: Arc<Inventory>, drain: Drain) -> anyhow::Result<()> {
    let (sender, receiver) = watch::channel(Vec::new());
    let sweeps = async {
        let mut due: HashMap<(Uuid, i64), Instant> = HashMap::new();
        let mut ticks = Ticks::new(SWEEP_EVERY, &drain);
        while ticks.next().await {
            let stocks: Vec<(Uuid, i64)> = receiver.borrow().clone();
            due.retain(|stock, _| stocks.contains(stock));
            let now = Instant::now();
            let inventory = &inventory;
            let swept: Vec<_> = futures::stream::iter(stocks)
                .filter(|stock| std::future::ready(due.get(stock).is_none_or(|at| *at <= now)))
                .map(|stock| async move { (stock, sweep(inventory, stock).await) })
                .buffer_unordered(AT_ONCE)
                .collect()
                .await;
            for (stock, rests) in swept {
                due.insert(stock, now + if rests { REST_EVERY } else { Duration::ZERO });
            }
        }
    };
    tokio::join!(follow_list(&inventory, &drain, sender), sweeps);
    Ok(())
}

/// Keeps the list of stocks up to date. While Postgres is away the last list stays.
async fn follow_list(inventory: &Inventory, drain: &Drain, sender: Sender<Vec<(Uuid, i64)>>) {
    periodic(LIST_EVERY, drain, || async {
        match inventory.loaded_sales().await {
            Ok(stocks) => {
                sender.send_replace(stocks);
            }
            Err(refusal) => tracing::debug!(?refusal, "the list of stocks cannot be read"),
        }
    })
    .await;
}

/// Sweeps one stock; true if it may be swept less often.
async fn sweep(inventory: &Inventory, (sale_id, epoch): (Uuid, i64)) -> bool {
    for _ in 0..MAX_BATCHES {
        match inventory.sweep(sale_id, epoch, BATCH).await {
            Ok(swept) if swept.ended > 0 => {
                tracing::debug!(%sale_id, epoch, holds = swept.ended, "holds expired");
                if swept.ended < BATCH {
                    return false;
                }
            }
            Ok(swept) => return swept.over,
            Err(Refusal::Fenced) => return true,
            Err(refusal) => {
                tracing::debug!(%sale_id, epoch, ?refusal, "not swept");
                return true;
            }
        }
    }
    false
}
