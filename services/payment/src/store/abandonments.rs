//! `payment_abandonments`: payments that operators ended, and the lease under which that is done.

use std::time::Duration;

use flashsale_pg::statement;
use sqlx::query_file;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Store, ms, payments::lock};
use crate::{
    domain::{self, Outcome, Payment, Ruling, Standing, State},
    steps,
};

/// What the provider says of an intent that can never be captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gone {
    /// It has no such intent.
    Missing,
    /// It has cancelled it.
    Canceled,
}

impl Gone {
    /// The name in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Canceled => "canceled",
        }
    }
}

/// The end of a payment that is asked for.
#[derive(Debug, Clone)]
pub struct NewAbandonment {
    pub request_id: Uuid,
    /// The name of the caller.
    pub caller: String,
    pub order_id: Uuid,
    /// Why.
    pub reason: String,
}

/// What a request has ended before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Abandonment {
    pub order_id: Uuid,
    /// Why.
    pub reason: String,
}

impl Store {
    /// What the request of this id has ended, if it has ended a payment.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn abandonment(&self, request_id: Uuid) -> sqlx::Result<Option<Abandonment>> {
        let row = query_file!("sql/abandonment.sql", request_id)
            .fetch_optional(self.pool.reads())
            .await?;
        Ok(row.map(|row| Abandonment { order_id: row.order_id, reason: row.reason }))
    }

    /// Takes up one payment that has an intent for `lease`, whenever it is due. `None` when it has
    /// none, has ended, or is another worker's.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn lease_payment(
        &self,
        order: Uuid,
        lease: Duration,
    ) -> sqlx::Result<Option<Payment>> {
        let leased = statement!(
            steps::SQL_LEASE_PAYMENT,
            query_file!("sql/lease_payment.sql", order, ms(lease))
        )
        .fetch_optional(&self.pool)
        .await?;
        let Some(leased) = leased else { return Ok(None) };
        let payment = self.payment(order).await?;
        Ok(payment.filter(|payment| payment.lease_id == Some(leased.lease_id)))
    }

    /// Gives up the lease of a payment on which nothing was done.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn release_payment(&self, held: &Payment) -> sqlx::Result<()> {
        statement!(
            steps::SQL_RELEASE_PAYMENT,
            query_file!("sql/release_payment.sql", held.order_id, held.lease_id)
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Intents that were captured for the payments recorded next before a moment, and after it: as
    /// many as there are of the two.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn witnesses(&self, recorded: OffsetDateTime) -> sqlx::Result<Vec<String>> {
        let rows = query_file!("sql/witnesses.sql", recorded).fetch_all(self.pool.reads()).await?;
        Ok(rows.into_iter().map(|row| row.intent_id).collect())
    }

    /// Ends a payment that is this caller's by its lease, and whose intent can never be captured;
    /// returns the state that it ends in. `None`, and nothing is changed, when the lease has run
    /// out, the payment has ended, or the request has ended another one.
    ///
    /// # Errors
    /// When Postgres does not answer.
    pub async fn abandon(
        &self,
        held: &Payment,
        asked: &NewAbandonment,
        seen: Gone,
    ) -> sqlx::Result<Option<State>> {
        flashsale_pg::retry_conflicts(|| async {
            let mut transaction = self.pool.begin().await?;
            let Some(payment) = lock(&mut transaction, held.order_id).await? else {
                return Ok(None);
            };
            let (Some(intent), true) = (&payment.intent_id, payment.lease_id == held.lease_id)
            else {
                return Ok(None);
            };
            // An intent that the provider does not have ends as one that it has cancelled: both
            // can never be captured.
            let standing = Standing {
                state: payment.state,
                declined: payment.is_declined_for_good(),
                captured: payment.captured_minor > 0,
                expected: payment.amount_minor,
            };
            let to = match domain::settle(standing, Outcome::Canceled) {
                Ruling::Becomes(to) => to,
                Ruling::CapturedLate
                | Ruling::CapturedAnother
                | Ruling::Known
                | Ruling::Impossible(_) => return Ok(None),
            };
            let recorded = query_file!(
                "sql/insert_abandonment.sql",
                payment.order_id,
                asked.caller,
                asked.reason,
                intent,
                seen.as_str(),
                asked.request_id
            )
            .execute(&mut *transaction)
            .await?
            .rows_affected();
            let ended = query_file!(
                "sql/end_abandoned.sql",
                payment.order_id,
                payment.lease_id,
                to.as_str()
            )
            .execute(&mut *transaction)
            .await?
            .rows_affected();
            if (recorded, ended) != (1, 1) {
                return Ok(None);
            }
            transaction.commit(steps::COMMIT_ABANDON).await?;
            Ok(Some(to))
        })
        .await
    }
}
