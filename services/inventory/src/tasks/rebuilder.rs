//! The background task that rebuilds stock which was found closed.

use std::{collections::HashSet, sync::Arc, time::Duration};

use flashsale_service::Drain;
use tokio::{
    task::JoinSet,
    time::{Instant, timeout},
};
use uuid::Uuid;

use crate::app::Inventory;

/// How often to look for rebuilds that another instance has begun and not ended.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The pause after a rebuild that failed.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// The most rebuilds that this instance runs at once: far more than there are sales at once. Each
/// waits for its own marker, and takes one of the few load permits only after it.
const AT_ONCE: usize = 200;

/// Rebuilds stocks that were found closed, until the drain starts. A stock that cannot be rebuilt
/// now is found closed again. A sale that waits for its marker does not block others.
///
/// # Errors
/// None; the signature is a background task's.
pub async fn run(inventory: Arc<Inventory>, drain: Drain) -> anyhow::Result<()> {
    let ended = drain.token();
    let mut waiting: HashSet<Uuid> = HashSet::new();
    let mut running: HashSet<Uuid> = HashSet::new();
    let mut rebuilds: JoinSet<Uuid> = JoinSet::new();
    let mut looked = Instant::now();
    loop {
        tokio::select! {
            // Dropping the set cancels rebuilds under way; the next instance takes over once their
            // leases expire.
            () = ended.cancelled() => return Ok(()),
            Some(done) = rebuilds.join_next() => match done {
                Ok(sale_id) => { running.remove(&sale_id); }
                Err(error) => {
                    tracing::error!(%error, "a rebuild has failed");
                    running.clear();
                }
            },
            _ = timeout(LOOK_EVERY, inventory.closed_sales().noticed()) => {}
        }
        waiting.extend(inventory.closed_sales().take());
        // Every call to a closed sale adds it here: the record is not asked for each of them.
        if looked.elapsed() >= LOOK_EVERY {
            looked = Instant::now();
            if let Ok(cut_off) = inventory.rebuilds_cut_off().await {
                waiting.extend(cut_off);
            }
        }
        // A sale that is being rebuilt is dropped: if the rebuild fails, it is found closed again.
        // At the bound all other sales stay for a later round.
        waiting.retain(|sale_id| {
            if running.contains(sale_id) || running.len() >= AT_ONCE {
                return !running.contains(sale_id);
            }
            running.insert(*sale_id);
            let (inventory, sale_id) = (Arc::clone(&inventory), *sale_id);
            rebuilds.spawn(async move {
                if let Err(refusal) = inventory.rebuild(sale_id, false).await {
                    tracing::debug!(%sale_id, ?refusal, "not rebuilt");
                    // Every call finds the sale closed: four attempts a second are enough.
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
                sale_id
            });
            false
        });
    }
}
