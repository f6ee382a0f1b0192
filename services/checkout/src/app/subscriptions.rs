//! The watchers of orders in this process. One NATS subscription and one batched read serve all of
//! them: a watcher does not poll.

use std::collections::HashSet;

use flashsale_errors::{Failure, Reason};
use flashsale_service::{Subscription, Subscriptions, TooManyWatchers};
use time::OffsetDateTime;
use uuid::Uuid;

/// The `updated_at` of the record when the order was last compared; `None` before.
type Seen = Option<OffsetDateTime>;

/// The watched orders, with a bound on their watchers. Clones share them.
#[derive(Debug, Clone)]
pub struct OrderSubscriptions(Subscriptions<Uuid, Seen>);

/// A watcher of one order; dropping it ends the watch.
#[derive(Debug)]
pub struct OrderSubscription {
    order_id: Uuid,
    changes: Subscription<Uuid, Seen>,
    subscriptions: OrderSubscriptions,
}

impl OrderSubscription {
    /// Resolves when the order may have changed since the last call. It never fails: a change whose
    /// announcement was lost is found by the sweep.
    pub async fn changed(&mut self) {
        if !self.changes.changed().await {
            std::future::pending::<()>().await;
        }
    }

    /// Records which state the watcher has read, so that the first sweep does not report it as a
    /// change. Another watcher of the order may have read an older state: the oldest counts.
    pub fn seen(&self, updated_at: OffsetDateTime) {
        self.subscriptions.0.update(self.order_id, |seen| {
            *seen = Some(seen.map_or(updated_at, |seen| seen.min(updated_at)));
            false
        });
    }
}

impl OrderSubscriptions {
    pub fn new(max_watchers: usize) -> Self {
        Self(Subscriptions::new(max_watchers))
    }

    /// Watches an order until the subscription is dropped.
    ///
    /// # Errors
    /// `OVERLOADED` at the bound.
    pub fn watch(&self, order_id: Uuid) -> Result<OrderSubscription, Failure> {
        let permit = self.0.permit().map_err(|TooManyWatchers { limit }| {
            Failure::new(Reason::Overloaded, "too many orders are watched here")
                .with("max_watchers", limit)
        })?;
        Ok(self.subscribed(order_id, permit.subscribe(order_id, || None)))
    }

    /// Watches an order within one call, without regard to the bound: the call is short, and the
    /// limit on calls in flight covers it.
    pub fn follow(&self, order_id: Uuid) -> OrderSubscription {
        self.subscribed(order_id, self.0.permit_beyond().subscribe(order_id, || None))
    }

    fn subscribed(&self, order_id: Uuid, changes: Subscription<Uuid, Seen>) -> OrderSubscription {
        OrderSubscription { order_id, changes, subscriptions: self.clone() }
    }

    /// Wakes the watchers of these orders.
    pub fn notify(&self, orders: &HashSet<Uuid>) {
        for order_id in orders {
            self.0.update(*order_id, |_| true);
        }
    }

    pub fn watched(&self) -> Vec<Uuid> {
        self.0.watched(|_| ()).into_iter().map(|(order_id, ())| order_id).collect()
    }

    /// Wakes the watchers of those orders whose `updated_at` is not the one seen last.
    pub fn notify_changed(&self, updated: Vec<(Uuid, OffsetDateTime)>) {
        for (order_id, updated_at) in updated {
            self.0.update(order_id, |seen| seen.replace(updated_at) != Some(updated_at));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn follow_is_not_bounded() {
        let subscriptions = OrderSubscriptions::new(1);
        let _watcher = subscriptions.watch(Uuid::from_u128(1)).unwrap();
        let _call = subscriptions.follow(Uuid::from_u128(2));
        assert_eq!(
            subscriptions.watch(Uuid::from_u128(1)).unwrap_err().reason(),
            Reason::Overloaded
        );
    }

    #[test]
    fn sweep_wakes_only_for_unseen_states() {
        let (subscriptions, order_id) = (OrderSubscriptions::new(1), Uuid::from_u128(7));
        let read = OffsetDateTime::UNIX_EPOCH;
        let later = read + time::Duration::SECOND;
        let mut watcher = subscriptions.watch(order_id).unwrap();
        watcher.seen(later);
        watcher.seen(read);
        subscriptions.notify_changed(vec![(order_id, read)]);
        assert!(watcher.changed().now_or_never().is_none());
        subscriptions.notify_changed(vec![(order_id, later)]);
        assert!(watcher.changed().now_or_never().is_some());
    }
}
