//! The rooms of this process: their last known state, and their watchers.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{Instant, timeout_at},
};
use uuid::Uuid;

use super::Farewell;
use crate::{
    domain::{RoomView, Stock},
    peers::LastAnswer,
};

/// A feed for each room that is ticked or watched. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Feeds {
    feeds: Arc<Mutex<HashMap<Uuid, Arc<Feed>>>>,
    permits: Arc<Semaphore>,
    limit: usize,
    farewell: Arc<Farewell>,
}

/// The last known state of one room.
#[derive(Debug)]
pub(crate) struct Feed {
    pub(crate) sale_id: Uuid,
    /// The room as the last tick saw it.
    room: watch::Sender<Option<RoomView>>,
    /// What inventory has answered this process. What counts is in the room.
    pub(crate) stock: LastAnswer<Stock>,
    refresh: Mutex<RefreshState>,
    /// Held while the room's plan is under way.
    pub(crate) planning: tokio::sync::Mutex<()>,
    /// Held while what follows from a plan is being recorded.
    pub(crate) recording: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct RefreshState {
    begun_at: Option<Instant>,
    under_way: bool,
}

impl Feeds {
    /// `limit` is the most watchers of this process; `farewell` says when their streams end.
    pub(crate) fn new(limit: usize, farewell: Farewell) -> Self {
        let limit = limit.min(Semaphore::MAX_PERMITS);
        let permits = Arc::new(Semaphore::new(limit));
        Self { feeds: Arc::default(), permits, limit, farewell: Arc::new(farewell) }
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

    /// The stock of a sale at the room's last tick.
    pub(crate) fn stock(&self, sale_id: Uuid) -> Stock {
        let feed = self.lock().get(&sale_id).cloned();
        feed.and_then(|feed| feed.room()).map_or(Stock::Unknown, |room| room.stock)
    }

    /// Watches a room; `None` at the bound. It counts until the permit is dropped.
    pub(crate) fn watch(
        &self,
        sale_id: Uuid,
    ) -> Option<(watch::Receiver<Option<RoomView>>, OwnedSemaphorePermit)> {
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

    /// Resolves when the process drains and the stream of this ticket has to end.
    pub(crate) async fn farewell(&self, number: i64) {
        self.farewell.of(number, || self.watchers()).await;
    }

    /// Resolves when the process drains and no ticket is watched any more, or none may be.
    pub(crate) async fn all_ended(&self) {
        let last = self.farewell.last(|| self.watchers()).await;
        let all = u32::try_from(self.limit).unwrap_or(u32::MAX);
        // Whether it is in time or too late, and also if they were closed: it is over.
        let _ = timeout_at(last, self.permits.acquire_many(all)).await;
    }

    fn watchers(&self) -> usize {
        self.limit.saturating_sub(self.permits.available_permits())
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
        Self {
            sale_id,
            room: watch::Sender::new(None),
            stock: LastAnswer::none(),
            refresh: Mutex::new(RefreshState { begun_at: None, under_way: false }),
            planning: tokio::sync::Mutex::default(),
            recording: tokio::sync::Mutex::default(),
        }
    }

    /// Shows the room to its watchers. They are woken only if they are told anything else than
    /// before: most ticks of a room that stands still change nothing but the time.
    pub(crate) fn broadcast(&self, room: RoomView) {
        self.room.send_if_modified(|last| {
            let differs = last.as_ref().is_none_or(|last| !last.tells_the_same_as(&room));
            *last = Some(room);
            differs
        });
    }

    /// The room in the last broadcast.
    pub(crate) fn room(&self) -> Option<RoomView> {
        self.room.borrow().clone()
    }

    /// Whether the stock should be asked for now: `every` has passed since it was last, and that
    /// has ended. Then the caller has to call [`Feed::end_refresh`]; until it does, no other caller
    /// asks.
    pub(crate) fn begin_refresh(&self, every: Duration) -> bool {
        let mut refresh = self.refresh_state();
        let due = refresh.begun_at.is_none_or(|at| at.elapsed() >= every);
        let begins = due && !refresh.under_way;
        if begins {
            *refresh = RefreshState { begun_at: Some(Instant::now()), under_way: true };
        }
        begins
    }

    pub(crate) fn end_refresh(&self) {
        self.refresh_state().under_way = false;
    }

    fn refresh_state(&self) -> MutexGuard<'_, RefreshState> {
        self.refresh.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::domain::{Hold, RoomState, Window};
    use flashsale_service::Drain;

    fn feeds(limit: usize) -> Feeds {
        Feeds::new(limit, Farewell::new(&Drain::new(), Duration::from_secs(1)))
    }

    #[test]
    fn listed_or_watched_rooms_are_kept() {
        let (feeds, a, b) = (feeds(10), Uuid::from_u128(1), Uuid::from_u128(2));
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
        let feeds = feeds(2);
        let first = feeds.watch(Uuid::from_u128(1)).unwrap();
        let _second = feeds.watch(Uuid::from_u128(2)).unwrap();
        assert!(feeds.watch(Uuid::from_u128(1)).is_none());
        drop(first);
        assert!(feeds.watch(Uuid::from_u128(3)).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn heads_are_told_until_the_last_stream_has_ended() {
        let (drain, grace) = (Drain::new(), Duration::from_secs(4));
        let feeds = Feeds::new(1_000, Farewell::new(&drain, grace));
        let watching: Vec<_> = (0..100).map(|_| feeds.watch(Uuid::from_u128(1)).unwrap()).collect();
        drain.start();
        let since = Instant::now();
        let early = tokio::time::timeout(Duration::from_millis(500), feeds.all_ended());
        early.await.unwrap_err();
        drop(watching);
        feeds.all_ended().await;
        assert_eq!(since.elapsed().as_millis() / 10, 50, "it is over with the last stream");
        // A stream that does not end keeps nothing from ending.
        let _stuck = feeds.watch(Uuid::from_u128(1)).unwrap();
        feeds.all_ended().await;
        assert_eq!(since.elapsed().as_millis() / 10, 100, "100 streams, 10 ms each");
    }

    #[tokio::test(start_paused = true)]
    async fn stock_refreshes_one_at_a_time_and_rate_limited() {
        let every = Duration::from_millis(250);
        let feed = Feed::new(Uuid::from_u128(1));
        assert!(feed.begin_refresh(every));
        tokio::time::advance(every * 2).await;
        assert!(!feed.begin_refresh(every), "the answer is still out");
        feed.end_refresh();
        assert!(feed.begin_refresh(every));
        feed.end_refresh();
        assert!(!feed.begin_refresh(every));
        tokio::time::advance(every).await;
        assert!(feed.begin_refresh(every));
    }

    /// Lets all tasks run: the runtime polls some dozens of them between two turns of a test.
    async fn all_have_run() {
        for _ in 0..64 {
            tokio::task::yield_now().await;
        }
    }

    fn paused(now_ms: i64) -> RoomView {
        RoomView {
            state: RoomState::Paused,
            rate: 10.0,
            watches_stock: true,
            hold: None,
            stock: Stock::Available,
            admission_ms: 60_000,
            window: Window::default(),
            era: 0,
            paused_ms: 0,
            next: 5_000,
            upto: 10_000,
            planned: 100,
            head: 100,
            version: 1,
            now_ms,
        }
    }

    #[tokio::test]
    async fn watchers_are_woken_by_what_they_are_told_alone() {
        const WATCHERS: usize = 1_000;
        let (feeds, sale_id) = (feeds(WATCHERS), Uuid::from_u128(1));
        let feed = feeds.feed(sale_id);
        feed.broadcast(paused(1_000));
        let woken = Arc::new(AtomicUsize::new(0));
        for _ in 0..WATCHERS {
            let (mut room, permit) = feeds.watch(sale_id).unwrap();
            let woken = Arc::clone(&woken);
            tokio::spawn(async move {
                while room.changed().await.is_ok() {
                    woken.fetch_add(1, Ordering::SeqCst);
                }
                drop(permit);
            });
        }
        all_have_run().await;

        // Time passes and buyers join: those who wait are told nothing else.
        for tick in 1..=100 {
            feed.broadcast(RoomView { next: 5_000 + tick, ..paused(1_000 + tick * 250) });
            all_have_run().await;
        }
        assert_eq!(woken.load(Ordering::SeqCst), 0);
        assert_eq!(feed.room().unwrap().now_ms, 26_000, "the last broadcast is shown all the same");

        let room = paused(30_000);
        let changes = [
            RoomView { state: RoomState::Open, ..room.clone() },
            RoomView { rate: 20.0, ..room.clone() },
            RoomView { hold: Some(Hold::InventorySilent), ..room.clone() },
            RoomView { stock: Stock::Gone, ..room.clone() },
            RoomView { head: 101, ..room.clone() },
            RoomView {
                window: Window { admits_until_ms: Some(30_000), ..Window::default() },
                ..room.clone()
            },
        ];
        for (change, changed) in changes.into_iter().enumerate() {
            feed.broadcast(changed);
            all_have_run().await;
            assert_eq!(woken.swap(0, Ordering::SeqCst), WATCHERS, "change {change}");
        }
    }
}
