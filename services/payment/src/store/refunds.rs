//! `refunds`: taking up and finishing. They are recorded where the payment is ruled on.

use std::time::Duration;

use flashsale_pg::statement;
use sqlx::{query_file, query_file_as};
use uuid::Uuid;

use super::{Store, ms};
use crate::{domain::State, steps};

/// A refund that was taken up.
#[derive(Debug, Clone)]
pub struct DueRefund {
    /// The order whose money goes back.
    pub order_id: Uuid,
    pub sale_id: Uuid,
    /// Everything that was captured, in minor units.
    pub amount_minor: i64,
    /// ISO 4217.
    pub currency: String,
    /// Why.
    pub reason: String,
    /// What was captured.
    pub intent_id: String,
    /// How often the provider was asked, this time included.
    pub attempts: i32,
    /// The trace of the order.
    pub traceparent: Option<String>,
}

impl Store {
    /// Takes up to `limit` due refunds up for `lease`.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn lease_refunds(
        &self,
        limit: usize,
        lease: Duration,
    ) -> sqlx::Result<Vec<DueRefund>> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        statement!(
            steps::SQL_LEASE_REFUNDS,
            query_file_as!(DueRefund, "sql/lease_refunds.sql", limit, ms(lease))
        )
        .fetch_all(&self.pool)
        .await
    }

    /// Puts a refund back that was taken up for its attempt number `attempt`.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn put_back_refund(
        &self,
        order: Uuid,
        wait: Duration,
        asked: bool,
        attempt: i32,
    ) -> sqlx::Result<()> {
        statement!(
            steps::SQL_PUT_BACK_REFUND,
            query_file!("sql/put_back_refund.sql", order, ms(wait), asked, attempt)
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Records that the refund is done. False if that was recorded before.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn refund_done(&self, order: Uuid, refund: &str) -> sqlx::Result<bool> {
        flashsale_pg::retry_conflicts(|| async {
            let mut transaction = self.pool.begin().await?;
            // The payment's row first, as everywhere, so that there is no deadlock.
            let captured = State::Succeeded.as_str();
            let payment =
                query_file!("sql/refunded.sql", order, captured, State::Refunded.as_str())
                    .execute(&mut *transaction)
                    .await?
                    .rows_affected();
            query_file!("sql/refund_done.sql", order, refund).execute(&mut *transaction).await?;
            transaction.commit(steps::COMMIT_REFUND_DONE).await?;
            Ok(payment == 1)
        })
        .await
    }

    /// Has a refund looked at after a moment.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn make_refund_due(&self, order: Uuid, after: Duration) -> sqlx::Result<()> {
        statement!(
            steps::SQL_MAKE_REFUND_DUE,
            query_file!("sql/make_refund_due.sql", order, ms(after))
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}
