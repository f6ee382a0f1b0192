//! Postgres. Queries are files under `sql/`, checked at compile time; the domain makes the
//! decisions.

mod abandonments;
mod account;
mod breaker_force;
mod budgets;
mod cards;
mod comparison;
mod events;
mod ledger;
mod listing;
mod payments;
mod refunds;

use std::{sync::Arc, time::Duration};

pub use abandonments::{Abandonment, Gone, NewAbandonment};
pub use account::ProviderAccount;
pub use breaker_force::{Force, ForceChange, ForceNow, ForceSet, LONGEST_CLOSED, NewForce};
pub use budgets::{ALL_CALLS, Allowed, Budget, NewPace, PaceChange, PaceSet};
pub use cards::{Refused, Turn};
pub use comparison::{Compared, Difference, DifferenceKind, ReadSoFar, WindowRead};
pub use events::{EventLookup, EventNote};
use flashsale_pg::SteppedPool;
pub use ledger::LearntBy;
pub use listing::{Listed, Place, Wanted};
pub use payments::{
    Backlog, Cancelled, ENDED_AT_ONCE, LeftBehind, NewPayment, OpenPayments, Recorded,
    SettleResult, Settled,
};
pub use refunds::{AskedRefund, DueRefund, Learnt, Orphan};
use sqlx::{PgPool, query_file};
use tokio::sync::OnceCell;
use uuid::Uuid;

/// The payment service's tables. A clone is a handle on the same pool.
#[derive(Debug, Clone)]
pub struct Store {
    pool: SteppedPool,
    /// The id that this deployment's intents carry, once it was read.
    deployment: Arc<OnceCell<Uuid>>,
}

impl Store {
    /// Over a pool that may not be connected yet.
    pub fn new(pool: PgPool) -> Self {
        Self { pool: SteppedPool::new(pool), deployment: Arc::default() }
    }

    /// The id that this deployment's intents carry at the provider.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn deployment(&self) -> sqlx::Result<Uuid> {
        let read = async || {
            let row = query_file!("sql/deployment.sql").fetch_one(self.pool.reads()).await?;
            Ok(row.deployment)
        };
        self.deployment.get_or_try_init(read).await.copied()
    }
}

/// Milliseconds as the queries take them.
fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}
