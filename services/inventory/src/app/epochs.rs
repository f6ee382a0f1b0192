//! The epoch of each sale's stock, cached so that taking units never asks Postgres, and only for as
//! long as this instance is known to speak to the server that counts.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use flashsale_record::SaleState;
use flashsale_service::boottime::BootInstant;
use tokio::time::Instant;
use uuid::Uuid;

use super::serving::{Beaten, Confirmed, Serving, Standing};
use crate::{
    domain::Refusal,
    store::{Known, Record, SaleEpoch},
};

/// How many sales are cached.
const CAPACITY: usize = 10_000;
/// How long an answer other than an epoch is cached.
const ABSENT_FOR: Duration = Duration::from_millis(200);
/// The shortest time between two questions to the record about a sale whose stock is fenced.
const ASK_EVERY: Duration = Duration::from_millis(250);

/// The epochs. Concurrent callers share one lookup of a sale.
#[derive(Debug)]
pub struct Epochs {
    record: Record,
    serving: Arc<Serving>,
    sales: Mutex<HashMap<Uuid, Arc<Sale>>>,
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
    /// When the call or beat began that brought it: later changes may be missing.
    asked: BootInstant,
    read_at: BootInstant,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No panic can leave guarded data half-changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sale {
    fn found(&self) -> Option<Found> {
        lock(&self.found).clone()
    }

    /// Takes over an answer, unless something newer is known.
    fn keep(&self, new: &Found) {
        let mut found = lock(&self.found);
        if found.as_ref().is_none_or(|old| old.read_at <= new.read_at) {
            *found = Some(new.clone());
        }
    }

    /// Takes over what a beat has read, unless something newer is known. A beat that finds a sale
    /// not servable only removes what is known: the next caller looks it up, since the sale may be
    /// opened at this moment.
    fn learn(&self, standing: Option<Standing>, read_at: BootInstant) {
        let mut found = lock(&self.found);
        if found.as_ref().is_some_and(|old| old.read_at > read_at) {
            return;
        }
        match standing {
            Some(standing) => {
                let answer = Ok(standing.epoch);
                *found = Some(Found {
                    standing: Some(standing),
                    answer,
                    at: Instant::now(),
                    asked: read_at,
                    read_at,
                });
            }
            None => {
                found.take_if(|old| old.standing.is_some());
            }
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
    /// [`Refusal::SaleUnknown`]; [`Refusal::NotOpen`] for a sale that was not started, or whose
    /// report is final; [`Refusal::Fenced`] for one whose stock is being loaded, or while another
    /// server counts; [`Refusal::StoreAway`] when Postgres is away and nothing known covers the
    /// sale.
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

    /// The epoch after `seen`, which the store has refused.
    ///
    /// # Errors
    /// [`Refusal::Fenced`] when there is none.
    pub async fn after(&self, sale_id: Uuid, seen: i64) -> Result<i64, Refusal> {
        let sale = self.sale(sale_id);
        let epoch = match sale.found() {
            Some(Found { standing: Some(standing), .. })
                if standing.epoch != seen && self.serving.covers(sale_id, &standing) =>
            {
                Ok(standing.epoch)
            }
            Some(found) if found.at.elapsed() < ASK_EVERY => found.answer.and(Err(Refusal::Fenced)),
            _ => self.ask(sale_id, &sale).await,
        };
        match epoch {
            Ok(epoch) if epoch != seen => Ok(epoch),
            Err(refusal @ Refusal::NotOpen { .. }) => Err(refusal),
            _ => Err(Refusal::Fenced),
        }
    }

    /// Asks the record again, after the sale's stock was loaded or rebuilt here. A failure shows
    /// when the epoch is asked for next.
    pub async fn refresh(&self, sale_id: Uuid) {
        let sale = self.sale(sale_id);
        *lock(&sale.found) = None;
        let _ = self.ask(sale_id, &sale).await;
    }

    /// Confirms this instance's server and takes over the epochs of all unfinished sales.
    ///
    /// # Errors
    /// [`Refusal::StoreAway`] when a store does not answer; what was known stays.
    pub async fn beat(&self) -> Result<Arc<Beaten>, Refusal> {
        let beaten = self.serving.beat().await?;
        for row in &beaten.sales {
            let standing = self.standing(row, beaten.read_at, &beaten.confirmed);
            self.sale(row.sale_id).learn(standing, beaten.read_at);
        }
        Ok(beaten)
    }

    fn standing(
        &self,
        row: &SaleEpoch,
        read_at: BootInstant,
        confirmed: &Confirmed,
    ) -> Option<Standing> {
        let seen = confirmed.of(self.serving.slot(row.sale_id))?;
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
        let since = BootInstant::now();
        let _asking = sale.asking.lock().await;
        let asked = BootInstant::now();
        // An answer that only arrived since does not do: its question was asked before this call,
        // and may have missed what this call is to see.
        let found = match sale.found().filter(|found| found.asked >= since) {
            Some(found) => Ok(found),
            None => self.read(sale_id, sale, asked).await,
        };
        match found {
            // An answer that took too long does not cover.
            Ok(Found { standing: Some(standing), answer: Ok(_), .. }) => {
                let covered = self.serving.covers(sale_id, &standing);
                if covered { Ok(standing.epoch) } else { Err(Refusal::Fenced) }
            }
            Ok(Found { answer, .. }) => answer,
            Err(refusal) => {
                // An outage of Postgres does not refute its earlier answer.
                let mut found = lock(&sale.found);
                let before = found.take();
                *found = Some(Found {
                    asked,
                    read_at: before.as_ref().map_or(asked, |before| before.read_at),
                    standing: before.and_then(|before| before.standing),
                    answer: Err(refusal.clone()),
                    at: Instant::now(),
                });
                Err(refusal)
            }
        }
    }

    /// The beat's answer for the sale; if the beat does not have the sale, why it is not served.
    async fn read(&self, sale_id: Uuid, sale: &Sale, asked: BootInstant) -> Result<Found, Refusal> {
        self.serving.want(sale_id);
        let beaten = self.beat().await?;
        if let Some(row) = beaten.sales.iter().find(|row| row.sale_id == sale_id) {
            let standing = self.standing(row, beaten.read_at, &beaten.confirmed);
            let answer = answer(row.state, row.open, standing.as_ref());
            let (at, read_at) = (Instant::now(), beaten.read_at);
            let new = Found { standing, answer, at, asked, read_at };
            sale.keep(&new);
            return Ok(new);
        }
        let read_at = BootInstant::now();
        let Known { state, epoch, is_final, .. } = self.record.lookup(sale_id).await?;
        let refusal = if !is_final && (state.may_sell() || epoch.is_some()) {
            // Its stock is being loaded.
            Refusal::Fenced
        } else {
            Refusal::NotOpen { state, window_ms: None }
        };
        let answer = Err(refusal);
        let new = Found { standing: None, answer, at: Instant::now(), asked, read_at };
        sale.keep(&new);
        Ok(new)
    }
}

fn answer(state: SaleState, open: bool, standing: Option<&Standing>) -> Result<i64, Refusal> {
    match standing {
        Some(standing) => Ok(standing.epoch),
        // Its stock is being loaded, or stands on another server.
        None if open || state.may_have_sold() => Err(Refusal::Fenced),
        None => Err(Refusal::NotOpen { state, window_ms: None }),
    }
}
