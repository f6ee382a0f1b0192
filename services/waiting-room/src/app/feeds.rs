//! What this process knows of the rooms it looks after, and who listens.

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

use crate::domain::{RoomState, RoomView, Stock};

/// A feed per room: those to look after and those somebody watches. A clone shares them.
#[derive(Debug, Clone)]
pub(crate) struct Feeds {
    feeds: Arc<Mutex<HashMap<Uuid, Arc<Feed>>>>,
    permits: Arc<Semaphore>,
    limit: usize,
}

/// What is known of one room.
#[derive(Debug)]
pub(crate) struct Feed {
    pub(crate) sale_id: Uuid,
    room: watch::Sender<Option<Broadcast>>,
    stock: Mutex<StockCache>,
}

/// A room as the last tick saw it.
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

/// Whether to ask for the stock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refresh {
    /// Nothing is known yet: nothing should be decided before the answer.
    First,
    /// What is known has become old.
    Stale,
    /// What is known will do, or somebody is asking.
    NotDue,
}

impl Feeds {
    /// `limit` bounds the watchers of this process.
    pub(crate) fn new(limit: usize) -> Self {
        let limit = limit.min(Semaphore::MAX_PERMITS);
        Self { feeds: Arc::default(), permits: Arc::new(Semaphore::new(limit)), limit }
    }

    /// The room's feed, from now on looked after.
    pub(crate) fn feed(&self, sale_id: Uuid) -> Arc<Feed> {
        Arc::clone(self.lock().entry(sale_id).or_insert_with(|| Arc::new(Feed::new(sale_id))))
    }

    /// Every feed.
    pub(crate) fn all(&self) -> Vec<Arc<Feed>> {
        self.lock().values().cloned().collect()
    }

    /// Every room that a tick has seen, as the last one saw it.
    pub(crate) fn rooms(&self) -> Vec<(Uuid, RoomView)> {
        self.all().iter().filter_map(|feed| Some((feed.sale_id, feed.room()?))).collect()
    }

    /// What is known of a sale's stock.
    pub(crate) fn stock(&self, sale_id: Uuid) -> Stock {
        self.lock().get(&sale_id).map_or(Stock::Unknown, |feed| feed.stock())
    }

    /// Starts to watch a room; `None` when there are too many watchers.
    pub(crate) fn watch(
        &self,
        sale_id: Uuid,
    ) -> Option<(watch::Receiver<Option<Broadcast>>, OwnedSemaphorePermit)> {
        let permit = Arc::clone(&self.permits).try_acquire_owned().ok()?;
        // Under the same lock as the look at the receivers in `keep`, or the feed might be dropped in between.
        let mut feeds = self.lock();
        let feed = feeds.entry(sale_id).or_insert_with(|| Arc::new(Feed::new(sale_id)));
        Some((feed.room.subscribe(), permit))
    }

    /// How many may watch.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Forgets the rooms that are neither listed nor watched.
    pub(crate) fn keep(&self, listed: &HashSet<Uuid>) {
        self.lock()
            .retain(|sale_id, feed| listed.contains(sale_id) || feed.room.receiver_count() > 0);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Arc<Feed>>> {
        // Nothing that holds the lock can leave the map half-changed.
        self.feeds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Feed {
    fn new(sale_id: Uuid) -> Self {
        let stock = StockCache { stock: Stock::Unknown, refreshed_at: None, refreshing: false };
        Self { sale_id, room: watch::Sender::new(None), stock: Mutex::new(stock) }
    }

    /// Tells the watchers how the room stands.
    pub(crate) fn broadcast(&self, room: RoomView) {
        let broadcast = Broadcast { room, stock: self.stock() };
        self.room.send_replace(Some(broadcast));
    }

    /// The room as the last tick saw it.
    pub(crate) fn room(&self) -> Option<RoomView> {
        self.room.borrow().as_ref().map(|last| last.room.clone())
    }

    /// The version of the settings that the last tick saw.
    pub(crate) fn version(&self) -> Option<i64> {
        self.room.borrow().as_ref().map(|last| last.room.version)
    }

    /// Whether the last tick saw the room closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.room.borrow().as_ref().is_some_and(|last| last.room.state == RoomState::Closed)
    }

    /// What is known of the stock.
    pub(crate) fn stock(&self) -> Stock {
        self.stock_cache().stock
    }

    /// Whether the caller should ask for the stock; if so it has to call [`Feed::set_stock`].
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

    /// Takes the answer.
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
    fn a_room_is_kept_while_it_is_listed_or_watched() {
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
    fn there_are_no_more_watchers_than_allowed() {
        let feeds = Feeds::new(2);
        let first = feeds.watch(Uuid::from_u128(1)).unwrap();
        let _second = feeds.watch(Uuid::from_u128(2)).unwrap();
        assert!(feeds.watch(Uuid::from_u128(1)).is_none());
        drop(first);
        assert!(feeds.watch(Uuid::from_u128(3)).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn the_stock_is_asked_for_by_one_at_a_time_and_no_more_often_than_said() {
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
