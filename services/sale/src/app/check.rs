//! Checks of sales: gathers what is known of one, from the record and from the other services, and
//! judges it.

use flashsale_service::caller;
use time::OffsetDateTime;
use uuid::Uuid;

use super::error::SaleError;
use crate::{
    domain::{Bounds, Check, Conflict, Facts, Known, ahead, checks},
    peers::{inventory::Inventory, payment::Payment, untold::Untold},
    store::{RecordFacts, Store},
};

/// The most other sales that are named, and the most skus.
const NAMED: i64 = 5;

/// A sale that was checked.
#[derive(Debug)]
pub struct Checked {
    /// What was found.
    pub checks: Vec<Check>,
    /// When the record was read, by its own clock.
    pub read_at: OffsetDateTime,
}

/// Checks sales.
#[derive(Debug)]
pub struct Checks {
    store: Store,
    inventory: Inventory,
    payment: Payment,
    bounds: Bounds,
}

impl Checks {
    /// Over the record and the services that know the rest.
    pub fn new(store: Store, inventory: Inventory, payment: Payment, bounds: Bounds) -> Self {
        Self { store, inventory, payment, bounds }
    }

    /// Checks a sale. What another service does not say is unknown, and the others are checked.
    ///
    /// # Errors
    /// [`SaleError::NotFound`]; [`SaleError::Store`] when Postgres does not answer.
    pub async fn of(&self, id: Uuid) -> Result<Checked, SaleError> {
        let sale = self.store.head(id).await?.ok_or(SaleError::NotFound(id))?;
        let (conflicts, conflicting) = self.store.conflicts(id, NAMED).await?;
        let above_regular = self.store.above_regular(id, NAMED).await?;
        let drift = self.store.drift(id).await?;
        let asked = flashsale_failpoint::now_utc();
        let record = self.store.check_facts(id).await?;
        let answered = flashsale_failpoint::now_utc();
        let read_at = record.now;
        let (payments_per_s, stock_ahead) =
            tokio::join!(self.payment.payments_per_s(), self.stock_ahead(id, &record));
        let facts = Facts {
            sale,
            now: read_at,
            units: record.units,
            conflicts: conflicts.into_iter().map(within_reach).collect(),
            conflicting,
            above_regular,
            drift,
            payments_per_s: payments_per_s.map_err(unknown),
            record_ahead: ahead(asked, read_at, answered),
            stock_ahead,
        };
        Ok(Checked { checks: checks(&facts, &self.bounds), read_at })
    }

    /// How far the clock of the stock's store is ahead; `None` where it has no stock of the sale.
    async fn stock_ahead(&self, id: Uuid, record: &RecordFacts) -> Option<Known<time::Duration>> {
        let sku = record.sku.clone().filter(|_| record.loaded)?;
        let asked = flashsale_failpoint::now_utc();
        let shown = self.inventory.clock(id, sku).await;
        let answered = flashsale_failpoint::now_utc();
        Some(shown.map(|shown| ahead(asked, shown, answered)).map_err(unknown))
    }
}

/// The id of a sale is told to those only who may see that sale.
fn within_reach(conflict: Conflict) -> Conflict {
    Conflict { sale_id: conflict.sale_id.filter(|id| caller::reaches(*id)), ..conflict }
}

fn unknown(untold: Untold) -> String {
    format!("{} does not say: {}", untold.peer, untold.why)
}
