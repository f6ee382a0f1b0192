//! Postgres: `sales`, `sale_items`, `price_revisions`, `sale_prices`, `sale_changes`,
//! `sale_requests` and `sale_sources`; for reports also the tables of other services, which are
//! only read. Queries are files under `sql/`, checked at compile time.

mod changes;
mod check;
mod error;
mod export;
mod history;
mod prices;
mod reads;
mod report;
mod sources;
mod telling;

pub use changes::{Created, Request, Written};
pub use check::RecordFacts;
pub use error::StoreError;
pub use export::{Snapshot, Source};
use flashsale_pg::SteppedPool;
pub use history::Past;
use sqlx::PgPool;
pub use telling::{Telling, ToTell, Told};

/// The sale service's tables. A clone is a handle on the same pool.
#[derive(Debug, Clone)]
pub struct Store {
    pool: SteppedPool,
}

impl Store {
    /// Over a pool that may not be connected yet.
    pub fn new(pool: PgPool) -> Self {
        Self { pool: SteppedPool::new(pool) }
    }
}
