//! Readings of whole stocks, which all callers share: at most one at a time of each sale, however
//! many ask, and few at a time of all sales. A whole stock costs the store as much as many holds,
//! and readers of one sale must not delay the buyers of another.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use uuid::Uuid;

use super::Inventory;
use crate::{
    config::InventoryConfig,
    domain::{Refusal, StockView},
};

/// How many sales' last readings are kept: one of 10,000 skus takes about a megabyte.
const CAPACITY: usize = 32;
/// A stock of more skus is read less often in proportion, so that reading it takes no larger share
/// of the store's time.
const SKUS_PER_READING: usize = 1_000;

/// The last readings of whole stocks. A clone shares them.
#[derive(Debug, Clone)]
pub struct Readings {
    inventory: Arc<Inventory>,
    shared_for: Duration,
    sales: Arc<Mutex<HashMap<Uuid, Arc<Sale>>>>,
}

#[derive(Debug, Default)]
struct Sale {
    last: Mutex<Option<Reading>>,
    turn: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug)]
struct Reading {
    began: Instant,
    ended: Instant,
    result: Result<Arc<StockView>, Refusal>,
}

/// By how much less often than a small stock this one is read.
pub(super) fn share_of(view: &StockView) -> u32 {
    u32::try_from(view.skus.len().div_ceil(SKUS_PER_READING).max(1)).unwrap_or(u32::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No panic can leave guarded data half-changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Reading {
    /// Whether it answers a call made at `asked` that may be told a state of this age. A failure
    /// answers only calls that waited for it: the next one may succeed.
    fn answers(&self, asked: Instant, age: Duration) -> bool {
        let old = asked.saturating_duration_since(self.began);
        match &self.result {
            Ok(view) => old <= age.saturating_mul(share_of(view)),
            Err(_) => old <= age && self.ended >= asked,
        }
    }
}

impl Sale {
    fn answer(&self, asked: Instant, age: Duration) -> Option<Result<Arc<StockView>, Refusal>> {
        let last = lock(&self.last);
        last.as_ref().filter(|last| last.answers(asked, age)).map(|last| last.result.clone())
    }
}

impl Readings {
    /// Nothing is read yet.
    pub fn new(inventory: Arc<Inventory>, config: &InventoryConfig) -> Self {
        let shared_for = Duration::from_millis(config.shared_reading_ms);
        Self { inventory, shared_for, sales: Arc::default() }
    }

    /// A sale's whole stock, at most [`InventoryConfig::shared_reading_ms`] old for each 1,000
    /// skus.
    ///
    /// # Errors
    /// As [`Inventory::read`].
    pub async fn shared(&self, sale_id: Uuid) -> Result<Arc<StockView>, Refusal> {
        self.read(sale_id, self.shared_for).await
    }

    /// A sale's whole stock, by a reading that began after this call.
    ///
    /// # Errors
    /// As [`Inventory::read`].
    pub async fn fresh(&self, sale_id: Uuid) -> Result<Arc<StockView>, Refusal> {
        self.read(sale_id, Duration::ZERO).await
    }

    async fn read(&self, sale_id: Uuid, age: Duration) -> Result<Arc<StockView>, Refusal> {
        let asked = Instant::now();
        let sale = self.sale(sale_id);
        let known = match sale.answer(asked, age) {
            Some(known) => known,
            None => self.wait_for(sale_id, &sale, asked, age).await,
        };
        self.inventory.counted(known)
    }

    /// Waits for the reading that is under way, and reads if that one does not answer the call.
    async fn wait_for(
        &self,
        sale_id: Uuid,
        sale: &Arc<Sale>,
        asked: Instant,
        age: Duration,
    ) -> Result<Arc<StockView>, Refusal> {
        let turn = Arc::clone(&sale.turn).lock_owned().await;
        if let Some(known) = sale.answer(asked, age) {
            return known;
        }
        let (inventory, sale) = (Arc::clone(&self.inventory), Arc::clone(sale));
        // In a task of its own: others wait for it who have more time than this caller.
        let reading = tokio::spawn(async move {
            let _turn = turn;
            let began = Instant::now();
            let result = inventory.read_anew(sale_id, &[]).await.map(Arc::new);
            let ended = Instant::now();
            *lock(&sale.last) = Some(Reading { began, ended, result: result.clone() });
            result
        });
        reading.await.unwrap_or_else(|error| Err(Refusal::Fault { cause: error.to_string() }))
    }

    fn sale(&self, sale_id: Uuid) -> Arc<Sale> {
        let mut sales = lock(&self.sales);
        if let Some(sale) = sales.get(&sale_id) {
            return Arc::clone(sale);
        }
        if sales.len() >= CAPACITY {
            // One that is being read stays: a second reading of it would begin otherwise.
            sales.retain(|_, sale| Arc::strong_count(sale) > 1);
        }
        Arc::clone(sales.entry(sale_id).or_default())
    }
}

impl Inventory {
    /// Reads the books of `skus`, or of all skus if it is empty.
    ///
    /// # Errors
    /// Those of the epoch lookup and of `Stock::read`.
    pub async fn read(&self, sale_id: Uuid, skus: &[String]) -> Result<StockView, Refusal> {
        self.counted(self.read_anew(sale_id, skus).await)
    }

    /// As `read`; a refusal is not counted.
    async fn read_anew(&self, sale_id: Uuid, skus: &[String]) -> Result<StockView, Refusal> {
        let read = self.at_epoch(sale_id, move |epoch| async move {
            let _permit = if skus.is_empty() {
                Some(self.reading_permits.acquire().await.map_err(|_| Refusal::Fenced)?)
            } else {
                None
            };
            self.stock.read(sale_id, skus, epoch).await
        });
        self.noticed(sale_id, read.await)
    }
}

#[cfg(test)]
mod tests {
    use flashsale_record::SaleState;

    use super::*;
    use crate::domain::{SkuBooks, Terms};

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn view(skus: usize) -> Arc<StockView> {
        let (state, currency) = (SaleState::Open, "EUR".to_owned());
        let (version, starts_ms, ends_ms, begun, over) = (1, 0, 1, true, false);
        let (price_revision, next_prices_ms) = (1, None);
        let terms = Terms {
            version,
            state,
            starts_ms,
            ends_ms,
            begun,
            over,
            currency,
            price_revision,
            next_prices_ms,
        };
        let books = SkuBooks {
            sku: "a".to_owned(),
            allotted: 1,
            available: 1,
            held: 0,
            placed: 0,
            sold: 0,
            price_minor: 1,
            price_revision: 1,
            regular_minor: None,
            per_buyer_limit: 0,
        };
        Arc::new(StockView { skus: vec![books; skus], terms, epoch: 1, read_ms: 0 })
    }

    #[tokio::test(start_paused = true)]
    async fn age_of_reading_decides_whom_it_answers() {
        let began = Instant::now();
        let reading = |result| Reading { began, ended: began + MS(20), result };
        let small = reading(Ok(view(1_000)));
        assert!(small.answers(began + MS(100), MS(100)));
        assert!(!small.answers(began + MS(101), MS(100)));
        assert!(reading(Ok(view(1_001))).answers(began + MS(200), MS(100)));
        // One that began before the call is not fresh.
        assert!(!small.answers(began + MS(1), Duration::ZERO));
        assert!(small.answers(began, Duration::ZERO));
        let failed = reading(Err(Refusal::Fenced));
        assert!(failed.answers(began + MS(20), MS(100)));
        assert!(!failed.answers(began + MS(21), MS(100)), "it did not wait for it");
    }
}
