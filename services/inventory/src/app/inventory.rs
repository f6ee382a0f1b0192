//! The stores behind the use cases, and calls to the stock in the epoch that is known.

use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use flashsale_redis::Store;
use opentelemetry::KeyValue;
use sqlx::PgPool;
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::{changes::Changes, closed_sales::ClosedSales, epochs::Epochs, serving::Serving};
use crate::{
    domain::Refusal,
    metrics::Counters,
    store::{Adjustments, Beats, Queue, Record, Scripts, Servers, Stock},
};

/// The most stocks that rebuilds load at once: each is held in memory whole.
const LOADS_AT_ONCE: usize = 4;
/// The most whole stocks that are read at once: as many runs of the script a buyer may find before
/// their own.
const READINGS_AT_ONCE: usize = 2;

/// The stock of all sales, with the record behind it.
#[derive(Debug)]
pub struct Inventory {
    pub(super) stock: Stock,
    pub(super) record: Record,
    pub(super) adjustments: Adjustments,
    pub(super) epochs: Epochs,
    pub(super) serving: Arc<Serving>,
    /// Permits for rebuilds to load a stock.
    pub(super) load_permits: Semaphore,
    /// Permits to read a whole stock.
    pub(super) reading_permits: Semaphore,
    pub(super) queue: Queue,
    pub(super) closed_sales: ClosedSales,
    pub(super) changes: Changes,
    /// By sale: units promised beyond what is allotted, as of the last comparison of the stores.
    oversold: Mutex<HashMap<Uuid, i64>>,
    pub(super) counters: Counters,
}

impl Inventory {
    /// Stock in `store`, its record in `pool`, orders on their way in `queue`; `timeout` bounds
    /// each script. `own_pool` has the connections that confirm the server and keep leases, so that
    /// no other work can exhaust them.
    pub fn new(
        store: Store,
        pool: PgPool,
        own_pool: PgPool,
        queue: Queue,
        timeout: Duration,
    ) -> Self {
        let adjustments = Adjustments::new(pool.clone());
        let record = Record::new(pool.clone(), own_pool.clone());
        let scripts = Arc::new(Scripts::new());
        let beats = Beats::new(store.clone(), Arc::clone(&scripts));
        let serving = Serving::new(beats, Servers::new(pool, own_pool), queue.clone());
        let serving = Arc::new(serving);
        Self {
            stock: Stock::new(store, scripts, timeout),
            epochs: Epochs::new(record.clone(), Arc::clone(&serving)),
            serving,
            load_permits: Semaphore::new(LOADS_AT_ONCE),
            reading_permits: Semaphore::new(READINGS_AT_ONCE),
            record,
            adjustments,
            queue,
            closed_sales: ClosedSales::default(),
            changes: Changes::default(),
            oversold: Mutex::default(),
            counters: Counters::new(),
        }
    }

    /// Checks in the record that `epoch` is still the current one. A server that was cut off but
    /// still answers a client of ours would report work as done that is lost with it.
    pub(super) async fn still_in(&self, sale_id: Uuid, epoch: i64) -> Result<(), Refusal> {
        match self.record.lookup(sale_id).await?.epoch {
            Some((current, true)) if current == epoch => Ok(()),
            _ => Err(Refusal::Fenced),
        }
    }

    /// Changes to watched stocks.
    pub(super) fn changes(&self) -> &Changes {
        &self.changes
    }

    /// Sales whose stock was found closed.
    pub(crate) fn closed_sales(&self) -> &ClosedSales {
        &self.closed_sales
    }

    /// The stocks that may have holds to sweep, with their epochs.
    ///
    /// # Errors
    /// [`Refusal::StoreAway`] while Postgres cannot be reached, [`Refusal::Fault`] for any other
    /// error of it.
    pub async fn loaded_sales(&self) -> Result<Vec<(Uuid, i64)>, Refusal> {
        self.record.loaded_sales().await
    }

    /// The sales whose stock is shown in metrics, at most `limit`.
    ///
    /// # Errors
    /// [`Refusal::StoreAway`] while Postgres cannot be reached, [`Refusal::Fault`] for any other
    /// error of it.
    pub async fn watched_sales(&self, limit: i64) -> Result<Vec<Uuid>, Refusal> {
        self.record.watched_sales(limit).await
    }

    /// Stores what the last comparisons found oversold, by sale.
    pub(crate) fn set_oversold(&self, found: HashMap<Uuid, i64>) {
        *self.oversold.lock().unwrap_or_else(PoisonError::into_inner) = found;
    }

    /// What the last comparison found oversold of a sale; 0 if it found nothing.
    pub(crate) fn oversold(&self, sale_id: Uuid) -> i64 {
        let found = self.oversold.lock().unwrap_or_else(PoisonError::into_inner);
        found.get(&sale_id).copied().unwrap_or(0)
    }

    /// Runs `call` in the epoch that is known, and once more in the next one if the store says that
    /// there is one. A refusal is counted; a closed stock is queued for a rebuild.
    pub(super) async fn in_epoch<T, F, Fut>(&self, sale_id: Uuid, call: F) -> Result<T, Refusal>
    where
        F: Fn(i64) -> Fut,
        Fut: Future<Output = Result<T, Refusal>>,
    {
        self.counted(self.noticed(sale_id, self.at_epoch(sale_id, call).await))
    }

    /// Queues a stock that was found closed for a rebuild.
    pub(super) fn noticed<T>(
        &self,
        sale_id: Uuid,
        result: Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        if let Err(Refusal::Fenced) = result {
            self.closed_sales.notice(sale_id);
        }
        result
    }

    /// As `in_epoch`, for part of a call: a refusal is not counted and a closed stock not queued.
    pub(super) async fn at_epoch<T, F, Fut>(&self, sale_id: Uuid, call: F) -> Result<T, Refusal>
    where
        F: Fn(i64) -> Fut,
        Fut: Future<Output = Result<T, Refusal>>,
    {
        let epoch = self.epochs.get(sale_id).await?;
        match call(epoch).await {
            Err(Refusal::Fenced) => call(self.epochs.after(sale_id, epoch).await?).await,
            other => other,
        }
    }

    pub(super) fn counted<T>(&self, result: Result<T, Refusal>) -> Result<T, Refusal> {
        result.inspect_err(|refusal| {
            self.counters.refusals.add(1, &[KeyValue::new("reason", refusal.label())])
        })
    }
}
