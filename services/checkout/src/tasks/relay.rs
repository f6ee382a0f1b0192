//! Rolls placed orders forward. An order that is placed in the stock store and not recorded after a
//! while is published again; once it is recorded, its hold is settled and no longer carries it.
//! This makes up for failed publishes, for a crash between placing and publishing, and for a queue
//! that has lost its messages.
//!
//! A dead letter is not published again until an operator retries it: the claims would reject it
//! each time. Its hold goes on carrying it. A placed hold that cannot be read is reported to the
//! queue once, which makes it a dead letter. A parked order waits for its units and is left alone.
//!
//! Sales are relayed independently, several at a time and each for a bounded time: one that is
//! closed or hangs does not delay another.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::Duration,
};

use flashsale_errors::Failure;
use flashsale_proto::inventory::HoldOutcome;
use flashsale_queue::{PublishError, QueueMessage};
use flashsale_service::Drain;
use futures::{StreamExt as _, stream::FuturesUnordered};
use tokio::time::{Instant, MissedTickBehavior, timeout};
use uuid::Uuid;

use crate::{
    app::AdmissionControl,
    config::RelayConfig,
    peers::inventory::{Inventory, PlacedHolds, PlacedOrder, UnreadableReport},
    store::{Queue, Record, unavailable},
};

/// The most placed holds that inventory lists in one call.
const MAX_LISTED: u32 = 500;

/// Placed holds younger than this are not listed: their claims are still on the way.
const SETTLING: Duration = Duration::from_secs(1);

const SALES_AT_ONCE: usize = 8;

/// How long one sale may take. The rest is left for its next turn.
const SALE_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub struct Relay {
    pub inventory: Inventory,
    pub record: Record,
    /// Told when the queue is full.
    pub admission_control: AdmissionControl,
    pub queue: Queue,
    pub config: RelayConfig,
}

/// The sales to relay, in order of arrival.
#[derive(Debug, Default)]
struct Schedule {
    waiting: VecDeque<Uuid>,
    /// Waiting sales, and those in progress.
    active: HashSet<Uuid>,
    /// By sale, how many orders were skipped at the head of its list the last time.
    skipped: HashMap<Uuid, u32>,
}

impl Schedule {
    /// Enqueues these sales; one that waits or is in progress keeps its place.
    fn enqueue(&mut self, sales: &[Uuid]) {
        self.skipped.retain(|sale, _| sales.contains(sale));
        self.waiting.extend(sales.iter().filter(|sale| self.active.insert(**sale)));
    }

    fn next(&mut self) -> Option<(Uuid, u32)> {
        let sale = self.waiting.pop_front()?;
        Some((sale, self.skipped.get(&sale).copied().unwrap_or_default()))
    }

    fn finish(&mut self, sale: Uuid, skipped: u32) {
        self.active.remove(&sale);
        self.skipped.insert(sale, skipped);
    }
}

impl Relay {
    /// Works until the process drains. Several instances may run it: every step may be done twice.
    pub async fn run(self, drain: Drain) -> anyhow::Result<()> {
        let ended = drain.token();
        let every = Duration::from_millis(self.config.poll_ms);
        let mut ticks = tokio::time::interval_at(Instant::now() + every, every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut schedule = Schedule::default();
        let mut working = FuturesUnordered::new();
        loop {
            tokio::select! {
                _ = ticks.tick() => {
                    // While Postgres is unavailable, recorded and unrecorded orders cannot be told
                    // apart; placed orders wait.
                    if let Ok(sales) = self.record.sales_to_relay().await {
                        schedule.enqueue(&sales);
                    }
                }
                Some((sale, skipped)) = working.next() => schedule.finish(sale, skipped),
                () = ended.cancelled() => return Ok(()),
            }
            while working.len() < SALES_AT_ONCE
                && let Some((sale, skipped)) = schedule.next()
            {
                working.push(self.relay_sale(sale, skipped));
            }
        }
    }

    async fn relay_sale(&self, sale_id: Uuid, mut skipped: u32) -> (Uuid, u32) {
        match timeout(SALE_TIMEOUT, self.relay_pages(sale_id, &mut skipped)).await {
            Ok(Ok(())) => {}
            Ok(Err(failure)) => {
                tracing::debug!(%sale_id, reason = failure.reason().as_str(), "relay comes back later");
            }
            Err(_) => {
                tracing::warn!(%sale_id, "the relay of a sale takes too long: comes back later")
            }
        }
        (sale_id, skipped)
    }

    /// Relays one sale, a page of placed holds at a time.
    ///
    /// `skipped` is how many dead letters and parked orders the last pass met. They stay at the
    /// head of the list, which is oldest first, so that a page has to be longer by as many to reach
    /// the others. Beyond [`MAX_LISTED`] of them nothing behind them is reached until an operator
    /// has resolved them: a queue that rejects that many orders of one sale is broken.
    async fn relay_pages(&self, sale_id: Uuid, skipped: &mut u32) -> Result<(), Failure> {
        loop {
            let now = flashsale_failpoint::now_utc();
            let limit = self.config.batch.saturating_add(*skipped).min(MAX_LISTED);
            let PlacedHolds { placed, unreadable } =
                self.inventory.placed_holds(sale_id, now - SETTLING, limit).await?;
            let listed = placed.len() + unreadable.len();
            if listed == 0 {
                *skipped = 0;
                return Ok(());
            }
            let full = listed >= limit as usize;
            let ids = placed.iter().map(|placed| placed.order.order_id);
            let ids: Vec<Uuid> = ids.chain(unreadable.iter().map(|hold| hold.order_id)).collect();
            // Recorded orders are settled, unknown ones published; dead letters and parked orders
            // are skipped.
            let claims = self.record.claims(&ids).await?;
            let (done, missing): (Vec<PlacedOrder>, Vec<PlacedOrder>) = placed
                .into_iter()
                .partition(|placed| claims.recorded.contains_key(&placed.order.order_id));
            let waits = |order_id: &Uuid| {
                claims.dead_letters.contains(order_id) || claims.parked.contains(order_id)
            };
            let missing: Vec<PlacedOrder> =
                missing.into_iter().filter(|placed| !waits(&placed.order.order_id)).collect();
            let unreadable: Vec<UnreadableReport> =
                unreadable.into_iter().filter(|hold| !waits(&hold.order_id)).collect();
            let alone = listed - done.len() - missing.len() - unreadable.len();
            // More are skipped than this page allowed for: list a longer one.
            let before = std::mem::replace(skipped, u32::try_from(alone).unwrap_or(u32::MAX));
            if full && *skipped > before && limit < MAX_LISTED {
                continue;
            }
            if *skipped >= MAX_LISTED {
                tracing::error!(%sale_id, "dead letters hide the placed orders behind them");
            }
            let settled = if done.is_empty() {
                Ok(())
            } else {
                let outcomes = done.iter().map(|PlacedOrder { order, .. }| {
                    // An order whose hold was thought lost was placed twice under one id: it has
                    // the units of the hold it is recorded with, and those of the other are free.
                    let own = claims.recorded.get(&order.order_id) == Some(&order.hold_id);
                    let outcome = if own { HoldOutcome::Claimed } else { HoldOutcome::Released };
                    (order, outcome)
                });
                self.inventory.settle(sale_id, outcomes).await
            };
            let late = now - Duration::from_millis(self.config.republish_after_ms);
            let late = missing.iter().filter(|placed| placed.order.placed_at < late);
            let late = late.filter_map(|placed| {
                placed.queue_message().map(|message| (placed.order.order_id, message))
            });
            let broken = unreadable.into_iter().map(|hold| (hold.order_id, hold.message));
            self.publish(late.chain(broken).collect(), &claims.retries).await?;
            settled?;
            // The remaining orders are on their way; only a full page may hide more behind it.
            if !full || done.is_empty() {
                return Ok(());
            }
        }
    }

    /// Publishes each message under its order's id, as far as the queue has room for orders.
    async fn publish(
        &self,
        mut messages: Vec<(Uuid, QueueMessage)>,
        retries: &HashMap<Uuid, i64>,
    ) -> Result<(), Failure> {
        if messages.is_empty() {
            return Ok(());
        }
        // Orders first: a report that cannot be published delays no order.
        messages.sort_by_key(|(_, message)| matches!(message, QueueMessage::Unreadable { .. }));
        // Measured now: an order placed long ago needs the present room, however rarely the backlog
        // task measures it.
        self.queue.measure_for_publish().await?;
        for (order_id, message) in messages {
            let attempt = retries.get(&order_id).map(i64::to_string);
            self.queue.publish(&message, attempt.as_deref()).await.map_err(|error| {
                if error == PublishError::Full {
                    self.admission_control.note_queue_full();
                }
                unavailable(error)
            })?;
            match message {
                QueueMessage::Unreadable { hold_id, .. } => {
                    tracing::error!(%order_id, hold_id, "placed hold that cannot be read reported by the relay");
                }
                QueueMessage::Place { .. }
                | QueueMessage::Cancel { .. }
                | QueueMessage::Fence { .. }
                | QueueMessage::Closing { .. } => {
                    tracing::info!(%order_id, "placed order published by the relay");
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_sales_delay_no_others() {
        let [slow, other] = [1, 2].map(Uuid::from_u128);
        let mut schedule = Schedule::default();
        schedule.enqueue(&[slow, other]);
        assert_eq!(schedule.next(), Some((slow, 0)));
        for skipped in 0..3 {
            assert_eq!(schedule.next(), Some((other, skipped)));
            assert_eq!(schedule.next(), None);
            schedule.finish(other, skipped + 1);
            schedule.enqueue(&[slow, other]);
        }
        schedule.finish(slow, 7);
        schedule.enqueue(&[slow]);
        assert_eq!(schedule.next(), Some((other, 0)), "one that waits keeps its place");
        assert_eq!(schedule.next(), Some((slow, 7)));
    }
}
