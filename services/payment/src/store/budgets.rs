//! `provider_budgets` and `budget_history`: the paces that all instances share, and what operators
//! decided about them.

use std::time::Duration;

use flashsale_pg::statement;
use sqlx::{query_file, query_file_as};
use time::OffsetDateTime;
use uuid::Uuid;

use super::Store;
use crate::steps;

/// The bucket that every call takes from, besides its endpoint's.
pub const ALL_CALLS: &str = "all";

/// What the configuration allows for a call. What operators have set counts in place of its rates.
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

/// A pace that is asked for.
#[derive(Debug, Clone)]
pub struct NewPace {
    pub request_id: Uuid,
    /// The name of the caller.
    pub caller: String,
    /// An endpoint, or [`ALL_CALLS`].
    pub endpoint: String,
    /// Calls a second; `None` for what the configuration allows.
    pub per_s: Option<f64>,
    /// Why.
    pub reason: String,
}

/// A decision about a pace that was made.
#[derive(Debug, Clone, PartialEq)]
pub struct PaceChange {
    /// When, by the clock of Postgres.
    pub at: OffsetDateTime,
    /// The name of the caller who made it.
    pub caller: String,
    /// An endpoint, or [`ALL_CALLS`].
    pub endpoint: String,
    /// Calls a second; `None` for what the configuration allows.
    pub per_s: Option<f64>,
    /// Why.
    pub reason: String,
    /// The request that made it.
    pub request_id: Uuid,
}

/// The outcome of [`Store::set_budget`].
#[derive(Debug, Clone, PartialEq)]
pub enum PaceSet {
    /// It holds, or did when the request came first.
    Made(PaceChange),
    /// The request id has made another decision; nothing was changed.
    Reused,
}

/// A bucket as it stands now.
#[derive(Debug, Clone, PartialEq)]
pub struct Budget {
    /// An endpoint, or [`ALL_CALLS`].
    pub endpoint: String,
    /// Calls a second by the configuration.
    pub configured: f64,
    /// Calls a second that operators have set in its place.
    pub set_rate: Option<f64>,
    /// Calls a second now, which is less while the provider's limits were hit.
    pub rate: f64,
    /// Calls that may go out at once; below 0 as many wait for their turns.
    pub tokens: f64,
}

impl PaceChange {
    /// Whether it is what is asked for.
    fn is(&self, asked: &NewPace) -> bool {
        self.endpoint == asked.endpoint && self.per_s == asked.per_s && self.reason == asked.reason
    }
}

impl Store {
    /// The buckets of `configured`, endpoints with their calls a second by the configuration, in
    /// this order. `burst_s` is as in [`Allowed`].
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn budgets(
        &self,
        configured: &[(&'static str, f64)],
        burst_s: f64,
    ) -> sqlx::Result<Vec<Budget>> {
        let endpoints: Vec<String> =
            configured.iter().map(|(endpoint, _)| (*endpoint).to_owned()).collect();
        let rates: Vec<f64> = configured.iter().map(|(_, rate)| *rate).collect();
        query_file_as!(Budget, "sql/read_budgets.sql", &endpoints[..], &rates[..], burst_s)
            .fetch_all(self.pool.reads())
            .await
    }

    /// The last `count` decisions about paces, newest first.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn pace_changes(&self, count: i64) -> sqlx::Result<Vec<PaceChange>> {
        query_file_as!(PaceChange, "sql/budget_changes.sql", count)
            .fetch_all(self.pool.reads())
            .await
    }

    /// Sets a pace for all instances. A request that is repeated changes nothing. `size` is what a
    /// bucket holds that is made for it, `longest_wait` as in [`Allowed`].
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn set_budget(
        &self,
        asked: &NewPace,
        size: f64,
        longest_wait: Duration,
    ) -> sqlx::Result<PaceSet> {
        flashsale_pg::retry_conflicts(|| async {
            let mut transaction = self.pool.begin().await?;
            query_file!("sql/lock_budget.sql", asked.endpoint, size)
                .execute(&mut *transaction)
                .await?;
            let earlier = query_file_as!(PaceChange, "sql/budget_change.sql", asked.request_id)
                .fetch_optional(&mut *transaction)
                .await?;
            if let Some(earlier) = earlier {
                return Ok(if earlier.is(asked) {
                    PaceSet::Made(earlier)
                } else {
                    PaceSet::Reused
                });
            }
            let made = query_file_as!(
                PaceChange,
                "sql/insert_budget_change.sql",
                asked.caller,
                asked.endpoint,
                asked.per_s,
                asked.reason,
                asked.request_id
            )
            .fetch_optional(&mut *transaction)
            .await?;
            let Some(made) = made else { return Ok(PaceSet::Reused) };
            query_file!(
                "sql/set_budget.sql",
                asked.endpoint,
                asked.per_s,
                longest_wait.as_secs_f64()
            )
            .execute(&mut *transaction)
            .await?;
            transaction.commit(steps::COMMIT_BUDGET).await?;
            Ok(PaceSet::Made(made))
        })
        .await
    }
}
