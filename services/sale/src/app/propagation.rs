//! Telling inventory and the waiting room how a sale stands.

use std::time::Duration;

use opentelemetry::{KeyValue, metrics::Counter};
use tokio::{sync::Semaphore, time::Instant};
use uuid::Uuid;

use super::error::SaleError;
use crate::{
    domain::{Change, Sale, SaleState},
    peers::{inventory::Inventory, untold::Untold, waiting_room::WaitingRoom},
    store::{Store, StoreError},
};

/// How often a caller checks whether another instance, which is telling the others, is done.
const CHECK_AGAIN: Duration = Duration::from_millis(100);
/// The longest that a caller waits for that.
const PATIENCE: Duration = Duration::from_secs(5);

/// The result of one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// Inventory and the waiting room know this version.
    Told,
    /// The sale changed meanwhile: it has to be told again.
    Changed,
    /// Another instance is telling them.
    Busy,
    /// One of them could not be told.
    Untold(Untold),
}

/// Tells inventory and the waiting room.
#[derive(Debug)]
pub struct Propagator {
    store: Store,
    inventory: Inventory,
    waiting_room: WaitingRoom,
    slots: Semaphore,
    attempts: Counter<u64>,
}

impl Propagator {
    /// Tells of at most `at_once` sales at a time; each keeps one connection to Postgres meanwhile.
    pub fn new(
        store: Store,
        inventory: Inventory,
        waiting_room: WaitingRoom,
        at_once: usize,
    ) -> Self {
        let attempts = flashsale_telemetry::meter()
            .u64_counter("flashsale_sale_propagations")
            .with_unit("{attempt}")
            .with_description(
                "Attempts to tell inventory and the waiting room of a sale, by outcome.",
            )
            .build();
        Self { store, inventory, waiting_room, slots: Semaphore::new(at_once), attempts }
    }

    /// Tells the others how the sale stands now, or waits for the instance that is telling them.
    ///
    /// # Errors
    /// [`SaleError::NotTold`] when one of them cannot be told now; the background task goes on
    /// trying. [`SaleError::Store`] when Postgres does not answer.
    pub async fn tell(&self, id: Uuid) -> Result<(), SaleError> {
        let give_up = Instant::now() + PATIENCE;
        loop {
            match self.attempt(id).await? {
                Attempt::Told => return Ok(()),
                Attempt::Changed => {}
                Attempt::Untold(Untold { peer, why }) => {
                    return Err(SaleError::NotTold { id, peer, why });
                }
                Attempt::Busy if Instant::now() > give_up => {
                    return Err(SaleError::NotTold { id, peer: "inventory", why: "BUSY" });
                }
                Attempt::Busy => tokio::time::sleep(CHECK_AGAIN).await,
            }
        }
    }

    /// Tells the others once, and records that they know if the sale has not changed meanwhile.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn attempt(&self, id: Uuid) -> Result<Attempt, StoreError> {
        // The semaphore is never closed, so this cannot fail.
        let _slot = self.slots.acquire().await.ok();
        let Some(telling) = self.store.telling(id).await? else { return Ok(Attempt::Busy) };
        if telling.sale().is_propagated() {
            return Ok(Attempt::Told);
        }
        let told = self.tell_peers(telling.sale()).await;
        let label = told.as_ref().map_or_else(|untold| untold.peer, |_| "told");
        self.attempts.add(1, &[KeyValue::new("outcome", label)]);
        match told {
            Ok(Some(decided)) => {
                // A lost race is none: whatever changed it has to be told.
                let written = self.store.change(telling.sale(), Some(&decided), None).await?;
                tracing::info!(sale = %id, state = decided.state.as_str(), ?written, "decided");
                Ok(Attempt::Changed)
            }
            Ok(None) if telling.done().await? => Ok(Attempt::Told),
            Ok(None) => Ok(Attempt::Changed),
            Err(untold) => Ok(Attempt::Untold(untold)),
        }
    }

    /// Tells the others how the sale stands. What the store of its stock decides of it is to be
    /// recorded.
    async fn tell_peers(&self, sale: &Sale) -> Result<Option<Change>, Untold> {
        match sale.state {
            // The others learn of a sale when it is prepared.
            SaleState::Draft | SaleState::Scheduled => Ok(None),
            // The stock first: a buyer who is admitted must find it open.
            SaleState::Prepared | SaleState::Open => {
                let at_stock = self.inventory.tell(sale).await?;
                if let Some(decided) = sale.decided(at_stock) {
                    return Ok(Some(decided));
                }
                if let Some(room) = sale.settings.room {
                    self.waiting_room.open(sale, room).await?;
                }
                Ok(None)
            }
            // The room first, so that no buyer is admitted to a stock that takes no more holds; and
            // each of them even if the other is away.
            SaleState::Paused => {
                let paused = match sale.settings.room {
                    Some(room) => self.waiting_room.pause(sale, room).await,
                    None => Ok(()),
                };
                let at_stock = self.inventory.tell(sale).await?;
                paused.map(|()| sale.decided(at_stock))
            }
            SaleState::Ended | SaleState::Cancelled => {
                let closed = self.waiting_room.close(sale).await;
                self.inventory.tell(sale).await.and(closed).and(Ok(None))
            }
        }
    }
}
