//! Following a sale's stock: one reader per sale and process, however many watch.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use flashsale_service::Drain;
use tokio::sync::watch::{self, Receiver, Sender};
use uuid::Uuid;

use crate::{
    domain::{Refusal, StockView},
    inventory::Inventory,
};

/// How often a followed stock is read, and so how often a watcher hears of it at most.
const READ_EVERY: Duration = Duration::from_millis(250);
/// A stock of more skus is read less often in proportion: reading it keeps the store from taking orders.
const SKUS_PER_READ: usize = 1_000;

/// What a watcher hears: `None` before the first reading, then the stock, then perhaps why it cannot be followed any further.
type Heard = Option<Result<Arc<StockView>, Refusal>>;

/// The followed stocks.
#[derive(Debug, Clone)]
pub struct Watches {
    inventory: Arc<Inventory>,
    drain: Drain,
    followed: Arc<Mutex<HashMap<Uuid, Sender<Heard>>>>,
}

impl Watches {
    /// Nothing followed yet; everything ends when the drain starts.
    pub fn new(inventory: Arc<Inventory>, drain: Drain) -> Self {
        Self { inventory, drain, followed: Arc::default() }
    }

    /// Follows a sale's stock. Only changes are heard; the channel closes when the process drains or the stock cannot be read.
    pub fn follow(&self, sale_id: Uuid) -> Receiver<Heard> {
        let mut followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = followed.get(&sale_id).filter(|sender| !ended(sender)) {
            return sender.subscribe();
        }
        let (sender, receiver) = watch::channel(None);
        followed.insert(sale_id, sender.clone());
        tokio::spawn(self.clone().read(sale_id, sender));
        receiver
    }

    async fn read(self, sale_id: Uuid, sender: Sender<Heard>) {
        let mut pause = READ_EVERY;
        while !self.unwatched(sale_id, &sender) {
            let read = tokio::select! {
                () = self.drain.started() => break,
                read = self.inventory.read(sale_id, &[]) => read,
            };
            match read {
                Ok(view) => {
                    pause = READ_EVERY
                        * u32::try_from(view.skus.len().div_ceil(SKUS_PER_READ))
                            .unwrap_or(1)
                            .max(1);
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
                // Slow for once: the watchers keep what they have, and the next reading may succeed.
                Err(Refusal::Unanswered | Refusal::TooLate) if sender.borrow().is_some() => {}
                Err(refusal) => {
                    sender.send_replace(Some(Err(refusal)));
                    break;
                }
            }
            tokio::select! {
                () = self.drain.started() => break,
                () = tokio::time::sleep(pause) => {}
                () = sender.closed() => {}
            }
        }
        let mut followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        if followed.get(&sale_id).is_some_and(|present| present.same_channel(&sender)) {
            followed.remove(&sale_id);
        }
    }

    /// Whether nobody watches any more. Then it is forgotten in the same step, so that nobody can begin to.
    fn unwatched(&self, sale_id: Uuid, sender: &Sender<Heard>) -> bool {
        let mut followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        let unwatched = sender.receiver_count() == 0;
        if unwatched && followed.get(&sale_id).is_some_and(|present| present.same_channel(sender)) {
            followed.remove(&sale_id);
        }
        unwatched
    }
}

fn ended(sender: &Sender<Heard>) -> bool {
    matches!(*sender.borrow(), Some(Err(_)))
}
