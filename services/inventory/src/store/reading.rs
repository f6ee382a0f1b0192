//! Reading the books of a stock, page by page.
//!
//! The skus of a stock are the same as long as its epoch lasts, so they are listed once an epoch,
//! from Redis: reading stock has to go on while Postgres is away.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use uuid::Uuid;

use super::Stock;
use crate::domain::{Refusal, SkuBooks, StockView, Terms};

/// How many skus one run of the script reads: bounded, because a run blocks the store for all
/// others.
const PAGE: usize = 500;
/// How often a reading of several pages is begun because the sale changed between them.
const MAX_READINGS: u32 = 3;
/// The most skus that are kept, of all sales together.
const MAX_KEPT: usize = 200_000;

/// The skus of the stocks that were read, by sale.
#[derive(Debug, Default)]
pub(super) struct SkuLists(Mutex<HashMap<Uuid, SkuList>>);

#[derive(Debug)]
struct SkuList {
    epoch: i64,
    skus: Arc<[String]>,
}

impl SkuLists {
    fn get(&self, sale_id: Uuid, epoch: i64) -> Option<Arc<[String]>> {
        let lists = self.lock();
        lists.get(&sale_id).filter(|list| list.epoch == epoch).map(|list| Arc::clone(&list.skus))
    }

    fn keep(&self, sale_id: Uuid, list: SkuList) {
        let mut lists = self.lock();
        let kept: usize = lists.values().map(|list| list.skus.len()).sum();
        if kept + list.skus.len() > MAX_KEPT {
            lists.clear();
        }
        lists.insert(sale_id, list);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, SkuList>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stock {
    /// Reads the books of `skus`, or of all skus if it is empty.
    ///
    /// # Errors
    /// [`Refusal::SkuUnknown`]; [`Refusal::TooLate`] if the sale changed during each of a few
    /// readings; those of every script, see [`Stock`].
    pub async fn read(
        &self,
        sale_id: Uuid,
        skus: &[String],
        epoch: i64,
    ) -> Result<StockView, Refusal> {
        let skus = if skus.is_empty() {
            self.skus(sale_id, epoch).await?
        } else {
            skus.iter().cloned().collect::<BTreeSet<_>>().into_iter().collect()
        };
        for _ in 0..MAX_READINGS {
            if let Some(view) = self.read_once(sale_id, &skus, epoch).await? {
                return Ok(view);
            }
        }
        Err(Refusal::TooLate)
    }

    /// Every sku of the stock, in order.
    async fn skus(&self, sale_id: Uuid, epoch: i64) -> Result<Arc<[String]>, Refusal> {
        if let Some(skus) = self.sku_lists.get(sale_id, epoch) {
            return Ok(skus);
        }
        let skus: Arc<[String]> = self.all_skus(sale_id, epoch).await?.into_iter().collect();
        self.sku_lists.keep(sale_id, SkuList { epoch, skus: Arc::clone(&skus) });
        Ok(skus)
    }

    /// Reads all pages; `None` if the sale changed between two of them, or the clock began or ended
    /// it.
    async fn read_once(
        &self,
        sale_id: Uuid,
        skus: &[String],
        epoch: i64,
    ) -> Result<Option<StockView>, Refusal> {
        let mut pages = skus.chunks(PAGE);
        let first = pages.next().unwrap_or_default();
        let (terms, mut skus, read_ms) = self.read_page(sale_id, first, epoch).await?;
        for page in pages {
            let (terms_now, books, _) = self.read_page(sale_id, page, epoch).await?;
            if terms_now != terms {
                return Ok(None);
            }
            skus.extend(books);
        }
        Ok(Some(StockView { skus, terms, epoch, read_ms }))
    }

    async fn read_page(
        &self,
        sale_id: Uuid,
        skus: &[String],
        epoch: i64,
    ) -> Result<(Terms, Vec<SkuBooks>, i64), Refusal> {
        let args = skus.iter().map(|sku| sku.clone().into()).collect();
        let mut reply = self.run(&self.scripts.read, sale_id, epoch, args).await?;
        if reply.word != "STOCK" {
            return Err(reply.refusal());
        }
        Ok((reply.terms()?, reply.books(skus)?, reply.now_ms))
    }
}
