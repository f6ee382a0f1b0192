//! The background task that rebuilds stock which was found closed.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use flashsale_service::Drain;
use futures::StreamExt as _;
use tokio::{sync::Notify, time::timeout};
use uuid::Uuid;

use crate::inventory::Inventory;

/// How often rebuilds are looked for that another instance has begun and not ended.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Rebuilds of this instance at once.
const AT_ONCE: usize = 4;
/// Sales that wait to be looked at; what does not fit in is found closed again by the next call or sweep.
const CAPACITY: usize = 10_000;

/// Sales whose stock was found closed.
#[derive(Debug, Default)]
pub struct Fenced {
    sales: Mutex<HashSet<Uuid>>,
    found: Notify,
}

impl Fenced {
    /// Has a sale looked at soon.
    pub fn notice(&self, sale_id: Uuid) {
        let mut sales = self.sales.lock().unwrap_or_else(PoisonError::into_inner);
        if sales.len() < CAPACITY && sales.insert(sale_id) {
            self.found.notify_one();
        }
    }

    fn take(&self) -> HashSet<Uuid> {
        std::mem::take(&mut *self.sales.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Rebuilds what is found closed until the drain starts. Whatever cannot be rebuilt now is found closed again.
///
/// # Errors
/// None; the signature is a background task's.
pub async fn run(inventory: Arc<Inventory>, drain: Drain) -> anyhow::Result<()> {
    let ended = drain.token();
    loop {
        tokio::select! {
            () = ended.cancelled() => return Ok(()),
            _ = timeout(LOOK_EVERY, inventory.fenced().found.notified()) => {}
        }
        let mut sales = inventory.fenced().take();
        if let Ok(cut_off) = inventory.rebuilds_cut_off().await {
            sales.extend(cut_off);
        }
        let inventory = &inventory;
        let rebuilds = futures::stream::iter(sales).for_each_concurrent(AT_ONCE, async |sale_id| {
            if let Err(refusal) = inventory.rebuild(sale_id, false).await {
                tracing::debug!(%sale_id, ?refusal, "not rebuilt");
            }
        });
        tokio::select! {
            // What is in the middle of a rebuild is left to the next instance, by the end of its lease.
            () = ended.cancelled() => return Ok(()),
            () = rebuilds => {}
        }
    }
}
