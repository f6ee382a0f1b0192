//! Postgres. Queries are files under `sql/`, checked at compile time; the domain makes the
//! decisions.

mod breaker_force;
mod budgets;
mod payments;
mod refunds;

use std::time::Duration;

pub use breaker_force::Force;
pub use budgets::{ALL_CALLS, Allowed};
use flashsale_pg::SteppedPool;
pub use payments::{
    Backlog, Cancelled, ENDED_AT_ONCE, LeftBehind, NewPayment, OpenPayments, Recorded,
    SettleResult, Settled,
};
pub use refunds::DueRefund;
use sqlx::PgPool;

/// The payment service's tables. A clone is a handle on the same pool.
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

/// Milliseconds as the queries take them.
fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}
