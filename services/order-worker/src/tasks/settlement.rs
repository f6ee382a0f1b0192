//! Makes orders follow their payments. A payment ends by one compare-and-set on its own row; this
//! draws the consequences for the order.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use flashsale_pg::SteppedPool;
use flashsale_queue::{PAYMENT_EVENT_SUBJECTS, PaymentEvent};
use flashsale_service::Drain;
use futures::StreamExt as _;
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval},
};
use tracing::Instrument as _;
use uuid::Uuid;

use crate::{app::Wakeups, metrics::Metrics, store::settlements};

/// Between two attempts to listen to payment events.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);

/// How often orders are compared with their payments.
#[derive(Debug, Clone, Copy)]
pub struct SettlementPace {
    /// The most orders of one transaction.
    pub batch: usize,
    /// How often open orders are compared, for events that were lost.
    pub poll: Duration,
    /// How often ended orders are compared: refunds, and money that came after the end, whose
    /// events were lost.
    pub late_poll: Duration,
}

/// Settles orders that payment events name and that polling finds. Several instances may run.
#[derive(Debug)]
pub struct Settler {
    pub pool: SteppedPool,
    pub pace: SettlementPace,
    /// Orders whose payments have changed, according to events.
    pub pending: mpsc::Receiver<Uuid>,
    pub wakeups: Arc<Wakeups>,
    pub metrics: Metrics,
}

impl Settler {
    /// Settles until the drain starts. The next poll finds again what fails.
    ///
    /// # Errors
    /// None; the signature is that of a background task.
    pub async fn run(mut self, drain: Drain) -> anyhow::Result<()> {
        let mut poll = interval(self.pace.poll);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut late = Instant::now();
        let mut orders = Vec::new();
        loop {
            orders.clear();
            tokio::select! {
                () = drain.started() => return Ok(()),
                _ = self.pending.recv_many(&mut orders, self.pace.batch) => {
                    self.settle(&orders).await;
                }
                _ = poll.tick() => {
                    self.sweep(Sweep::Open).await;
                    if late <= Instant::now() {
                        self.sweep(Sweep::Ended).await;
                        late = Instant::now() + self.pace.late_poll;
                    }
                }
            }
        }
    }

    /// Settles what a sweep finds, batch by batch, until nothing changes any more.
    async fn sweep(&self, sweep: Sweep) {
        loop {
            let found = match sweep {
                Sweep::Open => settlements::find_open(&self.pool, self.pace.batch).await,
                Sweep::Ended => settlements::find_ended(&self.pool, self.pace.batch).await,
            };
            let orders = match found {
                Ok(orders) => orders,
                Err(error) => {
                    tracing::warn!(%error, "settlements cannot be looked for");
                    return;
                }
            };
            if !self.settle(&orders).await || orders.len() < self.pace.batch {
                return;
            }
        }
    }

    /// Settles `orders`; whether anything changed.
    async fn settle(&self, orders: &[Uuid]) -> bool {
        let orders: Vec<Uuid> =
            orders.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
        if orders.is_empty() {
            return false;
        }
        let span = tracing::info_span!("settle", orders = orders.len());
        match settlements::follow_payments(&self.pool, &orders).instrument(span).await {
            Ok(settled) => {
                self.wakeups.handlers(&settled.kinds);
                for (_, state) in &settled.changed {
                    self.metrics.reached(*state);
                }
                self.metrics.late_payments(settled.refunds);
                !settled.is_empty()
            }
            Err(error) => {
                tracing::warn!(%error, orders = orders.len(), "orders cannot be settled");
                false
            }
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Sweep {
    Open,
    Ended,
}

/// Passes payment events on to the settlement until the drain starts. A lost event costs a poll
/// interval.
///
/// # Errors
/// None; the signature is that of a background task.
pub async fn listen(
    client: async_nats::Client,
    wakeups: Arc<Wakeups>,
    drain: Drain,
) -> anyhow::Result<()> {
    while !drain.is_draining() {
        match client.subscribe(PAYMENT_EVENT_SUBJECTS).await {
            Ok(mut events) => loop {
                let event = tokio::select! {
                    event = events.next() => event,
                    () = drain.started() => return Ok(()),
                };
                let Some(event) = event else { break };
                if let Ok(event) = serde_json::from_slice::<PaymentEvent>(&event.payload) {
                    wakeups.payment_changed(event.order_id);
                }
            },
            Err(error) => tracing::warn!(%error, "payment events cannot be listened to"),
        }
        tokio::select! {
            () = tokio::time::sleep(LISTEN_AGAIN) => {}
            () = drain.started() => {}
        }
    }
    Ok(())
}
