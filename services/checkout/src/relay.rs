//! Rolls placed orders forward: whatever is placed in the stock store and not in the record after a while is published again; whatever is in the
//! record need not be carried any longer. It makes up for publishes that failed, for a crash between placing and publishing, and for a
//! queue that lost its messages.
//!
//! An order that the claims put aside as a dead letter is not published again before somebody asks for it: they would put it aside each time.
//! Its hold goes on carrying it.

use std::{collections::HashMap, time::Duration};

use async_nats::jetstream;
use flashsale_errors::Failure;
use flashsale_proto::inventory::HoldOutcome;
use flashsale_queue::{QueueMessage, publish_again, publish_order};
use flashsale_service::Drain;
use uuid::Uuid;

use crate::{
    config::RelayConfig,
    stock::{Carried, Stock},
    store::Record,
};

/// The most placed holds that inventory lists at once.
const MAX_LISTED: u32 = 500;

/// Claims that are this young are still on their way: looking at them earlier would only cost calls.
const SETTLING: Duration = Duration::from_secs(1);

/// The relay.
#[derive(Debug)]
pub struct Relay {
    /// The stock.
    pub stock: Stock,
    /// The record.
    pub record: Record,
    /// The queue.
    pub jetstream: jetstream::Context,
    /// How long a publish may take.
    pub publish_timeout: Duration,
    /// When to do what.
    pub config: RelayConfig,
}

impl Relay {
    /// Works until the process ends. Several processes may: everything it does may be done twice.
    ///
    /// # Errors
    /// None; the signature is a background task's.
    pub async fn run(self, drain: Drain) -> anyhow::Result<()> {
        let ended = drain.token();
        let mut sales = Vec::new();
        // How many dead letters stand in front of the others, by sale.
        let mut dead: HashMap<Uuid, u32> = HashMap::new();
        loop {
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(self.config.poll_ms)) => {}
                () = ended.cancelled() => return Ok(()),
            }
            // While Postgres is away nothing can be told apart; what is placed waits.
            if let Ok(now) = self.record.sales_to_relay().await {
                sales = now;
                dead.retain(|sale, _| sales.contains(sale));
            }
            for sale in &sales {
                if let Err(failure) = self.relay(*sale, dead.entry(*sale).or_default()).await {
                    tracing::debug!(%sale, reason = failure.reason().as_str(), "relay comes back later");
                }
                if ended.is_cancelled() {
                    return Ok(());
                }
            }
        }
    }

    /// `dead` is how many dead letters were met the last time. They stay where they are, oldest first, so that a page has to be longer by
    /// them to reach the others. When there are more than [`MAX_LISTED`] of them nothing behind them is reached until somebody has seen
    /// to them: a queue that puts that many orders of one sale aside is broken.
    async fn relay(&self, sale_id: Uuid, dead: &mut u32) -> Result<(), Failure> {
        loop {
            let now = flashsale_failpoint::now_utc();
            let limit = self.config.batch.saturating_add(*dead).min(MAX_LISTED);
            let placed = self.stock.placed_holds(sale_id, now - SETTLING, limit).await?;
            if placed.is_empty() {
                *dead = 0;
                return Ok(());
            }
            let full = placed.len() >= limit as usize;
            let ids: Vec<Uuid> = placed.iter().map(|carried| carried.order.order_id).collect();
            let claims = self.record.claims(&ids).await?;
            let (done, missing): (Vec<Carried>, Vec<Carried>) = placed
                .into_iter()
                .partition(|carried| claims.recorded.contains_key(&carried.order.order_id));
            let (aside, missing): (Vec<Carried>, Vec<Carried>) = missing
                .into_iter()
                .partition(|carried| claims.dead.contains(&carried.order.order_id));
            let before = std::mem::replace(dead, u32::try_from(aside.len()).unwrap_or(u32::MAX));
            if full && *dead > before && limit < MAX_LISTED {
                continue;
            }
            if *dead >= MAX_LISTED {
                tracing::error!(%sale_id, "dead letters hide the placed orders behind them");
            }
            if !done.is_empty() {
                let outcomes = done.iter().map(|Carried { order, .. }| {
                    // An order whose hold was thought lost was placed twice under one id: it has the units of the hold it is
                    // recorded with, and the other one's are free.
                    let own = claims.recorded.get(&order.order_id) == Some(&order.hold_id);
                    let outcome = if own { HoldOutcome::Claimed } else { HoldOutcome::Released };
                    (order, outcome)
                });
                self.stock.settle(sale_id, outcomes).await?;
            }
            let late = now - Duration::from_millis(self.config.republish_after_ms);
            let late = missing.iter().filter(|carried| carried.order.placed_at < late);
            self.publish(late, &claims.retried).await?;
            // What is left is on its way; only a full batch may hide more behind it.
            if !full || done.is_empty() {
                return Ok(());
            }
        }
    }

    async fn publish(
        &self,
        late: impl Iterator<Item = &Carried>,
        retried: &HashMap<Uuid, i64>,
    ) -> Result<(), Failure> {
        let (queue, timeout) = (&self.jetstream, self.publish_timeout);
        for order in late.filter_map(Carried::message) {
            let order_id = order.order_id;
            let message = QueueMessage::Place { order };
            let published = match retried.get(&order_id) {
                Some(letter) => publish_again(queue, &message, &letter.to_string(), timeout).await,
                None => publish_order(queue, &message, timeout).await,
            };
            published.map_err(|error| Failure::store("order queue", error))?;
            tracing::info!(%order_id, "placed order published by the relay");
        }
        Ok(())
    }
}
