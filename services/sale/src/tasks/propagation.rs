//! Tells inventory and the waiting room of sales that they do not know as they are, whatever kept
//! them from being told in the call.

use std::{sync::Arc, time::Duration};

use flashsale_service::Drain;
use futures::StreamExt as _;
use tokio::time::Instant;
use uuid::Uuid;

use super::backoff::Backoffs;
use crate::{
    app::propagation::{Attempt, Propagator},
    peers::untold::Untold,
    store::{Store, StoreError, ToTell},
};

/// The most sales of one round.
const ROUND: usize = 50;

/// How often sales are looked for and tried.
#[derive(Debug, Clone, Copy)]
pub struct PropagationPace {
    /// Between two rounds.
    pub interval: Duration,
    /// The longest pause between two attempts at the same version of a sale. Pauses begin at
    /// `interval` and double.
    pub max_backoff: Duration,
    /// Sales told of at once.
    pub at_once: usize,
}

/// The task.
#[derive(Debug)]
pub struct Propagation {
    /// Finds the sales.
    pub store: Store,
    /// Tells of them.
    pub propagator: Arc<Propagator>,
    pub pace: PropagationPace,
}

impl Propagation {
    /// Runs until the drain starts.
    ///
    /// # Errors
    /// Never: failures are logged and tried again.
    pub async fn run(self, drain: Drain) -> anyhow::Result<()> {
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
            // An attempt that is cut off here gives up its right with its connection; another
            // instance takes it up.
            () = drain.started() => Ok(()),
            () = rounds => Ok(()),
        }
    }

    /// Tries the sales after `after`; returns where the next round begins, so that sales that
    /// cannot be told of do not hold up the others.
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
        let attempts: Vec<(ToTell, Result<Attempt, StoreError>)> = futures::stream::iter(due)
            .map(|sale| async move { (sale, self.propagator.attempt(sale.id).await) })
            .buffer_unordered(self.pace.at_once)
            .collect()
            .await;
        for (sale, attempt) in attempts {
            match attempt {
                Ok(Attempt::Told | Attempt::Changed | Attempt::Busy) => backoffs.forget(sale),
                Ok(Attempt::PricesWait) => {
                    let wait = backoffs.failed(sale, Instant::now());
                    tracing::info!(sale = %sale.id, ?wait, "its prices wait for the stock");
                }
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
}
