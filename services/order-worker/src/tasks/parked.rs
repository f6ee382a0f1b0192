//! Parked orders: orders of an older epoch that came behind the marker of a rebuild. Inventory is
//! asked to take their units from the stock of the current epoch, and its answer decides whether
//! they are claimed or end.
//!
//! This is the only part of the claims that waits for inventory, and it waits sale by sale: a sale
//! whose stock is closed is put off, and only its own orders with it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use flashsale_pg::SteppedPool;
use flashsale_service::Drain;
use flashsale_telemetry::propagate;
use tokio::{
    task::{Id, JoinError, JoinSet},
    time::Instant,
};
use tracing::Instrument as _;
use uuid::Uuid;

use crate::{
    app::Wakeups,
    domain::{Answers, Backoff},
    metrics::Metrics,
    peers::inventory::Inventory,
    store::{
        parked::{self, DueSale},
        parked_claims,
    },
};

/// How parked orders are worked off.
#[derive(Debug, Clone, Copy)]
pub struct ParkedPace {
    /// Sales at once.
    pub sales: usize,
    /// Orders of one sale at once, in one call and one transaction.
    pub batch: usize,
    /// How long an order is leased.
    pub lease: Duration,
    /// How often to poll, for wake-ups that were lost.
    pub poll: Duration,
    /// The pauses of a sale whose stock does not answer.
    pub backoff: Backoff,
}

/// Works off parked orders. Several instances may run.
#[derive(Debug)]
pub struct ParkedOrders {
    pub pool: SteppedPool,
    /// Takes the units again.
    pub inventory: Inventory,
    pub pace: ParkedPace,
    /// Whom to wake, and what wakes this.
    pub wakeups: Arc<Wakeups>,
    pub metrics: Metrics,
}

impl ParkedOrders {
    /// Works off parked orders until the drain starts, then waits for the turns under way. What
    /// fails is due again later.
    ///
    /// # Errors
    /// None; the signature is that of a background task.
    pub async fn run(self, drain: Drain) -> anyhow::Result<()> {
        let this = Arc::new(self);
        // One turn per sale at a time: two would ask about the same orders.
        let mut turns = JoinSet::new();
        let mut under_way: HashMap<Id, Uuid> = HashMap::new();
        // Sales whose last turn decided nothing are left alone for a poll interval, even if the
        // record says that they are due.
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
                    let (id, progress) = ended_turn(ended);
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
            ended_turn(ended);
        }
        Ok(())
    }

    /// Works off one batch of a sale; whether any order was decided.
    async fn turn(&self, sale: DueSale) -> bool {
        let span = tracing::info_span!("parked_orders", sale_id = %sale.sale_id);
        self.record(sale).instrument(span).await.unwrap_or_else(|error| {
            // They are due again when their lease ends.
            tracing::warn!(sale_id = %sale.sale_id, %error, "parked orders cannot be recorded yet");
            false
        })
    }

    async fn record(&self, sale: DueSale) -> Result<bool, sqlx::Error> {
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
            let Some(parked) = parked::read(&row) else {
                // It stays parked, and the readable ones of this batch go on.
                waiting.push(row.order_id);
                continue;
            };
            if !row.recorded {
                unrecorded.push(parked.order.clone());
            }
            orders.push(parked);
        }
        let answers = match sale.passed {
            // An answer counts only once the marker is passed.
            Some(passed) if !sale.marker_ahead => {
                self.inventory.retake(sale.sale_id, passed, &unrecorded).await
            }
            Some(_) | None => Answers::new(),
        };
        let recorded = parked_claims::record(&self.pool, sale.sale_id, &orders, &answers).await?;

        let now = flashsale_failpoint::now_utc();
        for (state, placed_at) in &recorded.entered {
            self.metrics.reached(*state);
            self.metrics.claimed_after(now - *placed_at);
        }
        self.wakeups.handlers(&recorded.kinds);
        waiting.extend(recorded.waiting);
        tracing::debug!(
            orders = orders.len(),
            entered = recorded.entered.len(),
            waiting = waiting.len(),
            "parked orders"
        );
        let progress = waiting.len() < taken;
        if !waiting.is_empty() {
            let pause = self.pace.backoff.pause_after(attempts);
            // If any order was decided, the sale's other orders need not wait for these.
            parked::put_off(&self.pool, sale.sale_id, pause, &waiting, !progress).await?;
        }
        Ok(progress)
    }
}

/// Which turn ended, and whether it decided any order.
fn ended_turn(ended: Result<(Id, bool), JoinError>) -> (Id, bool) {
    ended.unwrap_or_else(|error| {
        // Its orders are due again when their lease ends.
        tracing::error!(%error, "seeing to parked orders broke off");
        (error.id(), false)
    })
}
