//! Telling inventory and the waiting room how a sale stands.

use std::time::Duration;

use opentelemetry::{KeyValue, metrics::Counter};
use tokio::{sync::Semaphore, time::Instant};
use uuid::Uuid;

use super::error::SaleError;
use crate::{
    domain::{AtStock, Change, PriceSwitch, SaleState},
    peers::{inventory::Inventory, untold::Untold, waiting_room::WaitingRoom},
    store::{Store, StoreError, Telling, Told},
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
    /// They do, but inventory has yet to take prices that wait: the background task tells it again.
    PricesWait,
    /// The sale changed meanwhile: it has to be told again.
    Changed,
    /// Another instance is telling them.
    Busy,
    /// One of them could not be told.
    Untold(Untold),
}

/// What the others have answered.
#[derive(Debug, Default)]
struct Outcome {
    /// What the store of the stock has decided of the sale: it is to be recorded.
    decided: Option<Change>,
    /// When that store switches prices.
    switches: Vec<PriceSwitch>,
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
                Attempt::Told | Attempt::PricesWait => return Ok(()),
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
        if !telling.is_due() {
            return Ok(Attempt::Told);
        }
        let told = self.tell_peers(&telling).await;
        let label = told.as_ref().map_or_else(|untold| untold.peer, |_| "told");
        self.attempts.add(1, &[KeyValue::new("outcome", label)]);
        match told {
            Ok(Outcome { decided: Some(decided), .. }) => {
                // A lost race is none: whatever changed it has to be told.
                let written = self.store.change(telling.sale(), Some(&decided), None).await?;
                tracing::info!(sale = %id, state = decided.state.as_str(), ?written, "decided");
                Ok(Attempt::Changed)
            }
            Ok(Outcome { decided: None, switches }) => Ok(match telling.done(&switches).await? {
                Told::Known => Attempt::Told,
                Told::PricesWait => Attempt::PricesWait,
                Told::Changed => Attempt::Changed,
            }),
            Err(untold) => Ok(Attempt::Untold(untold)),
        }
    }

    /// Tells the others how the sale stands.
    async fn tell_peers(&self, telling: &Telling) -> Result<Outcome, Untold> {
        let sale = telling.sale();
        let room = sale.settings.room.filter(|_| telling.tells_room());
        let outcome = |at_stock: AtStock| Outcome {
            decided: sale.decided(&at_stock),
            switches: at_stock.price_switches,
        };
        match sale.state {
            // The others learn of a sale when it is prepared.
            SaleState::Draft | SaleState::Scheduled => Ok(Outcome::default()),
            // The stock first: a buyer who is admitted must find it open.
            SaleState::Prepared | SaleState::Open => {
                let outcome = outcome(self.inventory.tell(sale).await?);
                if outcome.decided.is_none()
                    && let Some(room) = room
                {
                    self.waiting_room.open(sale, room).await?;
                }
                Ok(outcome)
            }
            // The room first, so that no buyer is admitted to a stock that takes no more holds; and
            // each of them even if the other is away.
            SaleState::Paused => {
                let paused = match room {
                    Some(room) => self.waiting_room.pause(sale, room).await,
                    None => Ok(()),
                };
                let at_stock = self.inventory.tell(sale).await?;
                paused.map(|()| outcome(at_stock))
            }
            SaleState::Ended | SaleState::Cancelled => {
                let closed = self.waiting_room.close(sale).await;
                let at_stock = self.inventory.tell(sale).await?;
                closed.map(|()| Outcome { decided: None, switches: at_stock.price_switches })
            }
        }
    }
}
