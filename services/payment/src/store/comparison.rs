//! `provider_comparison`: how far the provider's list of events was read.

use std::time::Duration;

use flashsale_pg::statement;
use sqlx::query_file;
use time::OffsetDateTime;

use super::{Store, ms};
use crate::steps;

/// What was read in a window of time.
#[derive(Debug, Clone, Copy, Default)]
pub struct WindowRead {
    /// Events.
    pub events: i64,
    /// Those that had not been sent to us in time.
    pub missed: i64,
}

impl Store {
    /// Takes the reading up for `lease`, unless another instance has it. Returns to when events
    /// were read.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn lease_comparison(&self, lease: Duration) -> sqlx::Result<Option<OffsetDateTime>> {
        let taken = statement!(
            steps::SQL_LEASE_COMPARISON,
            query_file!("sql/lease_comparison.sql", ms(lease))
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(taken.map(|row| row.read_to))
    }

    /// Notes that events were read up to a time, and keeps the reading for `lease`.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn advance_comparison(
        &self,
        read_to: OffsetDateTime,
        read: WindowRead,
        lease: Duration,
    ) -> sqlx::Result<()> {
        statement!(
            steps::SQL_ADVANCE_COMPARISON,
            query_file!("sql/advance_comparison.sql", read_to, read.events, read.missed, ms(lease))
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}
