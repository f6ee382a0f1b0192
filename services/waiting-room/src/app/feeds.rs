//! The rooms of this process: their last known state, and their watchers.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::Instant,
};
use uuid::Uuid;

use crate::domain::{RoomView, Stock};

/// A feed for each room that is ticked or watched. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Feeds {
    feeds: Arc<Mutex<HashMap<Uuid, Arc<Feed>>>>,
    permits: Arc<Semaphore>,
    limit: usize,
}

/// The last known state of one room.
#[derive(Debug)]
pub(crate) struct Feed {
    pub(crate) sale_id: Uuid,
    room: watch::Sender<Option<Broadcast>>,
    stock: Mutex<StockCache>,
}

/// A room and its stock, as the last tick saw them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Broadcast {
    pub(crate) room: RoomView,
    pub(crate) stock: Stock,
}

#[derive(Debug)]
struct StockCache {
    stock: Stock,
    refreshed_at: Option<Instant>,
    refreshing: bool,
}

/// Whether to refresh the stock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refresh {
    /// Nothing is known yet: the caller should wait for the answer before it decides.
    First,
    /// The last answer is too old.
    Stale,
    /// The last answer is recent enough, or a refresh is in progress.
    NotDue,
}

impl Feeds {
    /// `limit` is the most watchers of this process.
    pub(crate) fn new(limit: usize) -> Self {
        let limit = limit.min(Semaphore::MAX_PERMITS);
        Self { feeds: Arc::default(), permits: Arc::new(Semaphore::new(limit)), limit }
    }

    /// The room's feed; the room is ticked from now on.
    pub(crate) fn feed(&self, sale_id: Uuid) -> Arc<Feed> {
        Arc::clone(self.lock().entry(sale_id).or_insert_with(|| Arc::new(Feed::new(sale_id))))
    }

    pub(crate) fn all(&self) -> Vec<Arc<Feed>> {
        self.lock().values().cloned().collect()
    }

    /// The rooms that a tick has seen, as the last one saw them.
    pub(crate) fn rooms(&self) -> Vec<(Uuid, RoomView)> {
        self.all().iter().filter_map(|feed| Some((feed.sale_id, feed.room()?))).collect()
    }

    /// The last known stock of a sale.
    pub(crate) fn stock(&self, sale_id: Uuid) -> Stock {
        self.lock().get(&sale_id).map_or(Stock::Unknown, |feed| feed.stock())
    }

    /// Watches a room; `None` at the bound. It counts until the permit is dropped.
    pub(crate) fn watch(
        &self,
        sale_id: Uuid,
    ) -> Option<(watch::Receiver<Option<Broadcast>>, OwnedSemaphorePermit)> {
        let permit = Arc::clone(&self.permits).try_acquire_owned().ok()?;
        // Subscribed under the lock that `keep` holds while it counts the receivers; otherwise the
        // feed might be dropped in between.
        let mut feeds = self.lock();
        let feed = feeds.entry(sale_id).or_insert_with(|| Arc::new(Feed::new(sale_id)));
        Some((feed.room.subscribe(), permit))
    }

    /// The bound of watchers.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Drops the feeds of rooms that are neither listed nor watched.
    pub(crate) fn keep(&self, listed: &HashSet<Uuid>) {
        self.lock()
            .retain(|sale_id, feed| listed.contains(sale_id) || feed.room.receiver_count() > 0);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Arc<Feed>>> {
        // No code that holds the lock can panic with the map half changed.
        self.feeds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Feed {
    fn new(sale_id: Uuid) -> Self {
        let stock = StockCache { stock: Stock::Unknown, refreshed_at: None, refreshing: false };
        Self { sale_id, room: watch::Sender::new(None), stock: Mutex::new(stock) }
    }

    /// Sends the room, with the cached stock, to its watchers.
    pub(crate) fn broadcast(&self, room: RoomView) {
        let broadcast = Broadcast { room, stock: self.stock() };
        self.room.send_replace(Some(broadcast));
    }

    /// The room in the last broadcast.
    pub(crate) fn room(&self) -> Option<RoomView> {
        self.room.borrow().as_ref().map(|last| last.room.clone())
    }

    /// Whether the room was closed in the last broadcast.
    pub(crate) fn is_closed(&self) -> bool {
        self.room.borrow().as_ref().is_some_and(|last| last.room.is_closed())
    }

    /// The cached stock.
    pub(crate) fn stock(&self) -> Stock {
        self.stock_cache().stock
    }

    /// Whether the caller should refresh the stock, once `every` has passed since the last refresh.
    /// On [`Refresh::First`] and [`Refresh::Stale`] the caller has to call [`Feed::set_stock`];
    /// until then no other caller refreshes.
    pub(crate) fn begin_refresh(&self, every: Duration) -> Refresh {
        let mut cache = self.stock_cache();
        let refresh = match cache.refreshed_at {
            _ if cache.refreshing => Refresh::NotDue,
            None => Refresh::First,
            Some(at) if at.elapsed() >= every => Refresh::Stale,
            Some(_) => Refresh::NotDue,
        };
        if refresh != Refresh::NotDue {
            cache.refreshed_at = Some(Instant::now());
            cache.refreshing = true;
        }
        refresh
    }

    /// Caches the stock and ends the refresh.
    pub(crate) fn set_stock(&self, stock: Stock) {
        let mut cache = self.stock_cache();
        cache.stock = stock;
        cache.refreshing = false;
    }

    fn stock_cache(&self) -> MutexGuard<'_, StockCache> {
        self.stock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn listed_or_watched_rooms_are_kept() {
        let (feeds, a, b) = (Feeds::new(10), Uuid::from_u128(1), Uuid::from_u128(2));
        feeds.feed(a);
        let watching = feeds.watch(b).unwrap();
        feeds.keep(&HashSet::from([a]));
        assert_eq!(feeds.all().len(), 2);
        feeds.keep(&HashSet::new());
        assert_eq!(feeds.all().len(), 1);
        drop(watching);
        feeds.keep(&HashSet::new());
        assert!(feeds.all().is_empty());
    }

    #[test]
    fn watchers_are_bounded() {
        let feeds = Feeds::new(2);
        let first = feeds.watch(Uuid::from_u128(1)).unwrap();
        let _second = feeds.watch(Uuid::from_u128(2)).unwrap();
        assert!(feeds.watch(Uuid::from_u128(1)).is_none());
        drop(first);
        assert!(feeds.watch(Uuid::from_u128(3)).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn stock_refreshes_one_at_a_time_and_rate_limited() {
        let every = Duration::from_millis(250);
        let feed = Feed::new(Uuid::from_u128(1));
        assert_eq!(feed.begin_refresh(every), Refresh::First);
        tokio::time::advance(every * 2).await;
        assert_eq!(feed.begin_refresh(every), Refresh::NotDue, "the answer is still out");
        feed.set_stock(Stock::TakenForNow);
        assert_eq!(feed.stock(), Stock::TakenForNow);
        assert_eq!(feed.begin_refresh(every), Refresh::Stale);
        feed.set_stock(Stock::Available);
        assert_eq!(feed.begin_refresh(every), Refresh::NotDue);
        tokio::time::advance(every).await;
        assert_eq!(feed.begin_refresh(every), Refresh::Stale);
    }
}
