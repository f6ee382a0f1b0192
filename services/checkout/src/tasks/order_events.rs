//! Wakes the watchers of changed orders: on announcements, and by a sweep for those whose
//! announcement was lost.

use std::time::Duration;

use flashsale_service::Drain;
use futures::StreamExt as _;

use crate::{
    app::OrderSubscriptions,
    store::{OrderEvents, Record},
};

/// Announcements and orders per batch.
const BATCH: usize = 500;
/// How long announcements accumulate between two wake-ups.
const BURST: Duration = Duration::from_millis(20);
/// How long to wait before a failed subscription is tried again.
const RESUBSCRIBE: Duration = Duration::from_millis(500);

/// Passes announcements on until the process drains.
pub async fn listen(
    subscriptions: OrderSubscriptions,
    events: OrderEvents,
    drain: Drain,
) -> anyhow::Result<()> {
    let ended = drain.token();
    while !ended.is_cancelled() {
        let Ok(mut bursts) = events.subscribe(BATCH).await else {
            tokio::select! {
                () = tokio::time::sleep(RESUBSCRIBE) => continue,
                () = ended.cancelled() => break,
            }
        };
        loop {
            let burst = tokio::select! {
                burst = bursts.next() => burst,
                () = ended.cancelled() => return Ok(()),
            };
            let Some(orders) = burst else { break };
            subscriptions.notify(&orders);
            tokio::time::sleep(BURST).await;
        }
    }
    Ok(())
}

/// Compares all watched orders with the record periodically, until the process drains.
pub async fn sweep(
    subscriptions: OrderSubscriptions,
    record: Record,
    every: Duration,
    drain: Drain,
) -> anyhow::Result<()> {
    let ended = drain.token();
    loop {
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            () = ended.cancelled() => return Ok(()),
        }
        for batch in subscriptions.watched().chunks(BATCH) {
            let Ok(updated) = record.updated(batch).await else { break };
            subscriptions.notify_changed(updated);
        }
    }
}
