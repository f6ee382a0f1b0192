//! Rebuilding a sale's stock from the record alone, under a new epoch.
//!
//! Redis is never read for this: a stock that was lost, restarted, failed over or partly evicted
//! cannot be told from a good one.
//! 1. **Raise.** The record hands out the next epoch, on this instance's server, under a lease. It
//!    does so only if that server already has the sale, or the server that has it is silent or
//!    retired. The old epoch is unusable from here on.
//! 2. **Close.** Instances that serve the old epoch stop. The keys on this server are cleared. If
//!    the old epoch is served from another server, a message in the queue tells instances that
//!    cannot reach Postgres.
//! 3. **Mark.** Once no caller can still be told that an order of the old epoch is accepted, a
//!    marker goes into the order queue. Orders of an old epoch behind it are not counted; they are
//!    parked by the claims and retake their units.
//! 4. **Wait** until the claims have passed the marker, which they record in the transaction that
//!    claims what stands before it.
//! 5. **Load** rules, allotments and orders, from one snapshot, into Redis, where they are
//!    invisible until complete. Only this step takes one of the few load permits, so rebuilds that
//!    wait for a marker do not block others.
//! 6. **Open**: the record says that the stock is whole.
//!
//! A crash after any step is safe: the lease expires and another rebuilder starts over with a later
//! epoch, whose marker is behind the first. Two rebuilders at once are safe as well: Redis keeps
//! only the later epoch, and the record opens only the epoch it handed out last.

use std::{future::Future, pin::pin, time::Duration};

use flashsale_queue::PublishError;
use flashsale_service::boottime::BootInstant;
use tokio::{
    sync::Semaphore,
    time::{Instant, MissedTickBehavior, interval, sleep},
};
use uuid::Uuid;

use super::{Inventory, serving::Serving};
use crate::{
    domain::{Closing, MARKER_AFTER_CLEARING, MARKER_AFTER_CLOSING, MARKER_AFTER_RAISE, Refusal},
    store::{Queue, Record, Stock},
};

/// How long a rebuilder that no longer renews its lease keeps others away: short, because the sale
/// is closed meanwhile.
const LEASE: Duration = Duration::from_secs(3);
/// How often the lease is renewed.
const RENEW_EVERY: Duration = Duration::from_secs(1);
/// How long to try to have a message stored before another attempt, or another rebuilder, gets its
/// turn.
const MARK_WITHIN: Duration = Duration::from_secs(30);
/// How long the claims may take to pass the marker: far longer than a queue at its bound takes.
const PASSED_WITHIN: Duration = Duration::from_secs(900);
/// How often the record is asked whether they have passed it, at first and at most.
const ASK_EVERY: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));
const MARK_AGAIN: Duration = Duration::from_millis(100);
/// How often the marker is published again while the claims have not passed it.
const MARK_EVERY: Duration = Duration::from_secs(3);

/// The result of a rebuild.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rebuilt {
    /// The epoch the sale is open under.
    pub epoch: i64,
    /// False if the stock was whole already.
    pub rebuilt: bool,
}

/// A rebuild of stock.
#[derive(Debug, Clone, Copy)]
pub struct Rebuild<'a> {
    pub record: &'a Record,
    pub stock: &'a Stock,
    /// Which server counts.
    pub serving: &'a Serving,
    pub queue: &'a Queue,
    /// Permits to load a stock.
    pub load_permits: &'a Semaphore,
}

impl Rebuild<'_> {
    /// Rebuilds a sale's stock. A stock that is whole is rebuilt only if `force` is set.
    ///
    /// # Errors
    /// [`Refusal::SaleUnknown`]; [`Refusal::NotOpen`] for a sale that was never loaded, or whose
    /// report is final; [`Refusal::Fenced`] while another instance rebuilds it, or another server
    /// counts; [`Refusal::StoreAway`] when a store does not answer. After an error the sale stays
    /// closed, and a retry is safe.
    pub async fn run(&self, sale_id: Uuid, force: bool) -> Result<Rebuilt, Refusal> {
        let known = self.record.lookup(sale_id).await?;
        let Some((seen, usable)) = known.epoch.filter(|_| !known.is_final) else {
            return Err(Refusal::NotOpen { state: known.state, window_ms: None });
        };
        let own = self.serving.own(sale_id).ok_or(Refusal::Fenced)?;
        let (server, there) = self.stock.probe(sale_id).await?;
        if self.serving.named(sale_id, &server) != *own {
            // The server was replaced since it was confirmed.
            return Err(Refusal::Fenced);
        }
        let whole = there.is_some_and(|there| there.epoch == seen);
        if !force && usable && whole && *own == *known.server {
            return Ok(Rebuilt { epoch: seen, rebuilt: false });
        }
        if !self.serving.may_take(sale_id, &known.server) {
            return Err(Refusal::Fenced);
        }
        // Checked before the old epoch ends, so that a whole stock is not closed while the queue is
        // away.
        self.queue.reachable().await?;
        let rebuilder = Uuid::new_v4();
        let unchanged = self.serving.unchanged(&known.server);
        let servers = self.serving.servers();
        let raised =
            servers.raise(sale_id, rebuilder, LEASE, (seen, usable), &own, unchanged).await?;
        let Some((epoch, closing)) = raised else { return Err(Refusal::Fenced) };
        let raised_at = BootInstant::now();
        tracing::warn!(%sale_id, epoch, ?closing, "the stock is rebuilt: the sale is closed meanwhile");
        let began = Instant::now();
        let run = async {
            self.close(sale_id, epoch, closing, &own, raised_at).await?;
            self.mark(sale_id, epoch).await?;
            self.passed(sale_id, epoch).await?;
            // The semaphore is never closed.
            let _permit = self.load_permits.acquire().await.map_err(|_| Refusal::Fenced)?;
            let snapshot = self.record.snapshot(sale_id).await?;
            let orders = snapshot.orders.len();
            let server = self.stock.fill(sale_id, epoch, "", &snapshot).await?;
            Ok((self.serving.named(sale_id, &server), orders))
        };
        let loaded = self.leased(sale_id, rebuilder, epoch, &own, run).await;
        let opened = match loaded {
            Ok((server, orders)) => self
                .record
                .end_rebuild(sale_id, rebuilder, &server, epoch)
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
            // Another instance has the lease, or another server has the keys.
            Ok((false, _)) => {
                let _ = self.record.release_rebuild(sale_id, rebuilder, epoch).await;
                Err(Refusal::Fenced)
            }
            Err(refusal) => {
                // The next attempt need not wait for the lease to expire. If this fails, it does.
                let _ = self.record.release_rebuild(sale_id, rebuilder, epoch).await;
                Err(refusal)
            }
        }
    }

    /// Stops all instances that serve an older epoch, and waits until no caller can still be told
    /// that an order of it is accepted.
    async fn close(
        &self,
        sale_id: Uuid,
        epoch: i64,
        closing: Closing,
        own: &str,
        raised_at: BootInstant,
    ) -> Result<(), Refusal> {
        // Nothing stored under the keys on this server may be served any more.
        let cleared = self.stock.clear(sale_id, epoch).await?;
        if self.serving.named(sale_id, &cleared) != own {
            return Err(Refusal::Fenced);
        }
        match closing {
            Closing::ByKeys => wait_until(BootInstant::now() + MARKER_AFTER_CLEARING).await,
            Closing::ByMessage => {
                self.stored(sale_id, epoch, || self.queue.close(sale_id, epoch)).await?;
                wait_until(BootInstant::now() + MARKER_AFTER_CLOSING).await;
                wait_until(raised_at + MARKER_AFTER_RAISE).await;
            }
        }
        Ok(())
    }

    /// Runs `work` for as long as the lease can be renewed.
    async fn leased<T>(
        &self,
        sale_id: Uuid,
        rebuilder: Uuid,
        epoch: i64,
        own: &str,
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
            // An epoch raised on another server cannot be loaded from here; the lease would only
            // block others.
            if self.serving.own(sale_id).is_some_and(|now| *now != *own) {
                return Err(Refusal::Fenced);
            }
            let renewed = self.record.renew_rebuild(sale_id, rebuilder, LEASE, epoch);
            let renewed = tokio::select! {
                done = &mut work => return done,
                renewed = renewed => renewed,
            };
            // While Postgres is unreachable no other rebuilder can take the lease either.
            if let Ok(false) = renewed {
                return Err(Refusal::Fenced);
            }
        }
    }

    async fn mark(&self, sale_id: Uuid, epoch: i64) -> Result<(), Refusal> {
        self.stored(sale_id, epoch, || self.queue.mark(sale_id, epoch)).await
    }

    /// Publishes a message until it is stored.
    async fn stored<Fut>(
        &self,
        sale_id: Uuid,
        epoch: i64,
        publish: impl Fn() -> Fut,
    ) -> Result<(), Refusal>
    where
        Fut: Future<Output = Result<(), PublishError>>,
    {
        let until = Instant::now() + MARK_WITHIN;
        loop {
            match publish().await {
                Ok(()) => return Ok(()),
                Err(error) if Instant::now() >= until => {
                    return Err(Refusal::StoreAway { store: "nats", cause: error.to_string() });
                }
                Err(error) => {
                    tracing::debug!(%sale_id, epoch, %error, "a message of the rebuild is not stored yet");
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
                // In case the queue has lost it; a second copy changes nothing.
                if let Err(error) = self.queue.mark(sale_id, epoch).await {
                    tracing::debug!(%sale_id, epoch, %error, "the marker is not stored again");
                }
                marked = Instant::now();
            }
        }
    }
}

impl Inventory {
    /// Rebuilds a sale's stock from the record if it is not whole, or in any case if `force` is
    /// set.
    ///
    /// # Errors
    /// As [`Rebuild::run`].
    pub async fn rebuild(&self, sale_id: Uuid, force: bool) -> Result<Rebuilt, Refusal> {
        self.confirm(sale_id).await;
        let rebuild = Rebuild {
            record: &self.record,
            stock: &self.stock,
            serving: &self.serving,
            queue: &self.queue,
            load_permits: &self.load_permits,
        };
        let rebuilt = self.counted(rebuild.run(sale_id, force).await)?;
        self.epochs.refresh(sale_id).await;
        if rebuilt.rebuilt {
            self.counters.rebuilds.add(1, &[]);
        }
        Ok(rebuilt)
    }

    /// Sales whose rebuild was begun and whose lease has run out.
    ///
    /// # Errors
    /// [`Refusal::StoreAway`] while Postgres cannot be reached, [`Refusal::Fault`] for any other
    /// error of it.
    pub(crate) async fn rebuilds_cut_off(&self) -> Result<Vec<Uuid>, Refusal> {
        self.record.rebuilds_cut_off().await
    }
}

/// Time during which the machine is suspended counts: no call is served then.
async fn wait_until(until: BootInstant) {
    loop {
        let left = until.saturating_duration_since(BootInstant::now());
        if left.is_zero() {
            return;
        }
        sleep(left).await;
    }
}
