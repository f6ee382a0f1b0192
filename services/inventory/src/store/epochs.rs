//! Which epoch each sale's stock is in, remembered so that taking units never asks Postgres, and only for as long as this instance is
//! known to speak to the server that counts.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use flashsale_service::boottime::BootInstant;
use tokio::time::Instant;
use uuid::Uuid;

use super::{Known, Record, SaleEpoch};
use crate::{domain::Refusal, serving::Serving};

/// How many sales are remembered.
const CAPACITY: usize = 10_000;
/// How long an answer other than an epoch is remembered.
const ABSENT_FOR: Duration = Duration::from_millis(200);
/// How often the record is asked about a sale whose stock is fenced.
const ASK_EVERY: Duration = Duration::from_millis(250);

/// The epochs. A sale is looked up once, however many ask for it at once.
#[derive(Debug)]
pub struct Epochs {
    record: Record,
    serving: Arc<Serving>,
    sales: Mutex<HashMap<Uuid, Arc<Sale>>>,
}

/// An epoch that this instance may serve, and by what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The epoch.
    pub epoch: i64,
    /// The server that it stands on.
    pub server: Arc<str>,
    /// When the beat began that had confirmed this server before the epoch was read.
    pub confirmed: BootInstant,
    /// When the reading of the epoch began.
    pub read_at: BootInstant,
}

#[derive(Debug, Default)]
struct Sale {
    found: Mutex<Option<Found>>,
    asking: tokio::sync::Mutex<()>,
}

#[derive(Debug, Clone)]
struct Found {
    /// What may be served as long as it is covered.
    standing: Option<Standing>,
    /// The last answer of the record.
    answer: Result<i64, Refusal>,
    at: Instant,
    read_at: BootInstant,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that is guarded here can be left half-changed by a panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sale {
    fn found(&self) -> Option<Found> {
        lock(&self.found).clone()
    }

    /// Takes over what was read, unless something newer is known.
    fn learn(&self, new: Found) {
        let mut found = lock(&self.found);
        if found.as_ref().is_none_or(|old| old.read_at <= new.read_at) {
            *found = Some(new);
        }
    }
}

impl Epochs {
    /// Epochs as `record` has them, on the servers that `serving` says count.
    pub fn new(record: Record, serving: Arc<Serving>) -> Self {
        Self { record, serving, sales: Mutex::default() }
    }

    /// The epoch of a sale's stock, if this instance may serve it.
    ///
    /// # Errors
    /// [`Refusal::SaleUnknown`]; [`Refusal::NotOpen`] for a sale that was not started, or whose report is final; [`Refusal::Fenced`] for one
    /// whose stock is being loaded, or while another server counts; or when that cannot be told because Postgres does not answer.
    pub async fn get(&self, sale_id: Uuid) -> Result<i64, Refusal> {
        let sale = self.sale(sale_id);
        match sale.found() {
            Some(Found { standing: Some(standing), .. })
                if self.serving.covers(sale_id, &standing) =>
            {
                Ok(standing.epoch)
            }
            Some(Found { answer: Err(refusal), at, .. }) if at.elapsed() < ABSENT_FOR => {
                Err(refusal)
            }
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
            Some(Found { answer: Ok(epoch), .. }) if epoch != seen => Ok(epoch),
            Some(found) if found.at.elapsed() < ASK_EVERY => found.answer,
            _ => self.ask(sale_id, &sale).await,
        };
        match epoch {
            Ok(epoch) if epoch != seen => Ok(epoch),
            Err(refusal @ Refusal::NotOpen { .. }) => Err(refusal),
            _ => Err(Refusal::Fenced),
        }
    }

    /// Has the record asked again before the sale is served: its stock was loaded or rebuilt here.
    pub fn forget(&self, sale_id: Uuid) {
        *lock(&self.sale(sale_id).found) = None;
    }

    /// Confirms this instance's server and takes over the epochs of all unfinished sales.
    ///
    /// # Errors
    /// When a store does not answer; what was known stays.
    pub async fn beat(&self) -> Result<Vec<SaleEpoch>, Refusal> {
        let beaten = self.serving.beat().await?;
        let at = Instant::now();
        for row in &beaten.sales {
            let standing = self.standing(row, beaten.read_at, &beaten.confirmed);
            let answer = answer(&row.state, row.open, standing.as_ref());
            let read_at = beaten.read_at;
            self.sale(row.sale_id).learn(Found { standing, answer, at, read_at });
        }
        Ok(beaten.sales)
    }

    fn standing(
        &self,
        row: &SaleEpoch,
        read_at: BootInstant,
        confirmed: &crate::serving::Confirmed,
    ) -> Option<Standing> {
        let seen = confirmed.of(self.serving.place(row.sale_id))?;
        let serves = row.open && *row.server == *seen.server;
        serves.then(|| Standing {
            epoch: row.epoch,
            server: Arc::clone(&seen.server),
            confirmed: seen.at,
            read_at,
        })
    }

    fn sale(&self, sale_id: Uuid) -> Arc<Sale> {
        let mut sales = lock(&self.sales);
        if let Some(sale) = sales.get(&sale_id) {
            return Arc::clone(sale);
        }
        if sales.len() >= CAPACITY {
            sales.retain(|_, sale| sale.found().is_some_and(|found| found.standing.is_some()));
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
            return found.answer;
        }
        let asked = self.read(sale_id, sale).await;
        let mut found = lock(&sale.found);
        match asked {
            Ok(new) => {
                let answer = new.answer.clone();
                *found = Some(new);
                answer
            }
            Err(refusal) => {
                // Postgres being away says nothing against what it said before.
                let before = found.take();
                *found = Some(Found {
                    standing: before.and_then(|before| before.standing),
                    answer: Err(refusal.clone()),
                    at: Instant::now(),
                    read_at: BootInstant::now(),
                });
                Err(refusal)
            }
        }
    }

    /// Reads the sale's row, after a beat that is young enough.
    async fn read(&self, sale_id: Uuid, sale: &Sale) -> Result<Found, Refusal> {
        let before = BootInstant::now();
        self.serving.want(sale_id);
        // In the ordinary case the last beat serves.
        if !self.serving.is_confirmed(sale_id) {
            self.beat().await?;
            if let Some(found) = sale.found().filter(|found| found.read_at >= before) {
                return Ok(found);
            }
        }
        let confirmed = self.serving.confirmed();
        let read_at = BootInstant::now();
        let Known { state, epoch, server, is_final, .. } = self.record.lookup(sale_id).await?;
        let at = Instant::now();
        let Some((epoch, open)) = epoch.filter(|_| !is_final) else {
            let answer = Err(if matches!(state.as_str(), "OPEN" | "PAUSED") && !is_final {
                // Started, and its stock is on the way.
                Refusal::Fenced
            } else {
                Refusal::NotOpen { state, window_ms: None }
            });
            return Ok(Found { standing: None, answer, at, read_at });
        };
        let row = SaleEpoch { sale_id, state, epoch, server, open };
        let standing = self.standing(&row, read_at, &confirmed);
        let answer = answer(&row.state, row.open, standing.as_ref());
        Ok(Found { standing, answer, at, read_at })
    }
}

fn answer(state: &str, open: bool, standing: Option<&Standing>) -> Result<i64, Refusal> {
    match standing {
        Some(standing) => Ok(standing.epoch),
        // Its stock is on the way, or stands on another server.
        None if open || matches!(state, "OPEN" | "PAUSED" | "ENDED") => Err(Refusal::Fenced),
        None => Err(Refusal::NotOpen { state: state.to_owned(), window_ms: None }),
    }
}
