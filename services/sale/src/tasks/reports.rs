//! Makes the reports of ended sales until each is final.

use std::{sync::Arc, time::Duration};

use flashsale_service::Drain;
use futures::StreamExt as _;
use tokio::time::Instant;
use uuid::Uuid;

use super::backoff::Backoffs;
use crate::{
    app::reports::Reports,
    store::{Store, StoreError},
};

/// The most sales of one round.
const ROUND: usize = 50;
/// Sales that inventory is asked about at once.
const AT_ONCE: usize = 4;

/// How often ended sales are looked for and tried.
#[derive(Debug, Clone, Copy)]
pub struct ReportPace {
    /// Between two rounds.
    pub interval: Duration,
    /// The longest pause between two attempts at one sale. Pauses begin at `interval` and double.
    pub max_backoff: Duration,
}

/// The task. Several instances may run: a sale becomes final once.
#[derive(Debug)]
pub struct FinalReports {
    /// Finds the sales.
    pub store: Store,
    /// Makes their reports.
    pub reports: Arc<Reports>,
    pub pace: ReportPace,
}

impl FinalReports {
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
                    Err(error) => tracing::warn!(%error, "cannot look for sales that have ended"),
                }
            }
        };
        tokio::select! {
            () = drain.started() => Ok(()),
            () = rounds => Ok(()),
        }
    }

    /// Tries the sales after `after`; returns where the next round begins.
    async fn round(&self, backoffs: &mut Backoffs<Uuid>, after: Uuid) -> Result<Uuid, StoreError> {
        let limit = i64::try_from(ROUND).unwrap_or(i64::MAX);
        let found = self.store.to_finalize(after, limit).await?;
        let next = match found.last() {
            Some(last) if found.len() == ROUND => *last,
            Some(_) | None => Uuid::nil(),
        };
        let now = Instant::now();
        let due: Vec<Uuid> = found.into_iter().filter(|id| backoffs.is_due(*id, now)).collect();
        let attempts: Vec<(Uuid, Result<bool, StoreError>)> = futures::stream::iter(due)
            .map(|id| async move { (id, self.reports.finalize(id).await) })
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        for (id, is_final) in attempts {
            match is_final {
                Ok(true) => backoffs.forget(id),
                Ok(false) => {
                    backoffs.failed(id, Instant::now());
                }
                Err(error) => {
                    backoffs.failed(id, Instant::now());
                    tracing::warn!(sale = %id, %error, "cannot make the report of a sale");
                }
            }
        }
        Ok(next)
    }
}
