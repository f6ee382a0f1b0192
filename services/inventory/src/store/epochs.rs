//! Which epoch each sale's stock is in, remembered so that taking units never asks Postgres.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use uuid::Uuid;

use super::{Known, Record};
use crate::domain::Refusal;

/// How many sales are remembered.
const CAPACITY: usize = 10_000;
/// How long it is remembered that a sale has no stock.
const ABSENT_FOR: Duration = Duration::from_millis(200);
/// How often the record is asked about a sale whose stock is fenced.
const ASK_EVERY: Duration = Duration::from_millis(250);

/// The epochs. A sale is looked up once, however many ask for it at once.
#[derive(Debug)]
pub struct Epochs {
    record: Record,
    sales: Mutex<HashMap<Uuid, Arc<Sale>>>,
}

#[derive(Debug, Default)]
struct Sale {
    found: Mutex<Option<Found>>,
    asking: tokio::sync::Mutex<()>,
}

#[derive(Debug, Clone)]
struct Found {
    epoch: Result<i64, Refusal>,
    at: Instant,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that is guarded here can be left half-changed by a panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sale {
    fn found(&self) -> Option<Found> {
        lock(&self.found).clone()
    }
}

impl Epochs {
    /// Epochs as `record` has them.
    pub fn new(record: Record) -> Self {
        Self { record, sales: Mutex::default() }
    }

    /// The epoch of a sale's stock.
    ///
    /// # Errors
    /// [`Refusal::SaleUnknown`]; [`Refusal::NotOpen`] for a sale that was not started; [`Refusal::Fenced`] for one whose stock is being
    /// loaded; or when it is not known here and Postgres does not answer.
    pub async fn get(&self, sale_id: Uuid) -> Result<i64, Refusal> {
        let sale = self.sale(sale_id);
        match sale.found() {
            Some(Found { epoch: Ok(epoch), .. }) => Ok(epoch),
            Some(found) if found.at.elapsed() < ABSENT_FOR => found.epoch,
            _ => self.ask(sale_id, &sale).await,
        }
    }

    /// The epoch that came after `seen`, which the store has refused.
    ///
    /// # Errors
    /// [`Refusal::Fenced`] when there is none.
    pub async fn after(&self, sale_id: Uuid, seen: i64) -> Result<i64, Refusal> {
        let sale = self.sale(sale_id);
        let epoch = match sale.found() {
            Some(Found { epoch: Ok(epoch), .. }) if epoch != seen => Ok(epoch),
            Some(found) if found.at.elapsed() < ASK_EVERY => found.epoch,
            _ => self.ask(sale_id, &sale).await,
        };
        match epoch {
            Ok(epoch) if epoch != seen => Ok(epoch),
            _ => Err(Refusal::Fenced),
        }
    }

    /// Takes note of an epoch that was learned elsewhere.
    pub fn note(&self, sale_id: Uuid, epoch: i64) {
        *lock(&self.sale(sale_id).found) = Some(Found { epoch: Ok(epoch), at: Instant::now() });
    }

    fn sale(&self, sale_id: Uuid) -> Arc<Sale> {
        let mut sales = lock(&self.sales);
        if let Some(sale) = sales.get(&sale_id) {
            return Arc::clone(sale);
        }
        if sales.len() >= CAPACITY {
            sales.retain(|_, sale| matches!(sale.found(), Some(Found { epoch: Ok(_), .. })));
            if sales.len() >= CAPACITY {
                sales.clear();
            }
        }
        Arc::clone(sales.entry(sale_id).or_default())
    }

    async fn ask(&self, sale_id: Uuid, sale: &Sale) -> Result<i64, Refusal> {
        let since = Instant::now();
        let _asking = sale.asking.lock().await;
        if let Some(found) = sale.found().filter(|found| found.at >= since) {
            return found.epoch;
        }
        let epoch = self.record.lookup(sale_id).await.and_then(usable);
        let mut found = lock(&sale.found);
        *found = Some(match (found.take(), &epoch) {
            // Postgres being away says nothing against what it said before.
            (Some(Found { epoch: Ok(before), .. }), Err(Refusal::StoreAway { .. })) => {
                Found { epoch: Ok(before), at: Instant::now() }
            }
            _ => Found { epoch: epoch.clone(), at: Instant::now() },
        });
        epoch
    }
}

fn usable(known: Known) -> Result<i64, Refusal> {
    match known.epoch {
        Some((epoch, true)) => Ok(epoch),
        // Started, and its stock is on the way.
        _ if matches!(known.state.as_str(), "OPEN" | "PAUSED") => Err(Refusal::Fenced),
        _ => Err(Refusal::NotOpen { state: known.state, window_ms: None }),
    }
}
