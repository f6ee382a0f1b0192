//! The watchers of orders in this process. One NATS subscription and one batched read serve all of
//! them: a watcher does not poll.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use flashsale_errors::{Failure, Reason};
use time::OffsetDateTime;
use tokio::sync::watch;
use uuid::Uuid;

/// The watched orders, with a bound on their watchers. Clones share them.
#[derive(Debug, Clone)]
pub struct Subscriptions {
    watched: Arc<Mutex<Watchers>>,
    max_watchers: usize,
}

#[derive(Debug, Default)]
struct Watchers {
    orders: HashMap<Uuid, Watched>,
    /// Watchers of all orders together.
    count: usize,
}

#[derive(Debug)]
struct Watched {
    changes: watch::Sender<u64>,
    watchers: usize,
    /// The `updated_at` of the record when it was last compared.
    seen: Option<OffsetDateTime>,
}

/// A watcher of one order; dropping it ends the watch.
#[derive(Debug)]
pub struct Subscription {
    order_id: Uuid,
    changes: watch::Receiver<u64>,
    subscriptions: Subscriptions,
}

impl Subscription {
    /// Resolves when the order may have changed since the last call. It never fails: a change whose
    /// announcement was lost is found by the sweep.
    pub async fn changed(&mut self) {
        if self.changes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Records which state the watcher has read, so that the first sweep does not report it as a
    /// change. Another watcher of the order may have read an older state: the oldest counts.
    pub fn seen(&self, updated_at: OffsetDateTime) {
        if let Some(entry) = self.subscriptions.lock().orders.get_mut(&self.order_id) {
            entry.seen = Some(entry.seen.map_or(updated_at, |seen| seen.min(updated_at)));
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut watched = self.subscriptions.lock();
        watched.count -= 1;
        if let Some(entry) = watched.orders.get_mut(&self.order_id) {
            entry.watchers -= 1;
            if entry.watchers == 0 {
                watched.orders.remove(&self.order_id);
            }
        }
    }
}

impl Subscriptions {
    pub fn new(max_watchers: usize) -> Self {
        Self { watched: Arc::default(), max_watchers }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Watchers> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Watches an order until the subscription is dropped.
    ///
    /// # Errors
    /// `OVERLOADED` at the bound.
    pub fn watch(&self, order_id: Uuid) -> Result<Subscription, Failure> {
        let mut watched = self.lock();
        if watched.count >= self.max_watchers {
            return Err(Failure::new(Reason::Overloaded, "too many orders are watched here")
                .with("max_watchers", self.max_watchers));
        }
        Ok(self.add(&mut watched, order_id))
    }

    /// Watches an order within one call, without regard to the bound: the call is short, and the
    /// limit on calls in flight covers it.
    pub fn follow(&self, order_id: Uuid) -> Subscription {
        self.add(&mut self.lock(), order_id)
    }

    fn add(&self, watched: &mut Watchers, order_id: Uuid) -> Subscription {
        let entry = watched.orders.entry(order_id).or_insert_with(|| Watched {
            changes: watch::Sender::new(0),
            watchers: 0,
            seen: None,
        });
        entry.watchers += 1;
        let changes = entry.changes.subscribe();
        watched.count += 1;
        Subscription { order_id, changes, subscriptions: self.clone() }
    }

    /// Wakes the watchers of these orders.
    pub fn notify(&self, orders: &HashSet<Uuid>) {
        let watched = self.lock();
        for entry in orders.iter().filter_map(|order| watched.orders.get(order)) {
            entry.changes.send_modify(|count| *count = count.wrapping_add(1));
        }
    }

    pub fn watched(&self) -> Vec<Uuid> {
        self.lock().orders.keys().copied().collect()
    }

    /// Wakes the watchers of those orders whose `updated_at` is not the one seen last.
    pub fn notify_changed(&self, updated: Vec<(Uuid, OffsetDateTime)>) {
        let mut changed = HashSet::new();
        let mut entries = self.lock();
        for (order_id, updated_at) in updated {
            if let Some(entry) = entries.orders.get_mut(&order_id)
                && entry.seen != Some(updated_at)
            {
                entry.seen = Some(updated_at);
                changed.insert(order_id);
            }
        }
        drop(entries);
        self.notify(&changed);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn concurrent_drops_leave_no_entry() {
        let (subscriptions, order_id) = (Subscriptions::new(4), Uuid::from_u128(7));
        for _ in 0..5_000 {
            let watchers: Vec<Subscription> =
                (0..4).map(|_| subscriptions.watch(order_id).unwrap()).collect();
            let start = std::sync::Barrier::new(watchers.len());
            std::thread::scope(|scope| {
                for watcher in watchers {
                    let start = &start;
                    scope.spawn(move || {
                        start.wait();
                        drop(watcher);
                    });
                }
            });
            assert!(subscriptions.lock().orders.is_empty() && subscriptions.lock().count == 0);
        }
    }

    #[test]
    fn follow_is_not_bounded() {
        let subscriptions = Subscriptions::new(1);
        let _watcher = subscriptions.watch(Uuid::from_u128(1)).unwrap();
        let _call = subscriptions.follow(Uuid::from_u128(2));
        assert_eq!(
            subscriptions.watch(Uuid::from_u128(1)).unwrap_err().reason(),
            Reason::Overloaded
        );
    }
}
