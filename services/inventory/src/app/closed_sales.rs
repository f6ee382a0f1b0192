//! Sales whose stock was found closed, for the task that rebuilds it.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use tokio::sync::Notify;
use uuid::Uuid;

/// The most sales that wait; what does not fit in is found closed again by the next call or sweep.
const CAPACITY: usize = 10_000;

/// Sales whose stock was found closed.
#[derive(Debug, Default)]
pub struct ClosedSales {
    sales: Mutex<HashSet<Uuid>>,
    found: Notify,
}

impl ClosedSales {
    /// Adds a sale.
    pub fn notice(&self, sale_id: Uuid) {
        let mut sales = self.sales.lock().unwrap_or_else(PoisonError::into_inner);
        if sales.len() < CAPACITY && sales.insert(sale_id) {
            self.found.notify_one();
        }
    }

    /// Resolves once a sale is added.
    pub async fn noticed(&self) {
        self.found.notified().await;
    }

    /// The sales added since the last call.
    pub fn take(&self) -> HashSet<Uuid> {
        std::mem::take(&mut *self.sales.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
