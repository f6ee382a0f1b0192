//! Loading a sale's stock from the record into Redis, under a new epoch.
//!
//! A crash may follow any of three steps, after which LoadStock can be called again:
//! 1. the record hands out an epoch, which no instance may use yet, and has the allotments;
//! 2. the stock is staged in Redis and published there in one step;
//! 3. the record lets all instances use the epoch.
//!
//! No instance uses an epoch before the third step, so stock that did not get there was never
//! opened and may be loaded again.

use flashsale_record::SaleState;
use uuid::Uuid;

use super::{Inventory, serving::Serving};
use crate::{
    domain::Refusal,
    store::{LoadBegun, Record, Stock},
};

/// How often the record may change under a load before it gives up.
const MAX_ROUNDS: u32 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loaded {
    pub epoch: i64,
}

/// A load of stock.
#[derive(Debug, Clone, Copy)]
pub struct Load<'a> {
    pub record: &'a Record,
    pub stock: &'a Stock,
    /// Which server counts.
    pub serving: &'a Serving,
}

impl Load<'_> {
    /// Loads a sale's stock. A repeated `request_id` gets the same answer.
    ///
    /// # Errors
    /// [`Refusal::SaleUnknown`]; [`Refusal::AlreadyLoaded`]; [`Refusal::NotLoadable`];
    /// [`Refusal::NotOpen`] for a sale whose report is final; [`Refusal::Fenced`] when the stock
    /// was in use and is gone, so that it has to be rebuilt, when another load is under way, or
    /// while this instance's server is not the one that counts; [`Refusal::StoreAway`] when a store
    /// does not answer.
    pub async fn run(&self, sale_id: Uuid, request_id: Uuid) -> Result<Loaded, Refusal> {
        if self.serving.is_turned_away() {
            return Err(Refusal::Fenced);
        }
        let own = self.serving.own(sale_id).ok_or(Refusal::Fenced)?;
        for _ in 0..MAX_ROUNDS {
            let known = self.record.lookup(sale_id).await?;
            if known.is_final {
                return Err(Refusal::NotOpen { state: known.state, window_ms: None });
            }
            // What it offers and when it begins may still change.
            if matches!(known.state, SaleState::Draft | SaleState::Scheduled) {
                return Err(Refusal::NotLoadable { why: "the sale is neither prepared nor open" });
            }
            if let Some((epoch, usable)) = known.epoch {
                let (server, there) = self.stock.probe(sale_id).await?;
                if let Some(there) = there.filter(|there| there.epoch == epoch) {
                    let server = self.serving.named(sale_id, &server);
                    if !usable && !self.record.publish(sale_id, epoch, &server).await? {
                        continue;
                    }
                    return if there.request_id == request_id.to_string() {
                        Ok(Loaded { epoch })
                    } else {
                        Err(Refusal::AlreadyLoaded { epoch })
                    };
                }
                if usable || known.rebuilding {
                    return Err(Refusal::Fenced);
                }
            }
            let unchanged = self.serving.unchanged(&known.server);
            let begun = self.record.begin_load(sale_id, &known, &own, unchanged).await?;
            let Some(begun) = begun else { continue };
            let LoadBegun { epoch, snapshot } = &begun;
            let request = request_id.to_string();
            let server = self.stock.fill(sale_id, *epoch, &request, snapshot).await?;
            let server = self.serving.named(sale_id, &server);
            if self.record.publish(sale_id, begun.epoch, &server).await? {
                return Ok(Loaded { epoch: begun.epoch });
            }
        }
        Err(Refusal::Fenced)
    }
}

impl Inventory {
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
}
