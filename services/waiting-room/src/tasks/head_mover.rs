//! Moves the heads. One task serves all rooms and every instance runs it; the rate is kept because
//! the budget is spent in Redis.

use std::{collections::HashSet, sync::Arc, time::Duration};

use flashsale_service::{Drain, Ticks};
use tokio::{sync::Semaphore, task::JoinSet, time::Instant};

use crate::{
    app::{Feed, Feeds},
    config::RoomConfig,
    domain::{Phase, RoomView, Stock},
    metrics::Metrics,
    peers::{Checkout, Inventory},
    store::{Answers, Rooms, StoreError},
};

/// How much less often the stock of a closed room is refreshed: no ticket waits for it.
const CLOSED_RARER: u32 = 40;

#[derive(Debug)]
pub(crate) struct HeadMover {
    pub(crate) rooms: Rooms,
    pub(crate) feeds: Feeds,
    pub(crate) inventory: Inventory,
    pub(crate) checkout: Checkout,
    pub(crate) metrics: Metrics,
    pub(crate) config: RoomConfig,
    pub(crate) at_once: AtOnce,
}

/// How many rooms are worked on at once. Plans, which need Redis alone, do not queue behind
/// records, which need Postgres.
#[derive(Debug)]
pub(crate) struct AtOnce {
    plans: Semaphore,
    records: Semaphore,
}

impl Default for AtOnce {
    fn default() -> Self {
        Self { plans: Semaphore::new(64), records: Semaphore::new(64) }
    }
}

impl HeadMover {
    /// Runs until the process drains and no ticket is watched here any more. While a store does not
    /// answer, the heads stand still.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let this = Arc::new(self);
        let end = Drain::new();
        let others = async {
            tokio::join!(this.list_rooms(&end), this.follow_checkout(&end), async {
                this.feeds.all_ended().await;
                end.start();
            });
            Ok::<(), anyhow::Error>(())
        };
        tokio::try_join!(others, this.tick_rooms(&end))?;
        Ok(())
    }

    /// Refreshes whether checkout accepts orders.
    async fn follow_checkout(&self, drain: &Drain) {
        let mut ticks = Ticks::new(Duration::from_millis(self.config.intake_ms), drain);
        while ticks.next().await {
            self.checkout.refresh().await;
        }
    }

    /// Refreshes the list of rooms and their settings, whichever instance has set them.
    async fn list_rooms(&self, drain: &Drain) {
        let mut ticks = Ticks::new(Duration::from_millis(self.config.list_ms), drain);
        while ticks.next().await {
            if let Err(error) = self.list().await {
                tracing::warn!(%error, "the rooms cannot be listed; the known ones go on");
            }
        }
    }

    async fn list(&self) -> Result<(), StoreError> {
        let rows = self.rooms.to_tick(i64::from(self.config.max_rooms)).await?;
        let listed: HashSet<_> = rows.iter().map(|row| row.sale_id).collect();
        self.feeds.keep(&listed);
        for row in rows {
            let feed = self.feeds.feed(row.sale_id);
            // Repairs a change that has reached Postgres but not Redis, and one that an instance of
            // an older version has copied without the settings that it does not know.
            let lacks = |room: RoomView| {
                let settings = (room.window, room.watches_stock);
                room.version < row.version || settings != (row.window, row.watches_stock)
            };
            if feed.room().is_none_or(lacks)
                && let Err(error) = self.rooms.apply(&row).await
            {
                tracing::warn!(sale_id = %row.sale_id, %error, "a room cannot follow its record yet");
            }
        }
        Ok(())
    }

    /// Ticks each room on its own: one whose stores are slow misses ticks, the others do not.
    async fn tick_rooms(self: &Arc<Self>, end: &Drain) -> anyhow::Result<()> {
        let mut ticks = Ticks::new(Duration::from_millis(self.config.tick_ms), end);
        let mut running = JoinSet::new();
        while ticks.next().await {
            while let Some(ended) = running.try_join_next() {
                ended?;
            }
            for feed in self.feeds.all() {
                running.spawn(Arc::clone(self).tick(feed));
            }
        }
        while let Some(ended) = running.join_next().await {
            ended?;
        }
        Ok(())
    }

    async fn tick(self: Arc<Self>, feed: Arc<Feed>) {
        self.refresh_stock(&feed);
        if let Some(room) = self.plan(&feed).await {
            self.record(&feed, room).await;
        }
    }

    /// Plans how far the head may go, and tells the watchers of the room. `None` if the plan before
    /// is still under way, or failed.
    async fn plan(&self, feed: &Feed) -> Option<RoomView> {
        let _under_way = feed.planning.try_lock().ok()?;
        let _turn = self.at_once.plans.acquire().await.ok()?;
        let (burst_ms, unknown_ms) = (i64::from(self.config.burst_ms), self.config.unknown_ms);
        let unknown_ms = i64::try_from(unknown_ms).unwrap_or(i64::MAX);
        let answers =
            || Answers { stock: feed.stock.get(), accepts_orders: self.checkout.accepts_orders() };
        let planned = self.rooms.plan(feed.sale_id, burst_ms, unknown_ms, answers).await;
        let room = self.done(feed, planned)?;
        feed.broadcast(room.clone());
        Some(room)
    }

    /// Records what a plan leads to and publishes it, and fetches numbers if they run low: all that
    /// needs Postgres. Watchers learn of a pause while Postgres is unavailable, because it comes
    /// after the broadcast, and no tick of the room waits for it.
    async fn record(&self, feed: &Feed, room: RoomView) {
        let moves = room.planned > room.head && room.phase() == Phase::During;
        let runs_low = self.rooms.runs_low(&room);
        if !moves && !runs_low {
            return;
        }
        let Ok(_under_way) = feed.recording.try_lock() else { return };
        let Ok(_turn) = self.at_once.records.acquire().await else { return };
        let publishes = async {
            if moves {
                self.publish(feed, &room).await;
            }
        };
        let fetches = async {
            if runs_low {
                self.done(feed, self.rooms.fetch_numbers(feed.sale_id).await);
            }
        };
        tokio::join!(publishes, fetches);
    }

    async fn publish(&self, feed: &Feed, planned: &RoomView) {
        let published = self.rooms.publish(feed.sale_id, planned).await;
        if let Some((admitted, room)) = self.done(feed, published) {
            self.metrics.admitted(admitted);
            feed.broadcast(room);
        }
    }

    /// The value of a step of a tick; a failure is counted and logged.
    fn done<T>(&self, feed: &Feed, result: Result<T, StoreError>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            // The room is gone, but a ticket of it is still watched.
            Err(StoreError::NotFound(_)) => None,
            Err(
                error @ (StoreError::Busy
                | StoreError::Redis(_)
                | StoreError::Postgres(_)
                | StoreError::Malformed(_)),
            ) => {
                self.metrics.tick_failed();
                tracing::warn!(sale_id = %feed.sale_id, %error, "the head stands still");
                None
            }
        }
    }

    /// Refreshes the stock beside the tick, if that is due and the room depends on it.
    fn refresh_stock(&self, feed: &Arc<Feed>) {
        let room = feed.room();
        if room.as_ref().is_some_and(|room| !room.watches_stock) {
            return;
        }
        let every = Duration::from_millis(self.config.stock_ms);
        let is_closed = room.is_some_and(|room| room.is_closed());
        if !feed.begin_refresh(if is_closed { every * CLOSED_RARER } else { every }) {
            return;
        }
        let (inventory, feed) = (self.inventory.clone(), Arc::clone(feed));
        tokio::spawn(async move {
            let asked_at = Instant::now();
            match inventory.stock(feed.sale_id).await {
                // Not an answer that counts: the last one does, until it is too old.
                Stock::Unknown => {}
                stock @ (Stock::Available | Stock::TakenForNow | Stock::Gone) => {
                    feed.stock.set(stock, asked_at);
                }
            }
            feed.end_refresh();
        });
    }
}
