//! Following a sale's stock: one reader per sale and process, however many watchers there are. A
//! slow watcher gets the latest state, and none of the states in between.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use flashsale_service::Drain;
use tokio::{
    sync::{
        OwnedSemaphorePermit, Semaphore,
        watch::{self, Receiver, Sender},
    },
    time::Instant,
};
use uuid::Uuid;

use super::Inventory;
use crate::{
    config::InventoryConfig,
    domain::{Refusal, StockView},
};

/// The shortest time between two readings, so that a stock that keeps selling out and becoming
/// available again is not read all the time.
const READ_AGAIN: Duration = Duration::from_millis(50);
/// A stock of more skus is read less often in proportion, because reading it blocks the store for
/// orders.
const SKUS_PER_READ: usize = 1_000;

/// What a watcher receives: `None` before the first reading, then the stock, then perhaps why it
/// cannot be followed any further.
type Update = Option<Result<Arc<StockView>, Refusal>>;

/// The followed stocks.
#[derive(Debug, Clone)]
pub struct Watches {
    inventory: Arc<Inventory>,
    drain: Drain,
    every: Duration,
    max_watchers: usize,
    permits: Arc<Semaphore>,
    followed: Arc<Mutex<HashMap<Uuid, Sender<Update>>>>,
}

impl Watches {
    /// Follows nothing yet; every watch ends when the drain starts.
    pub fn new(inventory: Arc<Inventory>, config: &InventoryConfig, drain: Drain) -> Self {
        let max_watchers = config.max_watchers.min(Semaphore::MAX_PERMITS);
        Self {
            inventory,
            drain,
            every: Duration::from_millis(config.watch_every_ms),
            max_watchers,
            permits: Arc::new(Semaphore::new(max_watchers)),
            followed: Arc::default(),
        }
    }

    /// Follows a sale's stock. Only changes are sent; the channel closes when the process drains or
    /// the stock cannot be read. The watcher keeps the permit, one of
    /// [`InventoryConfig::max_watchers`].
    ///
    /// # Errors
    /// [`Refusal::TooManyWatchers`]
    pub fn follow(
        &self,
        sale_id: Uuid,
    ) -> Result<(Receiver<Update>, OwnedSemaphorePermit), Refusal> {
        let max = self.max_watchers;
        let permit = Arc::clone(&self.permits).try_acquire_owned();
        let permit =
            self.inventory.counted(permit.map_err(|_| Refusal::TooManyWatchers { max }))?;
        Ok((self.receiver(sale_id), permit))
    }

    fn receiver(&self, sale_id: Uuid) -> Receiver<Update> {
        let mut followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = followed.get(&sale_id).filter(|sender| !ended(sender)) {
            return sender.subscribe();
        }
        let (sender, receiver) = watch::channel(None);
        followed.insert(sale_id, sender.clone());
        tokio::spawn(self.clone().read(sale_id, sender));
        receiver
    }

    async fn read(self, sale_id: Uuid, sender: Sender<Update>) {
        let changed = self.inventory.changes().follow(sale_id);
        let (mut pause, mut again) = (self.every, READ_AGAIN);
        while !self.unwatched(sale_id, &sender) {
            changed.reading();
            let read = tokio::select! {
                () = self.drain.started() => break,
                read = self.inventory.read(sale_id, &[]) => read,
            };
            match read {
                Ok(view) => {
                    changed.read(&view);
                    let share = view.skus.len().div_ceil(SKUS_PER_READ).max(1);
                    let share = u32::try_from(share).unwrap_or(u32::MAX);
                    (pause, again) = (self.every.saturating_mul(share), READ_AGAIN * share);
                    sender.send_if_modified(|heard| {
                        let news = match heard {
                            Some(Ok(before)) => {
                                before.skus != view.skus || before.epoch != view.epoch
                            }
                            Some(Err(_)) | None => true,
                        };
                        if news {
                            *heard = Some(Ok(Arc::new(view)));
                        }
                        news
                    });
                }
                // Slow once: the watchers keep what they have, and the next reading may succeed.
                Err(Refusal::Unanswered | Refusal::TooLate) if sender.borrow().is_some() => {}
                Err(refusal) => {
                    sender.send_replace(Some(Err(refusal)));
                    break;
                }
            }
            let soonest = Instant::now() + again;
            let news = async {
                changed.news().await;
                tokio::time::sleep_until(soonest).await;
            };
            tokio::select! {
                () = self.drain.started() => break,
                () = tokio::time::sleep(pause) => {}
                () = news => {}
                () = sender.closed() => {}
            }
        }
        self.inventory.changes().forget(sale_id, &changed);
        let mut followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        if followed.get(&sale_id).is_some_and(|present| present.same_channel(&sender)) {
            followed.remove(&sale_id);
        }
    }

    /// Whether no watcher is left. The sale is then removed under the same lock, so that no watcher
    /// can join a reader that ends.
    fn unwatched(&self, sale_id: Uuid, sender: &Sender<Update>) -> bool {
        let mut followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        let unwatched = sender.receiver_count() == 0;
        if unwatched && followed.get(&sale_id).is_some_and(|present| present.same_channel(sender)) {
            followed.remove(&sale_id);
        }
        unwatched
    }
}

fn ended(sender: &Sender<Update>) -> bool {
    matches!(*sender.borrow(), Some(Err(_)))
}
