//! Following a sale's stock: one reader per sale and process, however many watchers there are, and
//! callers of GetStock share its readings. All watchers share the state in memory, from which each
//! message is encoded. A slow watcher gets the latest state, and none of the states in between.

use std::{sync::Arc, time::Duration};

use flashsale_service::{Drain, Source, Subscription, Subscriptions};
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    Inventory,
    readings::{self, Readings},
};
use crate::{
    config::InventoryConfig,
    domain::{Refusal, StockView},
};

/// The shortest time between two readings, so that a stock that keeps selling out and becoming
/// available again is not read all the time.
const READ_AGAIN: Duration = Duration::from_millis(50);

/// What a watcher receives: `None` before the first reading, then the stock, then perhaps why it
/// cannot be followed any further.
pub type Update = Option<Result<Arc<StockView>, Refusal>>;

/// The followed stocks.
#[derive(Debug, Clone)]
pub struct Watches {
    inventory: Arc<Inventory>,
    readings: Readings,
    drain: Drain,
    every: Duration,
    subscriptions: Subscriptions<Uuid, Update>,
}

impl Watches {
    /// Follows nothing yet; every watch ends when the drain starts.
    pub fn new(
        inventory: Arc<Inventory>,
        readings: Readings,
        config: &InventoryConfig,
        drain: Drain,
    ) -> Self {
        Self {
            inventory,
            readings,
            drain,
            every: Duration::from_millis(config.watch_every_ms),
            subscriptions: Subscriptions::new(config.max_watchers),
        }
    }

    /// Follows a sale's stock. Only changes are sent; they end when the process drains or the stock
    /// cannot be read.
    ///
    /// # Errors
    /// [`Refusal::TooManyWatchers`] at [`InventoryConfig::max_watchers`].
    pub fn follow(&self, sale_id: Uuid) -> Result<Subscription<Uuid, Update>, Refusal> {
        let permit = self.subscriptions.permit();
        let permit = self
            .inventory
            .counted(permit.map_err(|full| Refusal::TooManyWatchers { max: full.limit }))?;
        let (subscription, source) = permit.subscribe_with_source(sale_id, || None);
        if let Some(source) = source {
            tokio::spawn(self.clone().read(sale_id, source));
        }
        Ok(subscription)
    }

    async fn read(self, sale_id: Uuid, source: Source<Uuid, Update>) {
        let failed = self.read_until_failure(sale_id, &source).await;
        if let Some(refusal) = failed {
            source.end(Some(Err(refusal)));
        }
    }

    /// Reads the stock while it is watched and the process does not drain; the refusal that ends it
    /// otherwise.
    async fn read_until_failure(
        &self,
        sale_id: Uuid,
        source: &Source<Uuid, Update>,
    ) -> Option<Refusal> {
        let changed = self.inventory.changes().follow(sale_id);
        let (mut pause, mut again) = (self.every, READ_AGAIN);
        let failed = loop {
            if source.end_if_unwatched() {
                break None;
            }
            changed.reading();
            let read = tokio::select! {
                () = self.drain.started() => break None,
                // One that began before may lack what was taken here since.
                read = self.readings.fresh(sale_id) => read,
            };
            match read {
                Ok(view) => {
                    changed.read(&view);
                    let share = readings::share_of(&view);
                    (pause, again) =
                        (self.every.saturating_mul(share), READ_AGAIN.saturating_mul(share));
                    // That the clock begins or ends the sale is told at once.
                    pause = view.turns_in().map_or(pause, |turns_in| pause.min(turns_in));
                    source.update(|heard| {
                        let news = match heard {
                            Some(Ok(before)) => {
                                before.skus != view.skus
                                    || before.terms != view.terms
                                    || before.epoch != view.epoch
                            }
                            Some(Err(_)) | None => true,
                        };
                        if news {
                            *heard = Some(Ok(view));
                        }
                        news
                    });
                }
                // Slow once: the watchers keep what they have, and the next reading may succeed.
                Err(Refusal::Unanswered | Refusal::TooLate) if source.read(Option::is_some) => {}
                Err(refusal) => break Some(refusal),
            }
            // Sold out, or available again, is read before the pause is over, but not at once: many
            // such changes are read together.
            let soonest = Instant::now() + again;
            let news = async {
                changed.news().await;
                tokio::time::sleep_until(soonest).await;
            };
            tokio::select! {
                () = self.drain.started() => break None,
                () = tokio::time::sleep(pause) => {}
                () = news => {}
                () = source.unwatched() => {}
            }
        };
        self.inventory.changes().forget(sale_id, &changed);
        failed
    }
}
