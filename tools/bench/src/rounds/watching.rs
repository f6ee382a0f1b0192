//! Many watchers of orders on one checkout: what each takes, and how soon it learns of a change.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use flashsale_proto::{
    NamedChannel,
    checkout::{
        OrderState, WatchOrderRequest, WatchOrderResponse,
        checkout_service_client::CheckoutServiceClient,
    },
};
use flashsale_queue::OrderEvent;
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use tokio::{sync::mpsc, task::JoinSet};
use tonic::Streaming;
use uuid::Uuid;

use super::Bench;
use crate::{
    cpu::{Watched, between, resident_mb},
    platform::pid,
    report::rounded,
    say,
};

/// Streams on each connection; the server allows a few more.
const STREAMS: usize = 1_000;
/// Streams being opened at a time.
const AT_ONCE: usize = 64;
/// Orders that change while they are watched.
const CHANGES: usize = 1_000;
/// How long a stream may take to begin, and a change to arrive.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long checkout has for what follows the opening, its sweep of all watched orders above all.
const REST: Duration = Duration::from_secs(5);
/// A first few that come and go, so that what every process needs once is not counted as theirs.
const WARM_UP: usize = 100;

/// An order as its watcher knows it.
#[derive(Debug, Clone, sqlx::FromRow)]
struct Order {
    order_id: Uuid,
    sale_id: Uuid,
    buyer_id: String,
}

impl Bench<'_> {
    /// Opens the streams on a checkout of its own, lets them rest, and changes some of the orders.
    pub(super) async fn watch_order(&mut self) -> anyhow::Result<Value> {
        let count = self.settings.watchers as usize;
        say(&format!("watching {count} orders"));
        let placing = self.requests.orders(count as u64);
        self.drive(&self.lanes.place_order, placing).await?;
        self.placed += count as u64;
        self.settled(self.admitted.pending()).await?;
        let orders: Vec<Order> = sqlx::query_as(
            "SELECT order_id, sale_id, buyer_id FROM orders WHERE sale_id = $1 AND state = 'CLAIMED'
              ORDER BY placed_at DESC LIMIT $2",
        )
        .bind(self.platform.sale_id)
        .bind(i64::try_from(count)?)
        .fetch_all(self.platform.pool())
        .await?;
        ensure!(orders.len() == count, "{} orders can be watched", orders.len());

        // A process that has done nothing yet has no free memory that would hide what the streams
        // take.
        let checkout = self.platform.another("checkout", "checkout-watched", |_| {}).await?;
        let pid = pid(&checkout)?;
        let mut channels = Vec::new();
        for _ in 0..count.div_ceil(STREAMS) {
            channels.push(checkout.channel()?);
        }
        drop(open(&channels, &orders[..WARM_UP.min(count)]).await?);
        let rest = Duration::from_secs_f64(self.settings.open_seconds.min(REST.as_secs_f64()));
        tokio::time::sleep(rest).await;
        let idle_without = self.idle(pid).await;
        let before = resident_mb(pid)?;
        let began = Instant::now();
        let streams = open(&channels, &orders).await?;
        let opening = began.elapsed();
        tokio::time::sleep(rest).await;
        let after = resident_mb(pid)?;
        let idle_with = self.idle(pid).await;
        let (changed, delays) = self.changes(&orders, streams).await?;
        checkout.stop().await?;

        let ms = |us: u64| rounded(us as f64 / 1_000.0, 1);
        Ok(json!({
            "streams": count,
            "connections": channels.len(),
            "opened_per_s": (count as f64 / opening.as_secs_f64()).round(),
            "bytes_per_stream": ((after - before) * 1_000_000.0 / count as f64).round(),
            "memory_mb": { "before": rounded(before, 1), "after": rounded(after, 1) },
            "idle_seconds": self.settings.open_seconds,
            "idle_cpu_s": rounded(idle_with, 2),
            "idle_cpu_s_without": rounded(idle_without, 2),
            "changes": changed,
            "delay_p50_ms": ms(delays.value_at_quantile(0.5)),
            "delay_p99_ms": ms(delays.value_at_quantile(0.99)),
        }))
    }

    /// Processor seconds that a process takes while it is idle.
    async fn idle(&self, pid: u32) -> f64 {
        let watched = Watched { processes: vec![("checkout", pid)] };
        let before = watched.read();
        tokio::time::sleep(Duration::from_secs_f64(self.settings.open_seconds)).await;
        between(&before, &watched.read()).values().sum()
    }

    /// Changes orders one after the other, as the order worker does, and takes the time from each
    /// commit to its watcher.
    async fn changes(
        &self,
        orders: &[Order],
        streams: Vec<(Uuid, Streaming<WatchOrderResponse>)>,
    ) -> anyhow::Result<(usize, Histogram<u32>)> {
        let mut readers = JoinSet::new();
        let (told, mut learnt) = mpsc::channel(CHANGES);
        for (order_id, mut stream) in streams {
            let told = told.clone();
            readers.spawn(async move {
                while let Ok(Some(answer)) = stream.message().await {
                    // A watcher that began before the record could be read learns of the claim
                    // first.
                    let state = answer.order.unwrap_or_default().state();
                    if state == OrderState::Paying
                        && told.send((order_id, Instant::now())).await.is_err()
                    {
                        return;
                    }
                }
            });
        }
        let changed = orders.len().min(CHANGES);
        let mut committed = HashMap::new();
        for Order { order_id, sale_id, .. } in orders.iter().take(changed).cloned() {
            sqlx::query("UPDATE orders SET state = 'PAYING', updated_at = clock_timestamp() WHERE order_id = $1")
                .bind(order_id)
                .execute(self.platform.pool())
                .await?;
            committed.insert(order_id, Instant::now());
            let event = OrderEvent { order_id, sale_id, state: "PAYING".to_owned() };
            let subject = flashsale_queue::order_event_subject(order_id);
            flashsale_queue::announce(&self.platform.nats_client, subject, &event).await;
        }
        let mut delays = crate::drive::times()?;
        while !committed.is_empty() {
            let next = tokio::time::timeout(PATIENCE, learnt.recv()).await;
            let (order_id, at) = next
                .with_context(|| format!("{} changes reached no watcher", committed.len()))?
                .context("no watcher is left")?;
            let since = committed.remove(&order_id).context("a change that nobody made")?;
            // Told before this program had the answer to its commit: at once.
            delays
                .saturating_record(u64::try_from(at.saturating_duration_since(since).as_micros())?);
        }
        Ok((changed, delays))
    }
}

/// A stream for each order, of which the first message has come.
async fn open(
    channels: &[NamedChannel],
    orders: &[Order],
) -> anyhow::Result<Vec<(Uuid, Streaming<WatchOrderResponse>)>> {
    let mut opening = JoinSet::new();
    let mut streams = Vec::with_capacity(orders.len());
    for (order, channel) in orders.iter().cloned().zip(channels.iter().cycle().cloned()) {
        if opening.len() >= AT_ONCE
            && let Some(opened) = opening.join_next().await
        {
            streams.push(opened???);
        }
        opening.spawn(tokio::time::timeout(PATIENCE, async move {
            let watch = WatchOrderRequest {
                sale_id: order.sale_id.to_string(),
                order_id: order.order_id.to_string(),
                buyer_id: order.buyer_id,
            };
            let watched = CheckoutServiceClient::new(channel).watch_order(watch).await?;
            let mut stream = watched.into_inner();
            stream.message().await?.context("a stream ended before it began")?;
            anyhow::Ok((order.order_id, stream))
        }));
    }
    while let Some(opened) = opening.join_next().await {
        streams.push(opened???);
    }
    Ok(streams)
}
