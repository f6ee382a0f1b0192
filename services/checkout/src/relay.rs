//! Rolls placed orders forward: whatever is placed in the stock store and not in the record after a while is published again; whatever is in the
//! record need not be carried any longer. It makes up for publishes that failed, for a crash between placing and publishing, and for a
//! queue that lost its messages.

use std::{collections::HashSet, time::Duration};

use async_nats::jetstream;
use flashsale_errors::Failure;
use flashsale_queue::QueueMessage;
use flashsale_service::Drain;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    config::RelayConfig,
    stock::{Carried, Stock},
    store::Record,
};

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
        loop {
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(self.config.poll_ms)) => {}
                () = ended.cancelled() => return Ok(()),
            }
            // While Postgres is away nothing can be told apart; what is placed waits.
            if let Ok(now) = self.record.sales_to_relay().await {
                sales = now;
            }
            for sale in &sales {
                if let Err(failure) = self.relay(*sale).await {
                    tracing::debug!(%sale, reason = failure.reason().as_str(), "relay comes back later");
                }
                if ended.is_cancelled() {
                    return Ok(());
                }
            }
        }
    }

    async fn relay(&self, sale_id: Uuid) -> Result<(), Failure> {
        loop {
            let now = OffsetDateTime::now_utc();
            let placed =
                self.stock.placed_holds(sale_id, now - SETTLING, self.config.batch).await?;
            if placed.is_empty() {
                return Ok(());
            }
            let full = placed.len() >= self.config.batch as usize;
            let ids: Vec<Uuid> = placed.iter().map(|carried| carried.order.order_id).collect();
            let recorded: HashSet<Uuid> = self.record.recorded(&ids).await?.into_iter().collect();
            let (done, missing): (Vec<Carried>, Vec<Carried>) =
                placed.into_iter().partition(|carried| recorded.contains(&carried.order.order_id));
            if !done.is_empty() {
                let holds: Vec<Uuid> = done.iter().map(|carried| carried.order.hold_id).collect();
                self.stock.claimed(sale_id, &holds).await?;
            }
            let late = now - Duration::from_millis(self.config.republish_after_ms);
            self.publish(missing.iter().filter(|carried| carried.order.placed_at < late)).await?;
            // What is left is on its way; only a full batch may hide more behind it.
            if !full || done.is_empty() {
                return Ok(());
            }
        }
    }

    async fn publish(&self, late: impl Iterator<Item = &Carried>) -> Result<(), Failure> {
        for order in late.filter_map(Carried::message) {
            let order_id = order.order_id;
            flashsale_queue::publish_order(
                &self.jetstream,
                &QueueMessage::Place { order },
                self.publish_timeout,
            )
            .await
            .map_err(|error| Failure::store("order queue", error))?;
            tracing::info!(%order_id, "placed order published by the relay");
        }
        Ok(())
    }
}
