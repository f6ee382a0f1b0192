//! Telling inventory and the waiting room how a sale stands: at once when somebody waits for it, and in the background until
//! it is done, whatever died in between.

use std::{sync::Arc, time::Duration};

use flashsale_service::Drain;
use futures::StreamExt as _;
use opentelemetry::{KeyValue, metrics::Counter};
use tokio::{sync::Semaphore, time::Instant};
use uuid::Uuid;

use super::error::SaleError;
use crate::{
    domain::SaleState,
    peers::inventory::{Peers, Untold},
    store::{Store, StoreError, ToTell},
    tasks::backoff::Backoffs,
};

/// How often a caller looks whether another instance, which is telling the others of its sale, is done.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// How long a caller waits for that at most.
const PATIENCE: Duration = Duration::from_secs(5);
/// Sales taken up in one round of the background task.
const ROUND: usize = 50;

/// How the background task goes about it.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Between two rounds.
    pub interval: Duration,
    /// Between two attempts at the same version of a sale, at most; they begin at `interval` and double.
    pub max_backoff: Duration,
    /// Sales told of at once by this process; each keeps one connection to Postgres meanwhile.
    pub at_once: usize,
}

/// What came of one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attempt {
    /// Everybody knows.
    Told,
    /// The sale changed meanwhile: once more.
    Changed,
    /// Somebody else is telling them.
    Busy,
    /// Somebody could not be told.
    Untold(Untold),
}

/// Tells the others.
#[derive(Debug)]
pub struct Propagator {
    store: Store,
    peers: Peers,
    pace: Pace,
    slots: Semaphore,
    attempts: Counter<u64>,
}

impl Propagator {
    /// One for this process.
    pub fn new(store: Store, peers: Peers, pace: Pace) -> Self {
        let attempts = flashsale_telemetry::meter()
            .u64_counter("flashsale_sale_propagations")
            .with_unit("{attempt}")
            .with_description(
                "Attempts to tell inventory and the waiting room of a sale, by outcome.",
            )
            .build();
        Self { store, peers, pace, slots: Semaphore::new(pace.at_once), attempts }
    }

    /// Tells the others how the sale stands now, or waits for whoever is telling them.
    ///
    /// # Errors
    /// [`SaleError::NotTold`] when one of them cannot be told now; the background task goes on trying.
    pub async fn tell(&self, id: Uuid) -> Result<(), SaleError> {
        let give_up = Instant::now() + PATIENCE;
        loop {
            match self.attempt(id).await? {
                Attempt::Told => return Ok(()),
                Attempt::Changed => {}
                Attempt::Untold(Untold { peer, why }) => {
                    return Err(SaleError::NotTold { id, peer, why });
                }
                Attempt::Busy if Instant::now() > give_up => {
                    return Err(SaleError::NotTold { id, peer: "inventory", why: "BUSY" });
                }
                Attempt::Busy => tokio::time::sleep(LOOK_AGAIN).await,
            }
        }
    }

    async fn attempt(&self, id: Uuid) -> Result<Attempt, StoreError> {
        // Never closed: an error cannot be.
        let _slot = self.slots.acquire().await.ok();
        let Some(telling) = self.store.telling(id).await? else { return Ok(Attempt::Busy) };
        if telling.sale().is_propagated() {
            return Ok(Attempt::Told);
        }
        let outcome = self.peers.tell(telling.sale()).await;
        let label = outcome.map_or_else(|untold| untold.peer, |()| "told");
        self.attempts.add(1, &[KeyValue::new("outcome", label)]);
        match outcome {
            Ok(()) if telling.done().await? => Ok(Attempt::Told),
            Ok(()) => Ok(Attempt::Changed),
            Err(untold) => Ok(Attempt::Untold(untold)),
        }
    }

    /// Finishes what was left undone, until the drain starts.
    ///
    /// # Errors
    /// Never: what goes wrong is logged and tried again.
    pub async fn run(self: Arc<Self>, drain: Drain) -> anyhow::Result<()> {
        let mut backoffs = Backoffs::new(self.pace.interval, self.pace.max_backoff);
        let mut after = Uuid::nil();
        let rounds = async {
            loop {
                tokio::time::sleep(self.pace.interval).await;
                match self.round(&mut backoffs, after).await {
                    Ok(next) => after = next,
                    Err(error) => tracing::warn!(%error, "cannot look for sales to tell of"),
                }
            }
        };
        tokio::select! {
            // An attempt that is cut off here gives up its right with its connection; the next instance takes it up.
            () = drain.started() => Ok(()),
            () = rounds => Ok(()),
        }
    }

    /// Takes up the sales behind `after`; returns where the next round begins, so that those that cannot be told of do not
    /// keep the others waiting.
    async fn round(
        &self,
        backoffs: &mut Backoffs<ToTell>,
        after: Uuid,
    ) -> Result<Uuid, StoreError> {
        let limit = i64::try_from(ROUND).unwrap_or(i64::MAX);
        let found = self.store.to_tell(after, limit).await?;
        let next = match found.last() {
            Some(last) if found.len() == ROUND => last.id,
            Some(_) | None => Uuid::nil(),
        };
        let due: Vec<ToTell> =
            found.into_iter().filter(|sale| backoffs.is_due(*sale, Instant::now())).collect();
        let outcomes: Vec<(ToTell, Result<Attempt, StoreError>)> = futures::stream::iter(due)
            .map(|sale| async move { (sale, self.attempt(sale.id).await) })
            .buffer_unordered(self.pace.at_once)
            .collect()
            .await;
        for (sale, outcome) in outcomes {
            match outcome {
                Ok(Attempt::Told | Attempt::Changed | Attempt::Busy) => backoffs.forget(sale),
                Ok(Attempt::Untold(Untold { peer, why })) => {
                    let wait = backoffs.failed(sale, Instant::now());
                    let (sale, version) = (sale.id, sale.version);
                    tracing::warn!(%sale, version, peer, why, ?wait, "cannot be told of a sale yet");
                }
                Err(error) => {
                    backoffs.failed(sale, Instant::now());
                    tracing::warn!(sale = %sale.id, %error, "cannot tell of a sale");
                }
            }
        }
        Ok(next)
    }

    /// Ends open sales whose window has passed, until the drain starts. Their stock refuses holds by itself from that moment
    /// on; this closes the room and the record.
    ///
    /// # Errors
    /// Never: what goes wrong is logged and tried again.
    pub async fn end_lapsed(self: Arc<Self>, drain: Drain) -> anyhow::Result<()> {
        let rounds = async {
            loop {
                tokio::time::sleep(self.pace.interval).await;
                if let Err(error) = self.end_lapsed_once().await {
                    tracing::warn!(%error, "cannot end the sales whose window has passed");
                }
            }
        };
        tokio::select! {
            () = drain.started() => Ok(()),
            () = rounds => Ok(()),
        }
    }

    async fn end_lapsed_once(&self) -> Result<(), StoreError> {
        let limit = i64::try_from(ROUND).unwrap_or(i64::MAX);
        for id in self.store.lapsed(limit).await? {
            if let Some(sale) = self.store.head(id).await?
                && sale.state == SaleState::Open
            {
                // Whoever is faster, another instance or a person, has the same in mind: a lost race needs no second try.
                let written = self.store.change(&sale, sale.end(), None).await?;
                tracing::info!(sale = %id, ?written, "the window of a sale has passed");
            }
        }
        Ok(())
    }
}
