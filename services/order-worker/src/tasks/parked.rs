//! Parked orders: orders of an older epoch that came behind the marker of a rebuild. Their units
//! are asked for from the stock that stands now, and they are claimed or ended by what it answers.
//!
//! This is the one part of the claims that waits for inventory, and it waits sale by sale: a sale
//! whose stock is closed is put off, and only its own orders with it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use flashsale_service::{Drain, peer::PeerChannel};
use flashsale_telemetry::propagate;
use sqlx::PgPool;
use tokio::{
    task::{Id, JoinError, JoinSet},
    time::Instant,
};
use tracing::Instrument as _;
use uuid::Uuid;

use crate::{
    app::Wakeups,
    domain::{Answers, Intake},
    metrics::Metrics,
    peers::inventory,
    store::{
        decode::receive,
        parked::{self, DueSale, Parked, Row},
    },
};

/// How parked orders are seen to.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Sales at once.
    pub sales: usize,
    /// Orders of one sale at once, in one call and one transaction.
    pub batch: usize,
    /// How long an order belongs to whoever took it.
    pub lease: Duration,
    /// How often to look for what nobody woke it for.
    pub poll: Duration,
    /// The pause of a sale whose stock does not answer; doubled with each further time.
    pub retry: Duration,
    /// The longest pause.
    pub retry_ceiling: Duration,
}

/// Sees to parked orders. Several may run.
#[derive(Debug)]
pub struct ParkedOrders {
    /// The record.
    pub pool: PgPool,
    /// Who takes units anew.
    pub inventory: PeerChannel,
    /// How fast.
    pub pace: Pace,
    /// Whom to wake, and what wakes this.
    pub wakeups: Arc<Wakeups>,
    /// What to count.
    pub metrics: Metrics,
}

impl ParkedOrders {
    /// Sees to parked orders until the drain starts, and then to what it has begun. What fails
    /// comes up again.
    ///
    /// # Errors
    /// None; the signature is that of a background task.
    pub async fn run(self, drain: Drain) -> anyhow::Result<()> {
        let this = Arc::new(self);
        // One turn a sale at a time: two would ask about the same orders.
        let mut turns = JoinSet::new();
        let mut under_way: HashMap<Id, Uuid> = HashMap::new();
        // Sales whose turn came to nothing are not looked at again at once, whatever the record
        // says of them.
        let mut resting: HashMap<Uuid, Instant> = HashMap::new();
        while !drain.is_draining() {
            resting.retain(|_, until| *until > Instant::now());
            let except: Vec<Uuid> = under_way.values().chain(resting.keys()).copied().collect();
            let free = this.pace.sales.saturating_sub(turns.len());
            let due = if free == 0 {
                Vec::new()
            } else {
                parked::due_sales(&this.pool, &except, free).await.unwrap_or_else(|error| {
                    tracing::warn!(%error, "parked orders cannot be looked for");
                    Vec::new()
                })
            };
            for sale in due {
                let this = Arc::clone(&this);
                let turn = turns.spawn(async move { this.turn(sale).await });
                under_way.insert(turn.id(), sale.sale_id);
            }
            tokio::select! {
                Some(ended) = turns.join_next_with_id() => {
                    let (id, progress) = outcome(ended);
                    if let (Some(sale_id), false) = (under_way.remove(&id), progress) {
                        resting.insert(sale_id, Instant::now() + this.pace.poll);
                    }
                }
                () = this.wakeups.parked().notified() => {}
                () = tokio::time::sleep(this.pace.poll) => {}
                () = drain.started() => break,
            }
        }
        while let Some(ended) = turns.join_next_with_id().await {
            outcome(ended);
        }
        Ok(())
    }

    /// One batch of one sale; whether anything came of it.
    async fn turn(&self, sale: DueSale) -> bool {
        let span = tracing::info_span!("parked_orders", sale_id = %sale.sale_id);
        self.settle(sale).instrument(span).await.unwrap_or_else(|error| {
            // They come up again when their lease ends.
            tracing::warn!(sale_id = %sale.sale_id, %error, "parked orders cannot be recorded yet");
            false
        })
    }

    async fn settle(&self, sale: DueSale) -> Result<bool, sqlx::Error> {
        let rows = parked::lease(&self.pool, sale, self.pace.batch, self.pace.lease).await?;
        let Some(attempts) = rows.iter().map(|row| row.attempts).max() else {
            return Ok(false);
        };
        let taken = rows.len();
        let (mut orders, mut waiting, mut unrecorded) = (Vec::new(), Vec::new(), Vec::new());
        for row in rows {
            propagate::link(
                &tracing::Span::current(),
                &propagate::from_text(row.traceparent.as_deref()),
            );
            let Some(parked) = read(&row) else {
                waiting.push(row.order_id);
                continue;
            };
            if !row.recorded {
                unrecorded.push(parked.order.clone());
            }
            orders.push(parked);
        }
        let answers = match sale.passed {
            // Whatever inventory says does not count before the marker is passed.
            Some(passed) if !sale.marker_ahead => {
                inventory::retake(&self.inventory, sale.sale_id, passed, &unrecorded).await
            }
            Some(_) | None => Answers::new(),
        };
        let settled = parked::settle(&self.pool, sale.sale_id, &orders, &answers).await?;

        let now = flashsale_failpoint::now_utc();
        for (state, placed_at) in &settled.entered {
            self.metrics.reached(*state);
            self.metrics.claimed_after(now - *placed_at);
        }
        self.wakeups.carriers(&settled.kinds);
        waiting.extend(settled.waiting);
        tracing::debug!(
            orders = orders.len(),
            entered = settled.entered.len(),
            waiting = waiting.len(),
            "parked orders"
        );
        let progress = waiting.len() < taken;
        if !waiting.is_empty() {
            let pause = self.pace.pause_after(attempts);
            // Where something came of it, the others of the sale need not wait for these.
            parked::put_off(&self.pool, sale.sale_id, pause, &waiting, !progress).await?;
        }
        Ok(progress)
    }
}

impl Pace {
    /// The pause of a sale some of whose orders were taken this often in vain: doubled each time up
    /// to the ceiling, half of it by chance.
    fn pause_after(&self, attempts: u32) -> Duration {
        let doublings = attempts.saturating_sub(1).min(20);
        let full = (self.retry * (1 << doublings)).min(self.retry_ceiling);
        full.mul_f64(rand::random_range(0.5..=1.0))
    }
}

/// The order that a row says; `None` if it cannot be read. It was read before it was parked, so
/// that anything else is a fault of ours, or of an older version of this.
pub fn read(row: &Row) -> Option<Parked> {
    let seq = u64::try_from(row.seq).unwrap_or_default();
    match receive(seq, row.message.clone().into_bytes()).content {
        Ok(Intake::Place(order)) if order.order_id == row.order_id => {
            Some(Parked { order, traceparent: row.traceparent.clone() })
        }
        Ok(_) | Err(_) => {
            tracing::error!(order_id = %row.order_id, seq, "a parked order cannot be read");
            None
        }
    }
}

/// Which turn ended, and whether anything came of it.
fn outcome(ended: Result<(Id, bool), JoinError>) -> (Id, bool) {
    ended.unwrap_or_else(|error| {
        // Its orders come up again when their lease ends.
        tracing::error!(%error, "seeing to parked orders broke off");
        (error.id(), false)
    })
}
