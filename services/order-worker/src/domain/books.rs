//! What the record says about the orders, sales and units that a decision touches.

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use super::{OrderState, Prices};

/// What the record says about everything that a batch touches, read under locks.
#[derive(Debug, Clone, Default)]
pub struct Books {
    /// Orders that already have a row.
    pub known: HashMap<Uuid, Known>,
    /// Sales that exist.
    pub sales: HashMap<Uuid, SaleFacts>,
    /// Units that may still be claimed, by (sale, sku). A key that is missing has none.
    pub left: HashMap<(Uuid, String), i64>,
    /// Orders that are parked.
    pub parked: HashSet<Uuid>,
}

/// An order that has a row in the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    pub state: OrderState,
    /// Whether the buyer has already asked to cancel it.
    pub cancel_requested: bool,
}

/// A sale that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SaleFacts {
    /// The epoch of the latest rebuild of its stock whose marker the claims have passed; `None` if
    /// it was never rebuilt.
    pub fence: Option<i64>,
    /// The epoch of its stock in the record, read only where the batch has a marker of the sale;
    /// `None` also if it has no stock.
    pub epoch: Option<i64>,
    /// What its units cost.
    pub prices: Prices,
}
