//! Moves the heads. One task serves all rooms and every instance runs it; the rate is kept because
//! the budget is spent in Redis.

use std::{collections::HashSet, sync::Arc, time::Duration};

use flashsale_service::{Drain, Ticks};
use futures::{StreamExt as _, stream};

use crate::{
    app::{Feed, Feeds, Refresh},
    config::RoomConfig,
    domain::{Phase, RoomView},
    metrics::Metrics,
    peers::{Checkout, Inventory},
    store::{Rooms, StoreError},
};

/// Rooms ticked concurrently.
const ROOMS_AT_ONCE: usize = 64;

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
}

impl HeadMover {
    /// Runs until the process drains. While a store does not answer, the heads stand still.
    pub(crate) async fn run(self, drain: Drain) -> anyhow::Result<()> {
        tokio::join!(
            self.list_rooms(&drain),
            self.tick_rooms(&drain),
            self.follow_checkout(&drain)
        );
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
            // Repairs a change that has reached Postgres but not Redis, and one that an instance from
            // before the window has copied without it.
            if feed
                .room()
                .is_none_or(|room| room.version < row.version || room.window != row.window)
                && let Err(error) = self.rooms.apply(&row).await
            {
                tracing::warn!(sale_id = %row.sale_id, %error, "a room cannot follow its record yet");
            }
        }
        Ok(())
    }

    async fn tick_rooms(&self, drain: &Drain) {
        let mut ticks = Ticks::new(Duration::from_millis(self.config.tick_ms), drain);
        while ticks.next().await {
            stream::iter(self.feeds.all())
                .for_each_concurrent(ROOMS_AT_ONCE, |feed| self.tick(feed))
                .await;
        }
    }

    async fn tick(&self, feed: Arc<Feed>) {
        self.refresh_stock(&feed).await;
        if let Err(error) = self.move_head(&feed).await {
            match error {
                // The room is gone, but a ticket of it is still watched.
                StoreError::NotFound(_) => {}
                StoreError::Busy
                | StoreError::Redis(_)
                | StoreError::Postgres(_)
                | StoreError::Malformed(_) => {
                    self.metrics.tick_failed();
                    tracing::warn!(sale_id = %feed.sale_id, %error, "the head stands still");
                }
            }
        }
    }

    async fn move_head(&self, feed: &Feed) -> Result<(), StoreError> {
        let (sale_id, burst_ms) = (feed.sale_id, i64::from(self.config.burst_ms));
        let admits = feed.stock().admits() && self.checkout.accepts_orders();
        let before = self.rooms.plan(sale_id, burst_ms, admits).await?;
        let RoomView { planned, head, .. } = before;
        let moves = planned > head && before.phase() == Phase::During;
        if self.rooms.runs_low(&before) {
            self.rooms.fetch_numbers(sale_id).await?;
        }
        // Broadcast before Postgres is used: watchers learn of a pause while Postgres is
        // unavailable.
        feed.broadcast(before.clone());
        if moves {
            let after = self.rooms.publish(sale_id, &before).await?;
            self.metrics.admitted(after.head - head);
            feed.broadcast(after);
        }
        Ok(())
    }

    /// Refreshes the stock if it is due. Only the first answer delays the tick.
    async fn refresh_stock(&self, feed: &Arc<Feed>) {
        let inventory = self.inventory.clone();
        let target = Arc::clone(feed);
        let refresh = async move { target.set_stock(inventory.stock(target.sale_id).await) };
        let every = Duration::from_millis(self.config.stock_ms);
        match feed.begin_refresh(if feed.is_closed() { every * CLOSED_RARER } else { every }) {
            Refresh::First => refresh.await,
            Refresh::Stale => drop(tokio::spawn(refresh)),
            Refresh::NotDue => {}
        }
    }
}
