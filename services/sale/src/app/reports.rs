//! Reports of how a sale goes or went. A report that finds that none of its figures can change any
//! more records that the sale is final.

use uuid::Uuid;

use super::error::SaleError;
use crate::{
    domain::{Report, Sale, UnitsOut},
    peers::{inventory::Inventory, untold::Untold},
    store::{Store, StoreError},
};

/// Makes reports.
#[derive(Debug)]
pub struct Reports {
    store: Store,
    inventory: Inventory,
}

impl Reports {
    /// Reads the record from `store` and the units that are out from `inventory`.
    pub fn new(store: Store, inventory: Inventory) -> Self {
        Self { store, inventory }
    }

    /// The report of a sale. Units are read before the record, so that what is settled in between
    /// is in the record. The first report that finds the sale settled records that it is final;
    /// later ones do not ask inventory.
    ///
    /// # Errors
    /// [`SaleError::NotFound`]; [`SaleError::Store`] when Postgres does not answer.
    pub async fn of(&self, id: Uuid) -> Result<Report, SaleError> {
        let sale = self.store.head(id).await?.ok_or(SaleError::NotFound(id))?;
        Ok(self.make(sale).await?)
    }

    async fn make(&self, sale: Sale) -> Result<Report, StoreError> {
        let id = sale.id;
        let units = if sale.final_at.is_some() || !self.store.was_loaded(id).await? {
            Some(UnitsOut::NONE)
        } else {
            let answer = self.inventory.units_out(id).await;
            let why = |untold: &Untold| {
                tracing::warn!(sale = %id, why = untold.why, "inventory does not say what is held");
            };
            answer.inspect_err(why).ok()
        };
        let (items, totals) = self.store.outcome(id).await?;
        let mut report = Report { sale, units, items, totals };
        if !report.is_final() && report.is_settled() {
            report.sale.final_at = match self.store.finalize(&report.sale).await? {
                Some(at) => {
                    tracing::info!(sale = %id, "the report of a sale is final");
                    Some(at)
                }
                // Another instance was faster, or something has begun since the record was read.
                None => self.store.head(id).await?.and_then(|sale| sale.final_at),
            };
        }
        Ok(report)
    }

    /// Makes the report of an ended sale that is not final; true if the sale is final now, or needs
    /// no report.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn finalize(&self, id: Uuid) -> Result<bool, StoreError> {
        let Some(sale) = self.store.head(id).await? else { return Ok(true) };
        if sale.final_at.is_some() || !sale.state.is_over() {
            return Ok(true);
        }
        Ok(self.make(sale).await?.is_final())
    }
}
