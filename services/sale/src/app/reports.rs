//! How a sale goes or went, and writing down once that nothing of it can change any more: when somebody asks for its report, and in the
//! background.

use std::{sync::Arc, time::Duration};

use flashsale_service::Drain;
use futures::StreamExt as _;
use tokio::time::Instant;
use uuid::Uuid;

use super::error::SaleError;
use crate::{
    domain::{Report, Sale, SaleState, UnitsOut},
    peers::inventory::{Peers, Untold},
    store::{Store, StoreError},
    tasks::backoff::Backoffs,
};

/// Sales taken up in one look of the background task.
const LOOK: usize = 50;
/// Sales that inventory is asked about at once.
const AT_ONCE: usize = 4;

/// How the background task goes about it.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Between two looks for ended sales that are not final yet.
    pub interval: Duration,
    /// Between two attempts at one sale, at most; they begin at `interval` and double.
    pub max_backoff: Duration,
}

/// Makes reports.
#[derive(Debug)]
pub struct Reports {
    store: Store,
    peers: Peers,
    pace: Pace,
}

impl Reports {
    /// Over a store and inventory.
    pub fn new(store: Store, peers: Peers, pace: Pace) -> Self {
        Self { store, peers, pace }
    }

    /// How a sale goes or went: units first, then the record, so that what is settled in between is in the record. The first report to
    /// find that nothing can change any more writes that down, and those after it ask inventory nothing.
    ///
    /// # Errors
    /// [`SaleError::NotFound`].
    pub async fn of(&self, id: Uuid) -> Result<Report, SaleError> {
        let sale = self.store.head(id).await?.ok_or(SaleError::NotFound(id))?;
        Ok(self.make(sale).await?)
    }

    async fn make(&self, sale: Sale) -> Result<Report, StoreError> {
        let id = sale.id;
        let units = if sale.final_at.is_some() || !self.store.was_loaded(id).await? {
            Some(UnitsOut::NONE)
        } else {
            let asked = self.peers.units_out(id).await;
            let why = |untold: &Untold| {
                tracing::warn!(sale = %id, why = untold.why, "inventory does not say what is held");
            };
            asked.inspect_err(why).ok()
        };
        let (items, totals) = self.store.outcome(id).await?;
        let mut report = Report { sale, units, items, totals };
        if !report.is_final() && report.is_settled() {
            report.sale.final_at = match self.store.finalize(&report.sale).await? {
                Some(at) => {
                    tracing::info!(sale = %id, "the report of a sale is final");
                    Some(at)
                }
                // Another instance was faster, or something has begun since.
                None => self.store.head(id).await?.and_then(|sale| sale.final_at),
            };
        }
        Ok(report)
    }

    /// Looks after ended sales until the drain starts. Several instances may do so: a sale becomes final once.
    ///
    /// # Errors
    /// Never: what goes wrong is logged and tried again.
    pub async fn run(self: Arc<Self>, drain: Drain) -> anyhow::Result<()> {
        let mut backoffs = Backoffs::new(self.pace.interval, self.pace.max_backoff);
        let mut after = Uuid::nil();
        let looks = async {
            loop {
                tokio::time::sleep(self.pace.interval).await;
                match self.look(&mut backoffs, after).await {
                    Ok(next) => after = next,
                    Err(error) => tracing::warn!(%error, "cannot look for sales that have ended"),
                }
            }
        };
        tokio::select! {
            () = drain.started() => Ok(()),
            () = looks => Ok(()),
        }
    }

    /// Takes up the sales behind `after`; returns where the next look begins.
    async fn look(&self, backoffs: &mut Backoffs<Uuid>, after: Uuid) -> Result<Uuid, StoreError> {
        let limit = i64::try_from(LOOK).unwrap_or(i64::MAX);
        let found = self.store.to_finalize(after, limit).await?;
        let next = match found.last() {
            Some(last) if found.len() == LOOK => *last,
            Some(_) | None => Uuid::nil(),
        };
        let now = Instant::now();
        let due: Vec<Uuid> = found.into_iter().filter(|id| backoffs.is_due(*id, now)).collect();
        let outcomes: Vec<(Uuid, Result<bool, StoreError>)> = futures::stream::iter(due)
            .map(|id| async move { (id, self.settle(id).await) })
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        for (id, outcome) in outcomes {
            match outcome {
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

    /// Whether there is nothing more to do for a sale.
    async fn settle(&self, id: Uuid) -> Result<bool, StoreError> {
        let Some(sale) = self.store.head(id).await? else { return Ok(true) };
        if sale.final_at.is_some() || sale.state != SaleState::Ended {
            return Ok(true);
        }
        Ok(self.make(sale).await?.is_final())
    }
}
