//! Rebuilding a sale's stock from the record alone, under a new epoch.
//!
//! What Redis has of a stock that was lost, restarted, failed over or partly evicted is not looked at: nobody can tell it from the truth.
//! 1. **Lease.** The record hands out the next epoch, to one rebuilder for as long as its lease lasts. From here on nobody takes the
//!    old epoch for usable.
//! 2. **Mark.** A marker goes into the order queue. What stands before it was accepted from an older stock and is on its way into the
//!    record; what an old epoch still brings forth behind it is not counted, and takes its units anew before it is claimed.
//! 3. **Wait** until the claims have come past the marker: it tells so in the record, in the transaction that claims what is before it.
//! 4. **Load** rules, allotments and orders, read as of one instant, into Redis, where nobody sees them before they are whole.
//! 5. **Open**: the record names the server that has the stock.
//!
//! Each step may be the last before a crash: the lease runs out and another rebuilder begins anew with a later epoch, whose marker is behind
//! the first. Two that believe to have the lease do no harm either: Redis takes the stock of the later epoch alone, and the record
//! opens only the epoch it handed out last.

use std::{future::Future, pin::pin, time::Duration};

use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use uuid::Uuid;

use crate::{
    domain::Refusal,
    queue::Queue,
    store::{Record, Stock},
};

/// How long a rebuilder that does not renew its lease keeps others away: short, because the sale is closed meanwhile.
const LEASE: Duration = Duration::from_secs(3);
/// How often the lease is renewed.
const RENEW_EVERY: Duration = Duration::from_secs(1);
/// How long to try to have the marker stored before another attempt, or another rebuilder, gets its turn.
const MARK_WITHIN: Duration = Duration::from_secs(30);
/// How long the claims may take to come past the marker: far longer than a queue at its bound takes.
const PASSED_WITHIN: Duration = Duration::from_secs(900);
/// How often the record is asked whether they have, at first and at most.
const ASK_EVERY: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));
const MARK_AGAIN: Duration = Duration::from_millis(100);
/// How often the marker is published while the claims have not come past it.
const MARK_EVERY: Duration = Duration::from_secs(3);

/// What a rebuild came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rebuilt {
    /// The epoch the sale is open under.
    pub epoch: i64,
    /// False if the stock was whole.
    pub rebuilt: bool,
}

/// Rebuilds stock.
#[derive(Debug, Clone, Copy)]
pub struct Rebuild<'a> {
    /// What it is computed from.
    pub record: &'a Record,
    /// Where it goes.
    pub stock: &'a Stock,
    /// Where the marker goes.
    pub queue: &'a Queue,
}

impl Rebuild<'_> {
    /// Rebuilds a sale's stock, unless it is whole and nobody insists.
    ///
    /// # Errors
    /// [`Refusal::SaleUnknown`]; [`Refusal::NotOpen`] for a sale that was never loaded; [`Refusal::Fenced`] while another rebuilder is at
    /// it; or when a store does not answer. The sale stays closed then, and it may be asked for again.
    pub async fn run(&self, sale_id: Uuid, force: bool) -> Result<Rebuilt, Refusal> {
        let known = self.record.lookup(sale_id).await?;
        let Some((seen, usable)) = known.epoch else {
            return Err(Refusal::NotOpen { state: known.state, window_ms: None });
        };
        let there = self.stock.probe(sale_id).await?;
        if !force && usable && there.is_some_and(|there| there.epoch == seen) {
            return Ok(Rebuilt { epoch: seen, rebuilt: false });
        }
        // Before the old epoch ends: a whole stock is not to be closed for a queue that is away.
        self.queue.there().await?;
        let rebuilder = Uuid::new_v4();
        let Some(epoch) = self.record.begin_rebuild(sale_id, rebuilder, LEASE, seen).await? else {
            return Err(Refusal::Fenced);
        };
        tracing::warn!(%sale_id, epoch, "the stock is rebuilt: the sale is closed meanwhile");
        let began = Instant::now();
        let run = async {
            self.mark(sale_id, epoch).await?;
            self.passed(sale_id, epoch).await?;
            let snapshot = self.record.snapshot(sale_id).await?;
            let orders = snapshot.orders.len();
            let run_id = self
                .stock
                .fill(sale_id, epoch, "", &snapshot.rules, &snapshot.items, &snapshot.orders)
                .await?;
            Ok((run_id, orders))
        };
        let loaded = self.leased(sale_id, rebuilder, epoch, run).await;
        let opened = match loaded {
            Ok((run_id, orders)) => self
                .record
                .end_rebuild(sale_id, rebuilder, &run_id, epoch)
                .await
                .map(|opened| (opened, orders)),
            Err(refusal) => Err(refusal),
        };
        match opened {
            Ok((true, orders)) => {
                tracing::warn!(%sale_id, epoch, orders, took_ms = began.elapsed().as_millis() as u64,
                    "the stock is rebuilt and the sale open again");
                Ok(Rebuilt { epoch, rebuilt: true })
            }
            // Another rebuilder has it.
            Ok((false, _)) => Err(Refusal::Fenced),
            Err(refusal) => {
                // So that whoever tries next need not wait for the lease; if this fails, they wait.
                let _ = self.record.release_rebuild(sale_id, rebuilder, epoch).await;
                Err(refusal)
            }
        }
    }

    /// Runs `work` for as long as the lease can be kept.
    async fn leased<T>(
        &self,
        sale_id: Uuid,
        rebuilder: Uuid,
        epoch: i64,
        work: impl Future<Output = Result<T, Refusal>>,
    ) -> Result<T, Refusal> {
        let mut work = pin!(work);
        let mut ticks = interval(RENEW_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                done = &mut work => return done,
                _ = ticks.tick() => {}
            }
            // While Postgres is away nobody else can take the lease either.
            if let Ok(false) = self.record.renew_rebuild(sale_id, rebuilder, LEASE, epoch).await {
                return Err(Refusal::Fenced);
            }
        }
    }

    async fn mark(&self, sale_id: Uuid, epoch: i64) -> Result<(), Refusal> {
        let until = Instant::now() + MARK_WITHIN;
        loop {
            match self.queue.mark(sale_id, epoch).await {
                Ok(()) => return Ok(()),
                Err(error) if Instant::now() >= until => {
                    return Err(Refusal::StoreAway { store: "nats", cause: error.to_string() });
                }
                Err(error) => {
                    tracing::debug!(%sale_id, epoch, %error, "the marker is not stored yet");
                    sleep(MARK_AGAIN).await;
                }
            }
        }
    }

    async fn passed(&self, sale_id: Uuid, epoch: i64) -> Result<(), Refusal> {
        let until = Instant::now() + PASSED_WITHIN;
        let (mut pause, mut marked) = (ASK_EVERY.0, Instant::now());
        loop {
            match self.record.fence_passed(sale_id, epoch).await {
                Ok(true) => return Ok(()),
                Ok(false) | Err(Refusal::StoreAway { .. }) if Instant::now() < until => {}
                Ok(false) => {
                    let cause = "the claims do not come past the marker".to_owned();
                    return Err(Refusal::StoreAway { store: "nats", cause });
                }
                Err(refusal) => return Err(refusal),
            }
            sleep(pause).await;
            pause = (pause * 2).min(ASK_EVERY.1);
            if marked.elapsed() > MARK_EVERY {
                // Should the queue have lost it: coming twice it changes nothing.
                if let Err(error) = self.queue.mark(sale_id, epoch).await {
                    tracing::debug!(%sale_id, epoch, %error, "the marker is not stored again");
                }
                marked = Instant::now();
            }
        }
    }
}
