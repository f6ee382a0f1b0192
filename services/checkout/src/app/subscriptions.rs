//! Who watches which order. One subscription and one batched read serve all watchers of a process; a watcher costs no polling.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use flashsale_errors::{Failure, Reason};
use time::OffsetDateTime;
use tokio::sync::watch;
use uuid::Uuid;

/// The watchers of a process. A clone is the same subscriptions.
#[derive(Debug, Clone)]
pub struct Subscriptions {
    watched: Arc<Mutex<Watchers>>,
    max_watchers: usize,
}

#[derive(Debug, Default)]
struct Watchers {
    orders: HashMap<Uuid, Watched>,
    /// Those of all orders together.
    count: usize,
}

#[derive(Debug)]
struct Watched {
    changes: watch::Sender<u64>,
    watchers: usize,
    /// When it was changed, as the record said the last time it was looked at.
    seen: Option<OffsetDateTime>,
}

/// Learns of changes of one order.
#[derive(Debug)]
pub struct Subscription {
    order_id: Uuid,
    changes: watch::Receiver<u64>,
    subscriptions: Subscriptions,
}

impl Subscription {
    /// Resolves when the order may have changed since the last time. Never fails: without announcements the sweep finds it.
    pub async fn changed(&mut self) {
        if self.changes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Says what the watcher has read, so that the first sweep does not take it for news. Another watcher of the order may have read an
    /// older state: the oldest counts.
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
    /// A hub for at most `max_watchers` watchers at a time.
    pub fn new(max_watchers: usize) -> Self {
        Self { watched: Arc::default(), max_watchers }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Watchers> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Watches an order for as long as its caller likes.
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

    /// Follows an order within one call, which ends soon and is counted among the calls in work: no watcher stands in its way.
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

    /// The watchers of these orders should look.
    pub fn notify(&self, orders: &HashSet<Uuid>) {
        let watched = self.lock();
        for entry in orders.iter().filter_map(|order| watched.orders.get(order)) {
            entry.changes.send_modify(|count| *count = count.wrapping_add(1));
        }
    }

    /// The orders that are watched.
    pub fn watched(&self) -> Vec<Uuid> {
        self.lock().orders.keys().copied().collect()
    }

    /// Announces those of these orders that were changed unannounced: each comes with when the
    /// record says that it was last changed.
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
    fn watchers_who_leave_at_the_same_moment_leave_nothing_behind() {
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
    fn calls_that_follow_an_order_are_not_refused_at_the_bound() {
        let subscriptions = Subscriptions::new(1);
        let _watcher = subscriptions.watch(Uuid::from_u128(1)).unwrap();
        let _call = subscriptions.follow(Uuid::from_u128(2));
        assert_eq!(
            subscriptions.watch(Uuid::from_u128(1)).unwrap_err().reason(),
            Reason::Overloaded
        );
    }
}
