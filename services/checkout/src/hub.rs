//! Who watches which order. One subscription and one batched read serve all watchers of a process; a watcher costs no polling.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use flashsale_errors::{Failure, Reason};
use flashsale_queue::{ORDER_EVENT_SUBJECTS, OrderEvent};
use flashsale_service::Drain;
use futures::StreamExt as _;
use time::OffsetDateTime;
use tokio::sync::watch;
use uuid::Uuid;

use crate::store::Record;

/// Orders read in one go.
const BATCH: usize = 500;
/// How long a burst of announcements is gathered before its watchers look.
const GATHER: Duration = Duration::from_millis(20);
/// How long to wait before a broken subscription is made again.
const RESUBSCRIBE: Duration = Duration::from_millis(500);

/// The watchers of a process. A clone is the same hub.
#[derive(Debug, Clone)]
pub struct Hub {
    watched: Arc<Mutex<HashMap<Uuid, Watched>>>,
    max_watchers: usize,
}

#[derive(Debug)]
struct Watched {
    changes: watch::Sender<u64>,
    /// What the record said when it was last looked at.
    seen: Option<OffsetDateTime>,
}

/// Learns of changes of one order.
#[derive(Debug)]
pub struct Changes {
    order_id: Uuid,
    changes: watch::Receiver<u64>,
    hub: Hub,
}

impl Changes {
    /// Resolves when the order may have changed since the last time. Never fails: without announcements the sweep finds it.
    pub async fn changed(&mut self) {
        if self.changes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        let mut watched = self.hub.lock();
        // This receiver is still counted.
        if watched.get(&self.order_id).is_some_and(|entry| entry.changes.receiver_count() <= 1) {
            watched.remove(&self.order_id);
        }
    }
}

impl Hub {
    /// A hub for at most `max_watchers` orders at a time.
    pub fn new(max_watchers: usize) -> Self {
        Self { watched: Arc::default(), max_watchers }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Uuid, Watched>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Watches an order.
    ///
    /// # Errors
    /// `OVERLOADED` at the bound.
    pub fn watch(&self, order_id: Uuid) -> Result<Changes, Failure> {
        let mut watched = self.lock();
        if watched.len() >= self.max_watchers && !watched.contains_key(&order_id) {
            return Err(Failure::new(Reason::Overloaded, "too many orders are watched here")
                .with("max_watchers", self.max_watchers));
        }
        let entry = watched
            .entry(order_id)
            .or_insert_with(|| Watched { changes: watch::Sender::new(0), seen: None });
        Ok(Changes { order_id, changes: entry.changes.subscribe(), hub: self.clone() })
    }

    fn announce(&self, orders: &HashSet<Uuid>) {
        let watched = self.lock();
        for entry in orders.iter().filter_map(|order| watched.get(order)) {
            entry.changes.send_modify(|count| *count = count.wrapping_add(1));
        }
    }

    /// Passes announcements on until the process ends.
    ///
    /// # Errors
    /// None; the signature is a background task's.
    pub async fn listen(self, nats: async_nats::Client, drain: Drain) -> anyhow::Result<()> {
        let ended = drain.token();
        while !ended.is_cancelled() {
            let Ok(subscription) = nats.subscribe(ORDER_EVENT_SUBJECTS).await else {
                tokio::select! {
                    () = tokio::time::sleep(RESUBSCRIBE) => continue,
                    () = ended.cancelled() => break,
                }
            };
            let mut bursts = subscription.ready_chunks(BATCH);
            loop {
                let burst = tokio::select! {
                    burst = bursts.next() => burst,
                    () = ended.cancelled() => return Ok(()),
                };
                let Some(burst) = burst else { break };
                let orders: HashSet<Uuid> = burst
                    .iter()
                    .filter_map(|message| {
                        serde_json::from_slice::<OrderEvent>(&message.payload).ok()
                    })
                    .map(|event| event.order_id)
                    .collect();
                self.announce(&orders);
                tokio::time::sleep(GATHER).await;
            }
        }
        Ok(())
    }

    /// Reads all watched orders now and then and announces those that changed unannounced.
    ///
    /// # Errors
    /// None; the signature is a background task's.
    pub async fn sweep(self, record: Record, every: Duration, drain: Drain) -> anyhow::Result<()> {
        let ended = drain.token();
        loop {
            tokio::select! {
                () = tokio::time::sleep(every) => {}
                () = ended.cancelled() => return Ok(()),
            }
            let watched: Vec<Uuid> = self.lock().keys().copied().collect();
            for batch in watched.chunks(BATCH) {
                let Ok(orders) = record.orders(batch).await else { break };
                let mut changed = HashSet::new();
                let mut entries = self.lock();
                for order in orders {
                    if let Some(entry) = entries.get_mut(&order.order_id)
                        && entry.seen != Some(order.updated_at)
                    {
                        entry.seen = Some(order.updated_at);
                        changed.insert(order.order_id);
                    }
                }
                drop(entries);
                self.announce(&changed);
            }
        }
    }
}
