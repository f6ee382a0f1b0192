//! What inventory does, between the wire and the stores.

use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use flashsale_redis::Store;
use opentelemetry::{KeyValue, metrics::Counter};
use sqlx::PgPool;
use tokio::sync::{Semaphore, watch};
use uuid::Uuid;

use crate::{
    app::{
        changes::Changes,
        epochs::Epochs,
        load::Load,
        rebuild::{Rebuild, Rebuilt},
        reconcile::{Comparison, Report},
        serving::Serving,
    },
    domain::{
        Hold, Listed, Proof, Refusal, Request, Retaken, Settled, Settlement, StockView, Straggler,
    },
    store::{Adjustments, Answer, HoldId, Queue, Record, Scripts, Servers, Stock, Swept},
    tasks::rebuilder::Fenced,
};

/// Stocks that are computed and loaded by rebuilds at once: each is kept in memory whole.
const LOADS_AT_ONCE: usize = 4;

/// The stock of all sales, with the record behind it.
#[derive(Debug)]
pub struct Inventory {
    pub(crate) stock: Stock,
    pub(crate) record: Record,
    pub(crate) adjustments: Adjustments,
    epochs: Epochs,
    pub(crate) serving: Arc<Serving>,
    /// Stocks of this instance that may be loaded by rebuilds at once.
    places: Semaphore,
    pub(crate) queue: Queue,
    fenced: Fenced,
    changes: Changes,
    rebuilds: Counter<u64>,
    /// By sale: units promised beyond what is allotted, as the last comparison of the stores has them.
    oversold: Mutex<HashMap<Uuid, i64>>,
    refusals: Counter<u64>,
    swept: Counter<u64>,
}

impl Inventory {
    /// Stock in `store`, on record in `pool`, with orders on their way in `queue`; `timeout` bounds each script. `own_pool` has the
    /// connections that confirm the server and keep leases: nothing else may exhaust them.
    pub fn new(
        store: Store,
        pool: PgPool,
        own_pool: PgPool,
        queue: Queue,
        timeout: Duration,
    ) -> Self {
        let meter = flashsale_telemetry::meter();
        let adjustments = Adjustments::new(pool.clone());
        let record = Record::new(pool.clone(), own_pool.clone());
        let scripts = Arc::new(Scripts::new());
        let servers = Servers::new(pool, own_pool);
        let serving = Serving::new(store.clone(), servers, queue.clone(), Arc::clone(&scripts));
        let serving = Arc::new(serving);
        let inventory = Self {
            stock: Stock::new(store, scripts, timeout),
            epochs: Epochs::new(record.clone(), Arc::clone(&serving)),
            serving,
            places: Semaphore::new(LOADS_AT_ONCE),
            record,
            adjustments,
            queue,
            fenced: Fenced::default(),
            changes: Changes::default(),
            rebuilds: meter
                .u64_counter("flashsale_inventory_rebuilds")
                .with_unit("{rebuild}")
                .with_description(
                    "Stocks that were computed anew from the record and opened under a new epoch.",
                )
                .build(),
            oversold: Mutex::default(),
            refusals: meter
                .u64_counter("flashsale_inventory_refusals")
                .with_unit("{call}")
                .with_description("Calls that were not done, by what kept them.")
                .build(),
            swept: meter
                .u64_counter("flashsale_inventory_swept_holds")
                .with_unit("{hold}")
                .with_description("Holds whose deadline passed and whose units were given back.")
                .build(),
        };
        // Series that begin at 0 show their first increase; the refusals a dashboard asks for are among them.
        for reason in ["sold_out", "buyer_limit", "admission", "fenced"] {
            inventory.refusals.add(0, &[KeyValue::new("reason", reason)]);
        }
        inventory.swept.add(0, &[]);
        inventory.rebuilds.add(0, &[]);
        inventory
    }

    /// Asks for a hold, or changes one.
    ///
    /// # Errors
    /// Why it was not done.
    pub async fn request(&self, request: &Request, proof: &Proof) -> Result<Answer, Refusal> {
        let sale_id = request.sale_id;
        let answer =
            self.in_epoch(sale_id, |epoch| self.stock.request(request, proof, epoch)).await;
        self.changes.answered(request, &answer);
        answer
    }

    /// Reads a hold; of `buyer_id` only, if one is given.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub async fn hold(
        &self,
        sale_id: Uuid,
        id: HoldId,
        buyer_id: Option<&str>,
    ) -> Result<Hold, Refusal> {
        self.in_epoch(sale_id, |epoch| self.stock.hold(sale_id, id, buyer_id, epoch)).await
    }

    /// Reads the books of `skus`, or of all if there are none.
    ///
    /// # Errors
    /// Why they cannot be read.
    pub async fn read(&self, sale_id: Uuid, skus: &[String]) -> Result<StockView, Refusal> {
        self.in_epoch(sale_id, |epoch| self.stock.read(sale_id, skus, epoch)).await
    }

    /// Settles holds, each on its own.
    ///
    /// # Errors
    /// Why they were not all settled; asking again is safe.
    pub async fn settle(
        &self,
        sale_id: Uuid,
        holds: &[impl Into<Settlement> + Copy],
    ) -> Result<Vec<Settled>, Refusal> {
        let holds: Vec<Settlement> = holds.iter().map(|hold| (*hold).into()).collect();
        let holds = holds.as_slice();
        self.in_epoch(sale_id, move |epoch| async move {
            let settled = self.stock.settle(sale_id, holds, epoch).await?;
            self.changes.settled(sale_id, holds, &settled);
            self.still_in(sale_id, epoch).await?;
            Ok(settled)
        })
        .await
    }

    /// Takes the units of orders anew that are of an epoch before `min_epoch`, in the current one, each order on its own. Returns that
    /// epoch with the results.
    ///
    /// # Errors
    /// [`Refusal::Fenced`] while the sale's stock is of an earlier epoch; why they were not all dealt with. Asking again is safe.
    pub async fn retake(
        &self,
        sale_id: Uuid,
        min_epoch: i64,
        orders: &[Straggler],
    ) -> Result<(i64, Vec<Retaken>), Refusal> {
        self.in_epoch(sale_id, move |epoch| async move {
            if epoch < min_epoch {
                return Err(Refusal::Fenced);
            }
            let retaken = self.stock.retake(sale_id, orders, epoch).await?;
            self.still_in(sale_id, epoch).await?;
            Ok((epoch, retaken))
        })
        .await
    }

    /// Asks the record whether an epoch is still the current one. A server that was cut off and goes on answering a client of ours would take
    /// what is done there for done: it is done only in the current epoch.
    async fn still_in(&self, sale_id: Uuid, epoch: i64) -> Result<(), Refusal> {
        match self.record.lookup(sale_id).await?.epoch {
            Some((current, true)) if current == epoch => Ok(()),
            _ => Err(Refusal::Fenced),
        }
    }

    /// Rebuilds a sale's stock from the record, unless it is whole and nobody insists.
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
            places: &self.places,
        };
        let rebuilt = self.counted(rebuild.run(sale_id, force).await)?;
        self.epochs.refresh(sale_id).await;
        if rebuilt.rebuilt {
            self.rebuilds.add(1, &[]);
        }
        Ok(rebuilt)
    }

    /// Sales whose rebuild was begun and is nobody's any more.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub(crate) async fn rebuilds_cut_off(&self) -> Result<Vec<Uuid>, Refusal> {
        self.record.rebuilds_cut_off().await
    }

    /// What is done here to stocks that are followed.
    pub(crate) fn changes(&self) -> &Changes {
        &self.changes
    }

    /// Sales whose stock was found closed.
    pub(crate) fn fenced(&self) -> &Fenced {
        &self.fenced
    }

    /// Lists at most `limit` placed holds whose order the record is not known to have, oldest first.
    ///
    /// # Errors
    /// Why they cannot be read.
    pub async fn list_placed(
        &self,
        sale_id: Uuid,
        before_ms: i64,
        limit: usize,
    ) -> Result<Listed, Refusal> {
        self.in_epoch(sale_id, |epoch| self.stock.list_placed(sale_id, before_ms, limit, epoch))
            .await
    }

    /// Loads a sale's stock and returns its epoch.
    ///
    /// # Errors
    /// As [`Load::run`].
    pub async fn load(&self, sale_id: Uuid, request_id: Uuid) -> Result<i64, Refusal> {
        if self.serving.own(sale_id).is_none() {
            self.confirm(sale_id).await;
        }
        let (record, stock, serving) = (&self.record, &self.stock, &*self.serving);
        let load = Load { record, stock, serving };
        let loaded = self.counted(load.run(sale_id, request_id).await)?;
        self.epochs.refresh(sale_id).await;
        tracing::info!(%sale_id, epoch = loaded.epoch, "stock loaded");
        Ok(loaded.epoch)
    }

    /// Confirms the server of a sale: whoever was led to another one since the last beat would load or raise in the name of the server that
    /// it left. A failure shows where the server is asked for.
    async fn confirm(&self, sale_id: Uuid) {
        self.serving.want(sale_id);
        let _ = self.epochs.beat().await;
    }

    /// Confirms this instance's server, and has those sales looked at whose server it may replace.
    ///
    /// # Errors
    /// When a store does not answer.
    pub async fn beat(&self) -> Result<(), Refusal> {
        for sale in &self.epochs.beat().await?.sales {
            let own = self.serving.own(sale.sale_id);
            let elsewhere = own.is_some_and(|own| *own != *sale.server);
            if elsewhere && self.serving.may_take(sale.sale_id, &sale.server) {
                self.fenced.notice(sale.sale_id);
            }
        }
        Ok(())
    }

    /// Looks into the queue for later epochs, for the case that Postgres cannot tell of them.
    pub async fn look(&self) {
        self.serving.look().await;
    }

    /// Whether callers are to be sent here: false while another server is known to count, or nothing can be confirmed.
    pub fn ready(&self) -> watch::Receiver<bool> {
        self.serving.ready()
    }

    /// Makes the servers that this instance speaks to those that count, in place of others that may be alive. Returns both.
    ///
    /// # Errors
    /// [`Refusal::RequestReused`]; [`Refusal::Fenced`] while no Redis is reached; or when Postgres does not answer.
    pub async fn take_over(
        &self,
        request_id: Uuid,
        reason: &str,
    ) -> Result<(Vec<String>, Vec<String>), Refusal> {
        // It has read which servers the sales stand on. That the own one is retired is no reason to fail.
        self.epochs.beat().await?;
        let (own, others) = self.serving.sides().await;
        if own.is_empty() {
            return Err(Refusal::Fenced);
        }
        let retired = self.serving.servers().take_over(request_id, &own, &others, reason).await?;
        tracing::warn!(%request_id, ?own, ?retired, reason, "a takeover: other servers are retired");
        self.beat().await?;
        Ok((own, retired))
    }

    /// Copies the sale's rules beside its stock; returns the version that stands there now.
    ///
    /// # Errors
    /// Why they were not copied.
    pub async fn sync(&self, sale_id: Uuid) -> Result<i64, Refusal> {
        let rules = self.counted(self.record.rules(sale_id).await)?;
        self.in_epoch(sale_id, |epoch| self.stock.sync(sale_id, &rules, epoch)).await
    }

    /// The stocks that may have holds to sweep, with their epochs.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn loaded_sales(&self) -> Result<Vec<(Uuid, i64)>, Refusal> {
        self.record.loaded_sales().await
    }

    /// The sales whose stock is shown in metrics, at most `limit`.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn watched_sales(&self, limit: i64) -> Result<Vec<Uuid>, Refusal> {
        self.record.watched_sales(limit).await
    }

    /// Ends at most `limit` holds of a stock whose deadline has passed.
    ///
    /// # Errors
    /// Why it was not done.
    pub async fn sweep(&self, sale_id: Uuid, epoch: i64, limit: usize) -> Result<Swept, Refusal> {
        if self.epochs.get(sale_id).await? != epoch {
            return Err(Refusal::Fenced);
        }
        let swept = self.noticed(sale_id, self.stock.sweep(sale_id, limit, epoch).await)?;
        self.swept.add(swept.ended as u64, &[]);
        if swept.ended > 0 {
            self.changes.freed(sale_id);
        }
        Ok(swept)
    }

    /// Compares what the stores say of a sale, and repairs what the record proves if `repair`.
    ///
    /// # Errors
    /// Why it was not done; some of the repairs may be done then.
    pub async fn reconcile(&self, sale_id: Uuid, repair: bool) -> Result<Report, Refusal> {
        self.in_epoch(sale_id, |epoch| Comparison { inventory: self, sale_id, epoch }.run(repair))
            .await
    }

    /// What the last comparisons found oversold, by sale.
    pub(crate) fn set_oversold(&self, found: HashMap<Uuid, i64>) {
        *self.oversold.lock().unwrap_or_else(PoisonError::into_inner) = found;
    }

    /// What the last comparison found oversold of a sale; 0 if there was none.
    pub(crate) fn oversold(&self, sale_id: Uuid) -> i64 {
        let found = self.oversold.lock().unwrap_or_else(PoisonError::into_inner);
        found.get(&sale_id).copied().unwrap_or(0)
    }

    /// Calls in the epoch that is known, and once more in the next one if the store says that there is one.
    pub(crate) async fn in_epoch<T, F, Fut>(&self, sale_id: Uuid, call: F) -> Result<T, Refusal>
    where
        F: Fn(i64) -> Fut,
        Fut: Future<Output = Result<T, Refusal>>,
    {
        self.counted(self.noticed(sale_id, self.at_epoch(sale_id, call).await))
    }

    /// Has a stock that was found closed looked at.
    fn noticed<T>(&self, sale_id: Uuid, result: Result<T, Refusal>) -> Result<T, Refusal> {
        if let Err(Refusal::Fenced) = result {
            self.fenced.notice(sale_id);
        }
        result
    }

    /// As `in_epoch`, for what is part of a call and not counted by itself.
    pub(crate) async fn at_epoch<T, F, Fut>(&self, sale_id: Uuid, call: F) -> Result<T, Refusal>
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

    pub(crate) fn counted<T>(&self, result: Result<T, Refusal>) -> Result<T, Refusal> {
        result.inspect_err(|refusal| {
            self.refusals.add(1, &[KeyValue::new("reason", refusal.label())])
        })
    }
}
