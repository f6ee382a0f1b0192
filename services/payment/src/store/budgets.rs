//! `provider_budgets`: the pace per endpoint that all instances share.

use flashsale_pg::statement;
use sqlx::query_file;

use super::Store;
use crate::steps;

impl Store {
    /// Takes a turn at an endpoint and returns the level of its bucket: below zero it is a debt,
    /// which is paid off at `rate` per second. `None` if the debt would be deeper than `max_debt`.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn take_turn(
        &self,
        endpoint: &str,
        rate: f64,
        burst: f64,
        max_debt: f64,
    ) -> sqlx::Result<Option<f64>> {
        let taken = statement!(
            steps::SQL_TAKE_TURN,
            query_file!("sql/take_turn.sql", endpoint, rate, burst, max_debt)
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(taken.map(|row| row.tokens))
    }

    /// Makes an endpoint's bucket, full, if there is none.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn open_budget(&self, endpoint: &str, burst: f64) -> sqlx::Result<()> {
        statement!(steps::SQL_OPEN_BUDGET, query_file!("sql/open_budget.sql", endpoint, burst))
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}
