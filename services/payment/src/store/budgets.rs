//! `provider_budgets`: the paces that all instances share.

use std::time::Duration;

use flashsale_pg::statement;
use sqlx::query_file;

use super::Store;
use crate::steps;

/// The bucket that every call takes from, besides its endpoint's.
pub const ALL_CALLS: &str = "all";

/// What the configuration allows for a call.
#[derive(Debug, Clone, Copy)]
pub struct Allowed {
    /// Calls a second at all endpoints together.
    pub all_per_s: f64,
    /// Calls a second at this endpoint.
    pub endpoint_per_s: f64,
    /// The size of a bucket, in seconds of its rate.
    pub burst_s: f64,
    /// How long a call may wait for its turn.
    pub longest_wait: Duration,
}

impl Store {
    /// Takes a turn at an endpoint, and returns how long to wait for it. `None` if that would be
    /// too long, or if there are no buckets yet; then nothing was taken.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn take_turn(
        &self,
        endpoint: &str,
        allowed: Allowed,
    ) -> sqlx::Result<Option<Duration>> {
        let taken = statement!(
            steps::SQL_TAKE_TURN,
            query_file!(
                "sql/take_turn.sql",
                endpoint,
                allowed.all_per_s,
                allowed.endpoint_per_s,
                allowed.burst_s,
                allowed.longest_wait.as_secs_f64()
            )
        )
        .fetch_all(&self.pool)
        .await?;
        let waits = taken.iter().map(|bucket| (-bucket.tokens / bucket.rate).max(0.0));
        Ok(waits.reduce(f64::max).map(Duration::from_secs_f64))
    }

    /// Makes the buckets of all calls and of an endpoint, full, if there are none.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn open_budgets(&self, endpoint: &str, allowed: Allowed) -> sqlx::Result<()> {
        let size = |rate: f64| (rate * allowed.burst_s).max(1.0);
        let endpoints = [ALL_CALLS.to_owned(), endpoint.to_owned()];
        let sizes = [size(allowed.all_per_s), size(allowed.endpoint_per_s)];
        statement!(
            steps::SQL_OPEN_BUDGET,
            query_file!("sql/open_budget.sql", &endpoints[..], &sizes[..])
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Halves the rate of a bucket that the provider has limited, for a while.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn slow_down(&self, bucket: &str, configured_per_s: f64) -> sqlx::Result<()> {
        statement!(
            steps::SQL_SLOW_DOWN,
            query_file!("sql/slow_down.sql", bucket, configured_per_s)
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}
