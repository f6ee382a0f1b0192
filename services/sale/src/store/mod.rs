//! Postgres: `sales`, `sale_items` and `sale_requests`; for reports also what the others record, which is never written here. Queries are files under `sql/`, checked when this is compiled.

mod changes;
mod error;
mod reads;
mod report;
mod telling;

pub use changes::{Created, Request, Written};
pub use error::StoreError;
use sqlx::PgPool;
pub use telling::{Telling, ToTell};

/// The sale service's tables. A clone is a handle on the same pool.
#[derive(Debug, Clone)]
pub struct Store {
    pool: PgPool,
}

impl Store {
    /// Over a pool, which may not be connected yet.
    pub fn new(pool: PgPool) -> Self {
        Self { pool }
    }
}
